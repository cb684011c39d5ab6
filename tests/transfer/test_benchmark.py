"""The benchmark from end to end, small: what it leaves, whose words it reads, one's own method."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from composing import compose
from vwtransfer import results
from vwtransfer.config import Config
from vwtransfer.config.composition import config_folder
from vwtransfer.errors import UserError
from vwtransfer.leaderboard import benchmark
from vwtransfer.leaderboard.cheapest import CHEAPEST
from vwtransfer.leaderboard.mapping import Direction
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.models.suite import build, build_part
from vwtransfer.progress import Stages
from vwtransfer.results import DIAGNOSTICS, Record
from vwtransfer.study import Study, data_loading
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore, load_word

MATCHING = (
    "output_matching_untuned",
    "output_matching",
    "output_matching_near_words",
    "relative_matching",
    "knn_matching",
    "ridge_knn_matching",
    "readout_matching",
    "token_state_matching",
    "hard_prompt",
)
WITHOUT = ["~transfer@benchmark.methods.perceptron", "~transfer@benchmark.methods.relative"]
STUDY = [
    "experiment=transfer_benchmark",
    "dataset=tiny_shapes",
    "anchor=[zepu]",
    "task=[classification,detection]",
    "model.classification.training.steps=60",
    "model.classification.training.learning_rate=1e-2",
    "model.detection.training.steps=20",
    "dataset.tiny_shapes.held_out_images=2",
    "benchmark.calibration_prompts=60",
    "progress=false",
    "threads=1",
]
TWO_CLASSIFIERS = [
    "model/classification=[tiny_clip,other]",
    "direction.pairs=[[tiny_owlv2,tiny_clip],[tiny_clip,other]]",
]
BETWEEN_CLASSIFIERS = [
    "model/classification=[tiny_clip,other]",
    "task=classification",
    "direction.pairs=[[tiny_clip,other]]",
]
SMALL = [
    *(f"benchmark.methods.{method}.calibration_prompts=60" for method in MATCHING),
    *(f"benchmark.methods.{method}.steps=2" for method in MATCHING),
]
MINE = '''
"""Each vector becomes the mean of the target's tokens."""


class Mine:
    def __init__(self, name):
        self.name = name

    def fit(self, source, target, support, excluded=()):
        self.row_D = target.token_rows(support).mean(dim=0)
        assert "red striped star" in excluded
        return self

    report = {"what": "a mean"}

    def __call__(self, words_NKD, anchors=None):
        assert anchors == ["zepu"] * len(words_NKD)
        return self.row_D.expand(len(words_NKD), 1, -1)  # one vector where there were four
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A person's configs: a method of their own, and a second classifier."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package.py").write_text(MINE)
    (folder / "my_conf" / "transfer").mkdir(parents=True)
    config = "_target_: my_package.Mine\nname: mine\n"
    (folder / "my_conf" / "transfer" / "mine.yaml").write_text(config)
    (folder / "my_conf" / "model" / "classification").mkdir(parents=True)
    other = "# @package model.other\ndefaults: [tiny_clip@_here_]\nname: other\n"
    (folder / "my_conf" / "model" / "classification" / "other.yaml").write_text(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder / "my_conf"


@pytest.fixture(scope="module")
def config(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of a benchmark that was run."""
    outputs = tmp_path_factory.mktemp("outputs")
    overrides = [
        *(*STUDY, *TWO_CLASSIFIERS, *SMALL, *WITHOUT),
        "+transfer@benchmark.methods.mine=mine",
        f"outputs={outputs}",
        f"benchmark.page={outputs}/page.md",
    ]
    composed = compose(overrides, own)
    benchmark.run(composed)
    return composed


def test_every_method_of_the_package_is_compared() -> None:
    methods = {path.stem for path in (config_folder() / "transfer").glob("*.yaml")}
    config = compose(["experiment=transfer_benchmark"])
    # two need words of other concepts, the others are of conversion
    apart = {"calibrated_matching", "offset_matching", "combined_matching"}
    apart |= {"nearest_words_cutoff", "padded", "resized"}
    assert set(config.benchmark.methods) == methods - apart
    for name, node in config.benchmark.methods.items():
        assert build_part(node, name).name == name


def test_every_method_has_its_place_on_the_page(config: Config) -> None:
    page = (config.folder / "leaderboard.md").read_text()
    assert len(config.benchmark.methods) > 20
    for method in config.benchmark.methods:
        assert f"| `{method}` |" in page
    assert "| `mine` |" in page
    links = re.findall(r"\]\((.+?)\)", page)
    assert links and all((config.folder / link).exists() for link in links)
    row = next(line for line in page.splitlines() if "| `least_squares` |" in line)
    metrics = r"0\.\d{3} \| 0\.\d{3}"  # in both directions
    estimate = r"-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]"
    capped = (
        rf"`least_squares` \| {estimate} \|  \| {estimate} \| {metrics} \| \d+\.\d\d \| \d+\.\d "
    )
    assert re.search(rf"{capped}\|$", row)
    assert re.search(rf"\|  \| trained in the target \|  \|  \|  \| {metrics} \|  \|  \|", page)
    assert config.benchmark.page is not None
    assert config.benchmark.page.read_text() == page.replace("leaderboard.png", "page.png")
    for picture in (config.folder / "leaderboard.png", config.benchmark.page.with_suffix(".png")):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_page_names_models_with_their_tasks_and_what_maps_are_fitted_on(
    config: Config,
) -> None:
    page = (config.folder / "leaderboard.md").read_text()
    assert "| tiny_owlv2 (det) > tiny_clip (cls) | tiny_clip (cls) > other (cls) |" in page
    assert "- Model `other`: classification, measured in classifier_balanced_accuracy" in page
    assert "transfer.exclude=description" in page
    assert "- Intervals rest on 5 concepts, which are few" in page
    assert "concept's name, typed" in page
    (support,) = set(rows_of(config).query("transfer == 'ridge'").support)
    assert support.endswith("tokens, without descriptions")
    assert f"- Support on tiny_shapes: {support}, in every direction." in page


def test_every_table_of_the_page_has_as_many_cells_in_each_row(config: Config) -> None:
    count: list[int] = []
    for line in (config.folder / "leaderboard.md").read_text().splitlines():
        if not line.startswith("|"):
            count = []
            continue
        count.append(line.count("|"))
        assert count[0] == count[-1], line


def rows_of(config: Config) -> pd.DataFrame:
    return pd.read_parquet(config.folder / "results.parquet")


def test_results_hold_every_word_method_and_direction_of_the_split_alone(config: Config) -> None:
    frame = rows_of(config)
    moved = frame[(frame["transfer"] != "none") & (frame.metric == "classifier_balanced_accuracy")]
    assert len(moved) == 2 * 5 * (len(config.benchmark.methods) + len(CHEAPEST))
    dev = dev_concepts("tiny_shapes", list(config.dataset["tiny_shapes"].concepts))
    assert set(frame.concept) == dev
    words = {path.parent.name for path in config.folder.rglob("words/**/*.safetensors")}
    mapped = {path.parent.name for path in config.folder.rglob("mapped/**/*.safetensors")}
    assert words == mapped == dev


def test_fits_words_and_diagnostics_are_reported(config: Config) -> None:
    report = config.folder / "transfer" / "knn_matching-tiny_owlv2_to_tiny_clip-tiny_shapes.json"
    assert json.loads(report.read_text())["fit_seconds"] > 0
    frame = rows_of(config)
    words = frame[frame.kind == "word"][["source_model", "concept", *DIAGNOSTICS]]
    words = words.drop_duplicates()
    assert len(words) == 3 * 5
    assert words.concept_onset_layer.between(1, 4).all()
    assert words.off_subspace_energy.between(0, 1).all()
    mapped = Direction("tiny_owlv2", "tiny_clip", config.folder).store("mine").folder
    word = load_word(next(mapped.rglob("*.safetensors")), 64)
    assert (word.vectors_KD == word.vectors_KD[0]).all()
    assert (word.cell.model, word.task) == ("tiny_owlv2", "classification")
    assert word.seconds > 0


def test_a_model_under_another_name_trains_and_is_given_the_same_words(config: Config) -> None:
    store, chosen = WordStore(config.folder / "words"), cells(config)
    ours = [cell for cell in chosen if cell.model == "other" and cell in store]
    assert len(ours) == 5
    for cell in ours:
        twin = store.load(replace(cell, model="tiny_clip"))
        assert torch.equal(store.load(cell).vectors_KD, twin.vectors_KD)
    frame = rows_of(config).query("metric == 'classifier_balanced_accuracy'")
    own = frame[(frame.transfer == "none") & (frame.kind == "word")]
    moved = frame[(frame.transfer == "least_squares") & (frame.target_model == "other")]
    reached = [
        part.set_index("concept").value for part in (moved, own[own.target_model == "other"])
    ]
    pd.testing.assert_series_equal(*reached)  # the table is the same, and so least squares is 1


def test_a_study_fits_the_same_map(config: Config, own: Path) -> None:
    asked = [*STUDY, *TWO_CLASSIFIERS, "transfer=ridge", "transfer.exclude=description"]
    study_config = compose([*asked, f"outputs={config.outputs}", "name=other"], own)
    suite, datasets = build(study_config, torch.device("cpu")), data_loading.opened(study_config)
    store = WordStore(config.folder / "words")
    bars = Stages(None, Console(quiet=True))
    study = Study(study_config, suite, datasets, [], store, bars, lambda: False)
    ridge = build_part(study_config.transfer.node, "transfer")
    fitted = study.fit(ridge, datasets["tiny_shapes"], "tiny_owlv2", "tiny_clip")
    assert {fitted.support} == set(rows_of(config).query("transfer == 'ridge'").support)
    mapped = Direction("tiny_owlv2", "tiny_clip", config.folder).store("ridge")
    cell = next(c for c in cells(config) if c.model == "tiny_owlv2" and c in mapped)
    again_NKD = fitted.map(store.load(cell).vectors_KD[None], [cell.anchor])
    torch.testing.assert_close(again_NKD[0], mapped.load(cell).vectors_KD)


def test_running_again_maps_and_measures_nothing_and_counts_no_other_concept(
    config: Config,
) -> None:
    def tables() -> list[str]:
        lines = (config.folder / "leaderboard.md").read_text().splitlines()
        return [line for line in lines if line.startswith("|")]

    kept = [*config.folder.rglob("*.safetensors"), *(config.folder / "results").iterdir()]
    before = {path: path.stat().st_mtime_ns for path in kept}
    page, whole = tables(), (config.folder / "results.parquet").read_bytes()
    dev = dev_concepts("tiny_shapes", list(config.dataset["tiny_shapes"].concepts))
    (other, *_) = sorted(set(config.dataset["tiny_shapes"].concepts) - dev)
    rows = results.read(config.folder).assign(concept=other, value=0.0).to_dict("records")
    part = results.write_part(config.folder, [Record(**row) for row in rows], "other split")
    benchmark.run(config)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert tables() == page
    part.unlink()
    (config.folder / "results.parquet").write_bytes(whole)


TWO_METHODS = [
    f"~transfer@benchmark.methods.{method}"
    for method in compose(["experiment=transfer_benchmark"]).benchmark.methods
    if method not in ("least_squares", "ridge")
]


def test_the_words_of_another_study_are_mapped_instead(
    config: Config, own: Path, tmp_path: Path
) -> None:
    of_another = [f"outputs={tmp_path}", f"benchmark.words={config.folder}"]
    other = compose([*STUDY, *BETWEEN_CLASSIFIERS, *TWO_METHODS, *of_another], own)
    benchmark.run(other)
    assert not (other.folder / "words").exists()
    moved = "transfer == 'ridge' and target_model == 'other'"
    frames = [rows_of(each).query(moved) for each in (config, other)]
    assert len(frames[0]) > 0
    told = ["eval_seconds", "written_at"]
    first, second = (frame.drop(columns=told).reset_index(drop=True) for frame in frames)
    pd.testing.assert_frame_equal(first, second)


def test_a_study_that_is_not_complete_says_what_is_left_out(
    config: Config, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(config.folder / "words", tmp_path / "words")
    words = tmp_path / "words" / "tiny_shapes"
    shutil.rmtree(words / "other" / "blue_dotted_star")
    shutil.rmtree(words / "tiny_clip" / "blue_dotted_star")
    shutil.rmtree(words / "other" / "red_striped_moon")
    of_another = [f"outputs={tmp_path}", f"benchmark.words={tmp_path}"]
    other = compose([*STUDY, *BETWEEN_CLASSIFIERS, *TWO_METHODS, *of_another], own)
    benchmark.run(other)
    line = (
        "tiny_shapes: 2 of 5 pairs of concept and anchor are left out, as words are missing: "
        "2 of other, 1 of tiny_clip."
    )
    assert line in capsys.readouterr().out
    assert f"- {line}" in (other.folder / "leaderboard.md").read_text()
    assert len(set(rows_of(other).concept)) == 3


def test_words_that_do_nothing_in_their_own_model_have_no_retention(tmp_path: Path) -> None:
    both = "direction=[classification_to_detection,detection_to_classification]"
    small = compose([*STUDY, both, *TWO_METHODS, f"outputs={tmp_path}", "delta=0.01"])
    benchmark.run(small)
    page = (small.folder / "leaderboard.md").read_text()
    assert "# Leaderboard: dev split of tiny_shapes; tiny models, delta 0.01" in page
    assert "2 of 2 pairs of direction and dataset, which enter no mean." in page
    assert "gain less than that: tiny_clip on tiny_shapes" in page
    assert "| `ridge` | - | - | - | " in page  # retention, difference, capped
    assert "mean average precision at IoU 0.5, balanced accuracy of the classifier." in page
    assert re.search(r"\| trained in the target \|  \|  \|  \| 0\.0\d\d \| 0\.500 \|", page)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["delta=[0.5,1.0]"], r"delta=\['0.5', '1.0'\]: a leaderboard is of words of one"),
        (["~transfer@benchmark.methods.least_squares"], "least_squares is missing"),
        (
            ["task=[classification]"],
            r"no word is trained in tiny_owlv2 to compare with. Add it with task=\[classification,",
        ),
    ],
)
def test_what_makes_no_leaderboard_is_refused(
    overrides: list[str], line: str, tmp_path: Path
) -> None:
    direction = "direction=classification_to_detection"
    refused = compose([*STUDY, direction, *overrides, f"outputs={tmp_path}"])
    with pytest.raises(UserError, match=line):
        benchmark.run(refused)


def test_a_study_whose_words_are_of_the_other_split_has_nothing_to_map(
    config: Config, own: Path, tmp_path: Path
) -> None:
    words = [f"outputs={tmp_path}", f"benchmark.words={config.folder}"]
    test = compose([*STUDY, *TWO_CLASSIFIERS, "benchmark.split=test", *words], own)
    with pytest.raises(UserError, match="no unconstrained word of the test split"):
        benchmark.run(test)


def test_a_method_filed_under_another_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"benchmark.methods.ridge.name=other: must be ridge"):
        compose([*STUDY, "benchmark.methods.ridge.name=other"])
