"""What is kept of a word that is converted from tiny_sd to the other miniature generators.

    python benchmarks/convert.py concepts            # how many a comparison needs, from kept rows
    python benchmarks/convert.py draw --concepts 10  # goes on drawing and judging
    python benchmarks/convert.py table               # what was measured so far
    python benchmarks/convert.py signals             # what foretells a word's score without images
    python benchmarks/convert.py figure              # generations side by side

`draw` takes the words of kept/tiny_section4 and trains none: a word's score is placed between that
of its anchor (0) and of the concept's name (1) in the target. Retention, which needs words that are
trained in each target, is measured by `vwtransfer experiment=convert_benchmark` (an hour).
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from safetensors import safe_open

from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.conversion.converter import shared_phrases
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.models.cache import Cache
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.models.support import support_of
from vwtransfer.results.bootstrap import bootstrap_mean
from vwtransfer.seeds import generator
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.output_matching import MatchingMap
from vwtransfer.words.cells import Cell

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "kept" / "tiny_section4"
OURS = "readout_matching"
METHODS = (OURS, "least_squares", "nearest_words_cutoff", "resized")
BASELINES = ("name", "anchor")
TARGETS = ("tiny_sd_b", "tiny_sdxl", "tiny_flux")
DATASETS = ("tiny_shapes", "tiny_textures", "tiny_small", "tiny_scenes")
KEYS = ["target", "dataset", "concept", "anchor", "method", "image"]


def configured() -> Config:
    """The models and datasets."""
    generators = ",".join(("tiny_sd", *TARGETS))
    return compose(
        [
            f"model/generation=[{generators}]",
            f"dataset=[{','.join(DATASETS)}]",
            "model.generation.denoising_steps=20",
            "task=generation",
        ]
    )


def chosen(config: Config, count: int) -> list[Cell]:
    """Words of so many concepts, the test split's first, from all datasets in turn."""
    queues = []
    for name in DATASETS:
        dataset = config.dataset[name]
        pairs = list(zip(dataset.concepts, dataset.anchors, strict=False))
        held = dev_concepts(name, list(dataset.concepts))
        ordered = sorted(pairs, key=lambda pair: pair[0] in held)
        queues.append([Cell(name, "tiny_sd", c, a, math.inf, 0) for c, a in ordered])
    return [cell for together in zip(*queues, strict=True) for cell in together][:count]


def draw(folder: Path, concepts: int, images: int, kinds: Sequence[str]) -> None:
    """Draws and judges what has no row yet."""
    config = configured()
    torch.set_num_threads(1)
    suite = build(config, torch.device("cpu"))
    cells = chosen(config, concepts)
    rows = folder / "rows.csv"
    done = _done(rows)
    names = {(d, c): text for d in DATASETS for c, text in config.dataset[d].concepts.items()}
    with safe_open(KEPT / "tiny_sd.safetensors", "pt") as file:
        words_NKD = torch.stack([file.get_tensor(cell.key) for cell in cells])
    for target in TARGETS:

        def missing(method: str, number: int, target: str = target) -> list[int]:
            """Which words have no row yet."""
            return [
                n
                for n, c in enumerate(cells)
                if (target, c.dataset, c.concept, c.anchor, method, number) not in done
            ]

        units = [(kind, number) for kind in kinds for number in range(images)]
        mapped: dict[str, tuple[torch.Tensor, pd.DataFrame]] = {}
        for method, number in units:
            if not (new := missing(method, number)):
                continue
            part = [cells[n] for n in new]
            signals = pd.DataFrame(index=range(len(part)))
            if method in BASELINES:
                prompts = typed(suite, target, method, part, names)
            else:
                if method not in mapped:
                    mapped[method] = map_words(suite, target, method, words_NKD, names, folder)
                vectors_NKD, all_signals = mapped[method]
                signals = all_signals.iloc[new].reset_index(drop=True)
                model = suite.models[target]
                with torch.no_grad():
                    prompts = model.text.encode_words(model.prompt_template, vectors_NKD[new])
            table = judged(config, suite, target, part, prompts, method, number, folder)
            table = pd.concat([table, signals], axis=1)
            whole = pd.concat([pd.read_csv(rows), table]) if rows.exists() else table
            whole.to_csv(rows, index=False)
            print(
                f"{target} {method} {number}: {table['correct'].mean():.2f} of {len(part)}",
                flush=True,
            )


def _done(rows: Path) -> set[tuple[object, ...]]:
    if not rows.exists():
        return set()
    return set(pd.read_csv(rows)[KEYS].itertuples(index=False, name=None))


def typed(
    suite: Suite,
    target: str,
    kind: str,
    cells: Sequence[Cell],
    names: Mapping[tuple[str, str], str],
) -> Prompts:
    """Prompts that spell the concept's name or the anchor."""
    model = suite.models[target]
    texts = [names[c.dataset, c.concept] if kind == "name" else c.anchor for c in cells]
    with torch.no_grad():
        return model.text.encode_text([model.prompt_template.format(text) for text in texts])


def map_words(
    suite: Suite,
    target: str,
    method: str,
    words_NKD: torch.Tensor,
    names: Mapping[tuple[str, str], str],
    folder: Path,
) -> tuple[torch.Tensor, pd.DataFrame]:
    """The words in the target, and what is seen of each without images.

    No prompt and no entry of the support spells out what a concept is called.
    """
    here, there = suite.models["tiny_sd"].text, suite.models[target].text
    node = compose([f"transfer={method}"]).transfer.node
    built = build_part(node, "transfer", readings=KeptReadings(Cache(folder / "readings", 10**10)))
    descriptions = list(names.values())
    support = support_of(here, there).without(descriptions)
    fitted = built.fit(here, there, support, descriptions)
    found_NKD = fitted(words_NKD)
    signals = pd.DataFrame(index=range(len(words_NKD)))
    if isinstance(fitted, MatchingMap):
        signals["agreement"] = fitted.agreement(words_NKD, found_NKD).tolist()
        nearest = fitted.source.nearest(words_NKD, 1), fitted.target.nearest(found_NKD, 1)
        signals["nearest_before"] = [near[0][1] for near in nearest[0]]
        signals["nearest_after"] = [near[0][1] for near in nearest[1]]
        signals["shared"] = shared_phrases(fitted, words_NKD, found_NKD)
    return found_NKD, signals


def judged(
    config: Config,
    suite: Suite,
    target: str,
    cells: Sequence[Cell],
    prompts: Prompts,
    method: str,
    number: int,
    folder: Path,
) -> pd.DataFrame:
    """A row for each image: whether the judge ranks the concept first among its dataset's."""
    streams = [generator("generation", c.dataset, c.concept, number) for c in cells]
    images = suite.models[target].draw(prompts, streams)  # type: ignore[attr-defined]
    assert suite.judge is not None
    rows = []
    for cell, image in zip(cells, images, strict=True):
        (best,) = suite.judge.best([image], config.dataset[cell.dataset].concepts)
        place = folder / "images" / target / method
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{cell.dataset}-{cell.concept}-{number}.png")
        said = (target, cell.dataset, cell.concept, cell.anchor, method, number)
        rows.append([*said, int(best == cell.concept)])
    return pd.DataFrame(rows, columns=[*KEYS, "correct"])


def table(folder: Path) -> None:
    """Mean scores, their place between anchor and name, and paired differences to ours."""
    frame = pd.read_csv(folder / "rows.csv")
    parts = dict(list(frame.groupby("target", sort=False)))
    for target, mine in [*parts.items(), ("all targets", frame)]:
        keys = ["dataset", "concept"]
        wide = mine.pivot_table(index=[*keys, "target"], columns="method", values="correct")
        wide = wide.dropna().groupby(level=keys).mean()  # the unit is the concept
        concepts = ["/".join(index) for index in wide.index]
        print(f"\n{target}: {len(wide)} concepts, {mine['image'].nunique()} images each")
        for method in [m for m in (*BASELINES, *METHODS) if m in wide]:
            line = f"  {method:22} {bootstrap_mean(wide[method], concepts)!s:22}"
            if method in METHODS:
                line += f" between anchor and name {place(wide, method)}"
            if method in METHODS[1:] and OURS in wide:
                line += f"  ours is more by {bootstrap_mean(wide[OURS] - wide[method], concepts)}"
            print(line)


def place(wide: pd.DataFrame, method: str, resamples: int = 2000) -> str:
    """(method - anchor) / (name - anchor), a ratio of means, with a 95 % interval over concepts."""
    stream = torch.Generator().manual_seed(0)
    n = len(wide)
    picks = torch.cat(
        [torch.arange(n)[None], torch.randint(n, (resamples, n), generator=stream)]
    ).numpy()
    means = {m: wide[m].to_numpy()[picks].mean(axis=1) for m in (method, *BASELINES)}
    below = means["name"] - means["anchor"]
    ratio = pd.Series((means[method] - means["anchor"]) / below)[below > 0.1]
    low, high = ratio[1:].quantile([0.025, 0.975])
    return f"{ratio.iloc[0]:.2f} [{low:.2f}, {high:.2f}]"


def signals(folder: Path) -> None:
    """What is seen of a converted word without images, beside whether it draws what it should.

    The signal is chosen on the concepts of the dev split, and looked at on the others.
    """
    frame = pd.read_csv(folder / "rows.csv")
    mine = frame[frame["method"] == OURS].copy()
    config = configured()
    dev = {(d, c) for d in DATASETS for c in dev_concepts(d, list(config.dataset[d].concepts))}
    in_dev = [pair in dev for pair in zip(mine["dataset"], mine["concept"], strict=True)]
    mine["split"] = pd.Series(in_dev, index=mine.index).map({True: "dev", False: "test"})
    for split, part in mine.groupby("split"):
        score, draws = part["correct"].mean(), part["concept"].nunique()
        print(f"{split}: {len(part)} words of {draws} concepts, {score:.2f} draw what they should")
        for name in ("agreement", "nearest_before", "nearest_after", "shared"):
            print(f"  {name:16} rank correlation {rank_correlation(part, name)}")
    test = mine[mine["split"] == "test"]
    for name in ("nearest_before", "shared"):
        ordered = test.sort_values(name, ascending=False)["correct"].to_numpy()
        shares = [
            (share, ordered[: round(share * len(ordered))].mean()) for share in (1, 0.75, 0.5)
        ]
        print(f"{name}: " + ", ".join(f"best {s:.0%}: {mean:.2f}" for s, mean in shares))


def rank_correlation(frame: pd.DataFrame, name: str, resamples: int = 2000) -> str:
    """Spearman's, with a 95 % interval that resamples concepts."""
    groups = [group for _, group in frame.groupby(["dataset", "concept"])]
    stream = torch.Generator().manual_seed(0)
    picks = torch.randint(len(groups), (resamples, len(groups)), generator=stream).tolist()
    whole = frame[name].corr(frame["correct"], method="spearman")
    drawn = [pd.concat([groups[g] for g in pick]) for pick in picks]
    drawn = [each for each in drawn if each["correct"].nunique() > 1]  # else there is no order
    found = pd.Series([each[name].corr(each["correct"], method="spearman") for each in drawn])
    low, high = found.quantile([0.025, 0.975])
    return f"{whole:.2f} [{low:.2f}, {high:.2f}]"


def concepts_needed() -> None:
    """How many concepts an interval needs, by rows of words between models that were kept.

    A word of the tiny world draws what it should, or not. The spread of a paired difference is
    taken from own words less those that least squares brought from the classifier.
    """
    frame = pd.read_parquet(KEPT / "results.parquet")
    mine = frame[(frame["metric"] == "generation_accuracy") & (frame["kind"] == "word")]
    keys = ["dataset", "concept", "anchor"]
    wide = mine.pivot_table(index=keys, columns="source_model", values="value")
    difference = wide["tiny_sd"] - wide["tiny_clip"]
    between = float(difference.groupby(level=["dataset", "concept"]).mean().std())
    single = float(difference.std())
    print(f"spread of a paired difference: {single:.2f} (one anchor), {between:.2f} (ten anchors)")
    for gap in (0.5, 0.4, 0.3, 0.2):
        one, ten = (math.ceil((1.96 * spread / gap) ** 2) for spread in (single, between))
        print(f"a difference of {gap}: {one} concepts of one anchor, {ten} of ten")
    own = float(wide["tiny_sd"].mean())
    for count in (10, 20, 40, 80):
        half = 1.96 * math.sqrt(own * (1 - own) / count)
        print(f"{count} concepts: a score of {own:.2f} is known to {half:.2f}")


def figure(folder: Path, out: Path) -> None:
    """For each concept: a photo, the word in tiny_sd, and what each target draws of ours."""
    import matplotlib.pyplot as plt

    config = configured()
    suite = build(config, torch.device("cpu"))
    cells = [c for c in chosen(config, 40) if _image(folder, TARGETS[0], OURS, c).exists()][:8]
    columns = ["photo", "tiny_sd: the word", *(f"{t}: converted" for t in TARGETS)]
    drawn, axes = plt.subplots(
        len(cells), len(columns), figsize=(1.5 * len(columns), 1.5 * len(cells)), squeeze=False
    )
    with safe_open(KEPT / "tiny_sd.safetensors", "pt") as file:
        words_NKD = torch.stack([file.get_tensor(cell.key) for cell in cells])
    for row, pictures in enumerate(_pictures(config, suite, cells, words_NKD, folder)):
        for column, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.set(xticks=[], yticks=[])
            if picture is not None:
                axis.imshow(picture)
            if row == 0:
                axis.set_title(columns[column], fontsize=8)
        name = config.dataset[cells[row].dataset].concepts[cells[row].concept]
        axes[row, 0].set_ylabel(name.replace(" ", "\n"), fontsize=8)
    drawn.tight_layout(pad=0.3)
    drawn.savefig(out, dpi=110)
    print(out)


def _image(folder: Path, target: str, method: str, cell: Cell) -> Path:
    return folder / "images" / target / method / f"{cell.dataset}-{cell.concept}-0.png"


def _pictures(
    config: Config,
    suite: Suite,
    cells: Sequence[Cell],
    words_NKD: torch.Tensor,
    folder: Path,
) -> Iterator[list[Image.Image | None]]:
    source = suite.models["tiny_sd"]
    with torch.no_grad():
        prompts = source.text.encode_words(source.prompt_template, words_NKD)
    streams = [generator("generation", c.dataset, c.concept, 0) for c in cells]
    own = source.draw(prompts, streams)  # type: ignore[attr-defined]
    for cell, image in zip(cells, own, strict=True):
        dataset = build_part(config.dataset[cell.dataset].node, f"dataset.{cell.dataset}")
        photo = dataset.training(cell.concept)[0].load()
        paths = [_image(folder, target, OURS, cell) for target in TARGETS]
        yield [photo, image, *(Image.open(path) if path.exists() else None for path in paths)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["concepts", "draw", "table", "signals", "figure"])
    parser.add_argument("--folder", type=Path, default=Path("outputs/convert_measured"))
    parser.add_argument("--concepts", type=int, default=40)
    parser.add_argument("--images", type=int, default=1, help="of each word")
    parser.add_argument("--methods", nargs="+", default=[*BASELINES, *METHODS])
    parser.add_argument("--out", type=Path, default=Path("docs/convert.png"))
    asked = parser.parse_args()
    if asked.what == "concepts":
        concepts_needed()
    elif asked.what == "draw":
        draw(asked.folder, asked.concepts, asked.images, asked.methods)
    elif asked.what == "table":
        table(asked.folder)
    elif asked.what == "signals":
        signals(asked.folder)
    else:
        figure(asked.folder, asked.out)


if __name__ == "__main__":
    main()
