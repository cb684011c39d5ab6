"""The benchmark from end to end, small: what it leaves, whose words it reads, one's own method."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from vwtransfer import results
from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.leaderboard import benchmark
from vwtransfer.leaderboard.splits import development
from vwtransfer.results import DIAGNOSTICS, Record
from vwtransfer.words.store import load_word

SMALL = [
    "experiment=transfer_benchmark",
    "~transfer@benchmark.methods.perceptron",
    "~transfer@benchmark.methods.relative",
    "dataset=tiny_shapes",
    "anchor=[zepu]",
    "task=[classification,detection]",
    "direction=[classification_to_detection,detection_to_classification]",
    "model.classification.training.steps=60",
    "model.detection.training.steps=60",
    "dataset.tiny_shapes.held_out_images=2",
    *(
        f"benchmark.methods.{method}.{key}={value}"
        for method in (
            "output_matching_untuned",
            "output_matching",
            "output_matching_near_words",
            "similarity_matching",
            "neighbour_matching",
            "blended_matching",
            "clearest_matching",
            "state_matching",
        )
        for key, value in (("phrases", 300), ("steps", 5))
    ),
    "progress=false",
    "threads=1",
]
WITHOUT = [line for line in SMALL if line.startswith("~")]
MINE = '''
"""Each vector becomes the mean of the target's words."""


class Mine:
    def __init__(self, name):
        self.name = name

    def fit(self, source, target, support, excluded=()):
        self.row_D = target.rows(list(support)).mean(dim=0)
        assert "red striped star" in excluded
        return self

    report = {"what": "a mean"}

    def __call__(self, vectors_NKD):
        return self.row_D.expand(len(vectors_NKD), 1, -1)  # one vector where there were four
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A person's folder with a method of their own and its config."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package.py").write_text(MINE)
    (folder / "my_conf" / "transfer").mkdir(parents=True)
    config = "_target_: my_package.Mine\nname: mine\n"
    (folder / "my_conf" / "transfer" / "mine.yaml").write_text(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def config(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of a benchmark run in that folder by the command that docs/transfer.md shows."""
    outputs = tmp_path_factory.mktemp("outputs")
    overrides = [
        *SMALL,
        "+transfer@benchmark.methods.mine=mine",
        f"outputs={outputs}",
        f"benchmark.page={outputs}/page.md",
    ]
    program = str(Path(sys.executable).with_name("vwtransfer"))
    subprocess.run([program, "--config-dir", "my_conf", *overrides], check=True, cwd=own)
    return compose(overrides, own / "my_conf")


def test_every_method_has_its_place_on_the_page(config: Config) -> None:
    page = (config.folder / "leaderboard.md").read_text()
    assert len(config.benchmark.methods) > 10
    for method in config.benchmark.methods:
        assert f"| `{method}` |" in page
    assert "| `mine` |" in page
    row = next(line for line in page.splitlines() if "| `least_squares` |" in line)
    metrics = r"0\.\d{3} \| 0\.\d{3}"  # of classification to detection, and back
    assert re.search(rf"`least_squares` \|.* \| {metrics} \| \d+\.\d\d \| \d+\.\d \|$", row)
    assert re.search(rf"\|  \| trained in the target \|  \|  \|  \| {metrics} \|  \|  \|", page)
    assert config.benchmark.page is not None
    assert config.benchmark.page.read_text() == page.replace("leaderboard.png", "page.png")
    for picture in (config.folder / "leaderboard.png", config.benchmark.page.with_suffix(".png")):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_table_of_the_page_has_as_many_cells_in_each_row(config: Config) -> None:
    cells: list[int] = []
    for line in (config.folder / "leaderboard.md").read_text().splitlines():
        if not line.startswith("|"):
            cells = []
            continue
        cells.append(line.count("|"))
        assert cells[0] == cells[-1], line


def test_results_hold_every_word_method_and_direction_of_the_half_alone(config: Config) -> None:
    frame = pd.read_parquet(config.folder / "results.parquet")
    moved = frame[(frame["transfer"] != "none") & (frame.metric == "classifier_balanced_accuracy")]
    assert len(moved) == 5 * len(config.benchmark.methods)
    half = development("tiny_shapes", list(config.dataset["tiny_shapes"].concepts))
    assert set(frame.concept) == half
    words = {path.parent.name for path in config.folder.rglob("words/**/*.safetensors")}
    carried = {path.parent.name for path in config.folder.rglob("carried/**/*.safetensors")}
    assert words == carried == half


def test_fits_words_and_causes_are_reported(config: Config) -> None:
    report = config.folder / "transfer" / "neighbour_matching-detection_to_classification.json"
    assert json.loads(report.read_text())["fit_seconds"] > 0
    frame = pd.read_parquet(config.folder / "results.parquet")
    keys = ["trained_for", "concept", *DIAGNOSTICS]
    words = frame[frame.trained_for.isin(config.task)][keys].drop_duplicates()
    assert len(words) == 2 * 5
    assert words.turning_block.between(1, 4).all()
    assert words.outside_table.between(0, 1).all()
    carried = config.folder / "carried" / "mine" / "detection_to_classification"
    word = load_word(next(carried.rglob("*.safetensors")), 64)
    assert (word.vectors_KD == word.vectors_KD[0]).all()
    assert word.seconds > 0


def test_running_again_carries_and_measures_nothing_and_counts_no_other_concept(
    config: Config,
) -> None:
    def tables() -> list[str]:
        lines = (config.folder / "leaderboard.md").read_text().splitlines()
        return [line for line in lines if line.startswith("|")]

    kept = [*config.folder.rglob("*.safetensors"), *(config.folder / "results").iterdir()]
    before = {path: path.stat().st_mtime_ns for path in kept}
    page, whole = tables(), (config.folder / "results.parquet").read_bytes()
    half = development("tiny_shapes", list(config.dataset["tiny_shapes"].concepts))
    (other, *_) = sorted(set(config.dataset["tiny_shapes"].concepts) - half)
    rows = results.read(config.folder).assign(concept=other, value=0.0).to_dict("records")
    part = results.write_part(config.folder, [Record(**row) for row in rows], "other half")
    benchmark.run(config)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert tables() == page
    part.unlink()
    (config.folder / "results.parquet").write_bytes(whole)


def two_methods(config: Config) -> list[str]:
    """The overrides of SMALL with least squares and ridge alone."""
    kept = ("least_squares", "ridge", "mine")
    without = [
        f"~transfer@benchmark.methods.{m}" for m in config.benchmark.methods if m not in kept
    ]
    return [*(line for line in SMALL if "methods" not in line), *WITHOUT, *without]


def test_the_words_of_another_study_are_carried_instead(config: Config, tmp_path: Path) -> None:
    of_another = [f"outputs={tmp_path}", f"benchmark.words={config.folder}"]
    other = compose([*two_methods(config), *of_another])
    benchmark.run(other)
    assert not (other.folder / "words").exists()
    frames = [
        pd.read_parquet(folder / "results.parquet").query("transfer == 'ridge'")
        for folder in (config.folder, other.folder)
    ]
    assert len(frames[0]) > 0
    first, second = (frame.drop(columns="seconds").reset_index(drop=True) for frame in frames)
    pd.testing.assert_frame_equal(first, second)


def test_a_study_that_is_not_complete_says_what_is_left_out(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(config.folder / "words", tmp_path / "words")
    task = tmp_path / "words" / "tiny_shapes"
    shutil.rmtree(task / "detection" / "blue_dotted_star")
    shutil.rmtree(task / "classification" / "blue_dotted_star")
    shutil.rmtree(task / "detection" / "red_striped_moon")
    of_another = [f"outputs={tmp_path}", f"benchmark.words={tmp_path}"]
    other = compose([*two_methods(config), *of_another])
    benchmark.run(other)
    line = (
        "tiny_shapes: 2 of 5 pairs of concept and anchor are left out, as words are missing: "
        "1 for classification, 2 for detection."
    )
    assert line in capsys.readouterr().out
    assert f"- {line}" in (other.folder / "leaderboard.md").read_text()
    frame = pd.read_parquet(other.folder / "results.parquet")
    assert len(set(frame.concept)) == 3


def test_words_that_do_nothing_in_their_own_model_have_no_retention(
    config: Config, tmp_path: Path
) -> None:
    small = compose([*two_methods(config), f"outputs={tmp_path}", "delta=0.01"])
    benchmark.run(small)
    page = (small.folder / "leaderboard.md").read_text()
    assert "# Leaderboard: development half of tiny_shapes; tiny models, delta 0.01" in page
    assert "retention is not defined; not counted, 2 of 2: classification on tiny_shapes" in page
    assert "| `ridge` | - | - | - | " in page  # retention, difference, capped
    assert re.search(r"\| trained in the target \|  \|  \|  \| 0\.0\d\d \| 0\.500 \|", page)


def test_words_of_several_deltas_have_no_place_in_one_table(tmp_path: Path) -> None:
    both = compose([*SMALL, f"outputs={tmp_path}", "delta=[0.5,1.0]"])
    with pytest.raises(
        UserError, match=r"delta=\['0.5', '1.0'\]: a leaderboard is of words of one"
    ):
        benchmark.run(both)


def test_a_study_whose_words_are_of_another_half_has_nothing_to_carry(
    config: Config, tmp_path: Path
) -> None:
    shutil.copytree(config.folder / "words", tmp_path / "words")
    final = compose(
        [*SMALL, "benchmark.half=final", f"outputs={tmp_path}", f"benchmark.words={tmp_path}"]
    )
    with pytest.raises(UserError, match="no unconstrained word of the final half"):
        benchmark.run(final)


def test_a_benchmark_without_the_papers_method_is_refused(tmp_path: Path) -> None:
    without = compose([*SMALL, "~transfer@benchmark.methods.least_squares", f"outputs={tmp_path}"])
    with pytest.raises(UserError, match="least_squares is missing"):
        benchmark.run(without)


def test_a_method_filed_under_another_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"benchmark.methods.ridge.name=other: must be ridge"):
        compose([*SMALL, "benchmark.methods.ridge.name=other"])
