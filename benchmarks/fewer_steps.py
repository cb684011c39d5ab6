"""Words of one recipe of training beside words of another, on concepts of the test split.

    python benchmarks/fewer_steps.py own fewer stopped published own_families fewer_families
    python benchmarks/fewer_steps.py --figure docs/fewer_steps.png

The first trains and measures (an hour and more; what is there is not done again), the second prints
the tables of docs/fewer_steps.md from what is there. How the recipes were chosen, on other
concepts: benchmarks/training_variants.py.
"""

import argparse
import subprocess
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.results.statistics import Estimate, bootstrap_mean, headline, mean_of, retention
from vwtransfer.training.stopping import CHECKS, IMAGES
from vwtransfer.words.store import load_word

FIRST = ("tiny_shapes", "tiny_textures", "tiny_small", "tiny_scenes")
ALL = (*FIRST, *(f"{name}_b" for name in FIRST))
DRAWN = tuple(f"tiny_{kind}_{number}" for number in (1, 2, 3) for kind in ("shapes", "textures"))
FOLDER = Path("outputs/fewer_steps")
MARGIN = 0.05
"""By which a score may be lower; written down before anything was measured."""


def _training(task: str, steps: int, batch: int, rate: float) -> str:
    return f"model.{task}.training={{steps: {steps}, batch_size: {batch}, learning_rate: {rate}}}"


FEWER = (
    *("trainer.parametrization=direction", "trainer.schedule=cosine"),
    _training("generation", 300, 1, 1e-2),
    _training("detection", 500, 8, 5e-3),
    _training("classification", 500, 8, 5e-3),
)
DINO = (_training("detection", 100, 4, 1e-2),)  # its own: 100 steps of 8 at 5e-3
STOPPED = (
    *("trainer.parametrization=direction", "trainer.stop=loss"),
    _training("generation", 400, 2, 1e-2),
    _training("detection", 500, 8, 5e-3),
    _training("classification", 500, 8, 5e-3),
)
PUBLISHED = tuple(
    _training(task, 1000, 8, 1e-4) for task in ("generation", "detection", "classification")
)
PAPER = ("model=tiny", "direction=all", "transfer=readout_matching")
GENERATOR = ("model=tiny", "direction=none", "task=generation")
FAMILIES = (
    "model=tiny_families",
    "model/generation=[tiny_sd_b, tiny_sdxl, tiny_flux]",
    "model/detection=tiny_grounding_dino",
    "model/classification=tiny_siglip",
    "direction=none",
)
GENERATORS = (*FAMILIES, "task=generation")
OTHERS = (*FAMILIES, "task=[detection,classification]")
FLUX = (*GENERATORS, "model/generation=[tiny_flux]")
FEWER_FLUX = (*FEWER[:2], _training("generation", 100, 4, 1e-2))
FASTER_FLUX = (*FEWER[:2], _training("generation", 100, 4, 2e-2))
SIXTEEN = "model.generation.images_per_word=16"
QUICK = (  # 200 words, of which only the step matters at which each stops
    *("model=tiny", "task=generation", "direction=none", "anchor=all", "concept=all"),
    *("trainer.parametrization=direction", "trainer.stop=loss", "report=false", "wandb=off"),
    *("dataset=[tiny_shapes,tiny_textures]", "evaluation.baselines=[]", f"outputs={FOLDER}"),
    *(_training("generation", 120, 1, 2e-2), "model.generation.denoising_steps=1"),
)
ALONE = {"packed": "null", "alone": "1"}  # words that train together
STUDIES = {  # keys, and datasets whose test split is trained
    "own": (PAPER, ALL),
    "fewer": ((*PAPER, *FEWER), ALL),
    "stopped": ((*PAPER[:1], "direction=none", *STOPPED), ALL),
    "published": ((*PAPER[:1], "direction=none", *PUBLISHED), FIRST),
    **{  # of other lengths, in the generator alone
        f"{name}_{steps}": (
            (*GENERATOR, *keys, _training("generation", steps, batch, rate)),
            FIRST,
        )
        for name, keys, batch, rate, lengths in (
            ("own", (), 8, 3e-3, (50,)),
            ("fewer", FEWER[:2], 1, 1e-2, (50, 100)),
        )
        for steps in lengths
    },
    "own_families": (FAMILIES, FIRST),
    "fewer_families": ((*FAMILIES, *FEWER, *DINO), FIRST),
    # added when 20 words did not tell for tiny_sdxl and tiny_flux
    "own_more": (GENERATORS, ALL[4:]),
    "fewer_more": ((*GENERATORS, *FEWER), ALL[4:]),
    # ten words each
    "published_families": ((*GENERATORS, PUBLISHED[0]), FIRST[:2]),
    "fewer_generators": ((*GENERATORS, *FEWER), FIRST[:2]),
    "published_others": ((*OTHERS, *PUBLISHED[1:]), FIRST[:2]),
    "fewer_others": ((*OTHERS, *FEWER, *DINO), FIRST[:2]),
    # a recipe for tiny_flux, chosen by the scores of 40 development concepts
    "own_flux": (FLUX, ALL),
    "fewer_flux": ((*FLUX, *FEWER_FLUX), ALL),
    # the same words, four times as many images of each, as four did not tell
    "own_flux_16": ((*FLUX, SIXTEEN), ALL),
    "fewer_flux_16": ((*FLUX, *FEWER_FLUX, SIXTEEN), ALL),
    # at twice the rate, on 60 other concepts
    "own_flux_drawn": ((*FLUX, SIXTEEN), DRAWN),
    "fewer_flux_drawn": ((*FLUX, *FASTER_FLUX, SIXTEEN), DRAWN),
}


def keys_of(name: str) -> list[str]:
    """What a study is composed of: the test split of its datasets, one anchor a concept."""
    if name in ALONE:
        return [*QUICK, f"name={name}", f"trainer.max_words_in_flight={ALONE[name]}"]
    keys, datasets = STUDIES[name]
    plain = compose([f"dataset=[{','.join(datasets)}]"]).dataset
    concepts = [
        concept
        for dataset in datasets
        for concept in plain[dataset].concepts
        if concept not in dev_concepts(dataset, list(plain[dataset].concepts))
    ]
    return [
        *("dataset=[" + ",".join(datasets) + "]", *keys, "anchor=paired"),
        *(f"concept=[{','.join(concepts)}]", f"outputs={FOLDER}", f"name={name}"),
        *("evaluation.baselines=[anchor,name]", "model.generation.denoising_steps=20"),
        *([] if SIXTEEN in keys else ["model.generation.images_per_word=4"]),
        *("report=false", "wandb=off"),
    ]


WORD = ["dataset", "concept", "anchor", "source_model", "target_model"]


def scores(*names: str) -> pd.DataFrame:
    """The headline scores of studies' words, in their own models and, carried, in others."""
    there = [n for n in dict.fromkeys(names) if (FOLDER / n / "results").is_dir()]
    frames = [results.read(FOLDER / n) for n in there]
    frame = headline(pd.concat(frames))
    return frame[frame["kind"] == results.WORD]


def mean_over_datasets(frame: pd.DataFrame, column: str) -> Estimate:
    """The mean over datasets of means over words; concepts are resampled."""
    return mean_of(
        bootstrap_mean(rows[column], rows["concept"].astype(str), dataset=str(dataset))
        for dataset, rows in frame.groupby("dataset", observed=True)
    )


def compared(one: str, other: str) -> list[list[str]]:
    """A row for each pair of models: both scores and their difference, of the same words."""
    first, second = (scores(n, n.replace("families", "more")) for n in (one, other))
    both = first.merge(second, on=WORD, suffixes=("_one", "_other"))
    both["difference"] = both["value_other"] - both["value_one"]
    table = []
    pairs = both.groupby(["source_model", "target_model"], observed=True)
    for (source, target), rows in pairs:
        columns = ("value_one", "value_other", "difference")
        values = [str(mean_over_datasets(rows, column)) for column in columns]
        label = str(source) if source == target else f"{source} to {target}"
        table.append([label, str(len(rows)), *values])
    for kind, chosen in (
        ("own models", both["source_model"] == both["target_model"]),
        ("carried", both["source_model"] != both["target_model"]),
    ):
        if chosen.any():
            found = [
                mean_over_datasets(rows, "difference")
                for _, rows in both[chosen].groupby(["source_model", "target_model"], observed=True)
            ]
            table.append([f"mean, {kind}", "", "", "", str(mean_of(found))])
    return table


def same_steps() -> str:
    """How many words stop at the same step alone and together with others."""
    folders = [FOLDER / name / "words" for name in ALONE]
    paths = [path.relative_to(folders[0]) for path in sorted(folders[0].rglob("*.safetensors"))]
    ends = [[load_word(folder / path).stopped for path in paths] for folder in folders]
    same = sum(one == other for one, other in zip(*ends, strict=True))
    return f"{same} of {len(paths)} words stop at the same step, of {len(set(ends[0]))} steps"


def cost(name: str) -> list[list[str]]:
    """Of a word of each model: images that the loss looked at, steps, processor seconds."""
    config = compose(keys_of(name))
    rows = []
    for model in config.trained:
        training = config.model.models[model]["training"]
        words = [load_word(path) for path in (config.folder / "words").glob(f"*/{model}/*/*.s*")]
        if not words:
            continue
        most, batch = training["steps"], training["batch_size"]
        steps = [int(w.stopped.split()[1].rstrip(":")) if w.stopped else most for w in words]
        every = max(1, most // CHECKS)
        looks = [len(range(every, step + 1, every)) if words[0].stopped else 0 for step in steps]
        checks = sum(looks) * -(-IMAGES // batch) * batch / len(words)
        mean = sum(steps) / len(words)
        seconds = sum(w.seconds for w in words) / len(words)
        images = mean * batch + checks
        rows.append([name, model, f"{mean:.0f}", f"{images:,.0f}", f"{seconds:.1f}"])
    return rows


def draw(path: Path) -> None:
    """The figure: what tiny_sd's words reach by the images that the denoiser saw of each."""
    labels = {"own": "the model's own recipe", "fewer": "fewer steps", "published": "table 2"}
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for family, label in labels.items():
        points = []
        for name in [name for name in STUDIES if name.split("_")[0] == family]:
            if not (FOLDER / name / "results").is_dir() or name.endswith(("families", "more")):
                continue
            training = compose(keys_of(name)).model.models["tiny_sd"]["training"]
            rows = scores(name)
            mine = (rows["source_model"] == "tiny_sd") & (rows["target_model"] == "tiny_sd")
            rows = rows[mine & rows["dataset"].isin(FIRST)]
            reached = mean_over_datasets(rows, "value")
            points.append((training["steps"] * training["batch_size"], reached))
        points.sort(key=lambda point: point[0])
        if not points:
            continue
        at, values = zip(*points, strict=True)
        heights = [value.value for value in values]
        below = [value.value - value.low for value in values]
        above = [value.high - value.value for value in values]
        axes.errorbar(at, heights, [below, above], marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="images that the denoiser saw of a word", ylim=(0, 1.05))
    axes.set_ylabel("generation accuracy, 20 words")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def tables() -> None:
    """Prints what there is of docs/fewer_steps.md's tables."""
    there = [name for name in STUDIES if (FOLDER / name / "results").is_dir()]
    head = ["", "words", "first", "second", "second - first"]
    for one, other in (
        ("own", "fewer"),
        ("own", "stopped"),
        ("published", "fewer"),
        ("own_families", "fewer_families"),
        ("published_families", "fewer_generators"),
        ("published_others", "fewer_others"),
        ("own_flux", "fewer_flux"),
        ("own_flux_16", "fewer_flux_16"),
        ("own_flux_drawn", "fewer_flux_drawn"),
    ):
        if {one, other} <= set(there):
            print(f"\n{one}, {other}\n")
            for row in [head, ["---"] * len(head), *compared(one, other)]:
                print(f"| {' | '.join(row)} |")
    print("\n| study | model | steps | images | seconds |\n| --- | --- | --- | --- | --- |")
    for name in there:
        for row in cost(name):
            print(f"| {' | '.join(row)} |")
    for name in [name for name in ("own", "fewer") if name in there]:
        kept = retention(results.read(FOLDER / name), "readout_matching")
        print(f"\n{name}: retention {kept.overall}, capped {kept.capped}")
    if all((FOLDER / name / "results").is_dir() for name in ALONE):
        print(f"\n{same_steps()}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, *ALONE, []])
    parser.add_argument("--figure", type=Path, help="a file for the figure")
    arguments = parser.parse_args()
    for name in arguments.studies:
        subprocess.run(["vwtransfer", *keys_of(name)], check=True)
    if arguments.figure:
        draw(arguments.figure)
    if not arguments.studies:
        tables()


if __name__ == "__main__":
    main()
