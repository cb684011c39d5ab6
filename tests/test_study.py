"""The study from end to end, at a small size: what it leaves, and what survives a kill."""

import json
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from composing import compose
from forked import Forked, vwtransfer
from vwtransfer.actions.run import run as run_study
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore, load_word

SMALL = [
    "experiment=demo",
    "transfer=least_squares",
    "model.generation.training.steps=4",
    "model.generation.denoising_steps=2",
    "model.detection.training.steps=4",
    "model.classification.training.steps=4",
    "dataset.tiny_shapes.held_out_images=2",
    "extra_grids=[]",
    "progress=false",
    "threads=1",
]


def two_concepts() -> str:
    concepts = list(compose([]).dataset["tiny_shapes"].concepts)[:2]
    return f"concept=[{','.join(concepts)}]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished small study: two concepts, three tasks, two deltas."""
    outputs = tmp_path_factory.mktemp("outputs")
    overrides = [*SMALL, two_concepts(), "delta=[null,0.5]", f"outputs={outputs}"]
    run_study(compose([*overrides, "evaluation.save_images=true"]))
    yield outputs / "demo"


def test_every_word_is_measured_in_every_model(run: Path) -> None:
    frame = pd.read_parquet(run / "results.parquet")
    words = frame[frame.kind == "word"]
    assert set(words.source_model) == {"tiny_sd", "tiny_owlv2", "tiny_clip"}
    trials = words.drop_duplicates(["source_model", "target_model", "concept", "anchor", "delta"])
    assert len(trials) == 3 * 3 * 2 * 2
    own = words.source_model == words.target_model
    assert (words[own].transfer == "none").all()
    assert (words[~own].transfer == "least_squares").all()
    assert words.value.between(0, 1).all()
    assert set(words.delta) == {0.5, math.inf}


def test_baselines_stand_in_the_same_table(run: Path) -> None:
    frame = pd.read_parquet(run / "results.parquet")
    for baseline in ("anchor", "name", "random"):
        rows = frame[frame.kind == baseline]
        assert set(rows.target_model) == {"tiny_sd", "tiny_owlv2", "tiny_clip"}
    chance = frame[frame.kind == "chance"].set_index("metric").value
    assert (chance["classifier_accuracy"] == 0.1).all()


def test_the_csv_holds_the_same_rows(run: Path) -> None:
    parquet, csv = pd.read_parquet(run / "results.parquet"), pd.read_csv(run / "results.csv")
    assert len(csv) == len(parquet)
    assert csv.delta.tolist() == parquet.delta.tolist()


def test_what_a_person_reads_is_there(run: Path) -> None:
    for name in ("config.yaml", "provenance.json", "summary.txt", "results.csv"):
        assert (run / name).stat().st_size > 0
    for name in ("figure_3.png", "figure_6.png"):
        assert (run / "figures" / name).read_bytes().startswith(b"\x89PNG")
    reports = sorted(path.stem for path in (run / "transfer").glob("*.json"))
    assert len(reports) == 6
    fit = json.loads((run / "transfer" / f"{reports[0]}.json").read_text())
    assert {"r2", "condition_number", "tokens", "residual_rms"} <= set(fit)


def test_generations_are_kept_when_asked(run: Path) -> None:
    images = list((run / "images").rglob("*.png"))
    generated = pd.read_parquet(run / "results.parquet")
    count = (generated.metric == "generation_accuracy") & (generated.kind != "chance")
    assert len(images) == count.sum()


def test_constrained_words_stay_in_their_ball(run: Path) -> None:
    from vwtransfer.models.suite import build
    from vwtransfer.training.word_batches import radii

    suite = build(compose([]), torch.device("cpu"))
    for path in (run / "words").rglob("*-0.5-0.safetensors"):
        word = load_word(path)
        text = suite.models[word.cell.model].text
        centre = text.anchor_rows([word.cell.anchor])[0]
        (radius,) = radii([word.cell], text)[0].tolist()
        assert (word.vectors_KD - centre).norm(dim=1).max() <= radius * (1 + 1e-5)


def test_a_word_is_carried_and_measured_the_same_whichever_datasets_are_beside_it(
    tmp_path: Path,
) -> None:
    def one(name: str, *datasets: str) -> tuple[pd.DataFrame, dict[str, float]]:
        concepts = {"tiny_shapes": "red_striped_star", "tiny_small": "red_plain_triangle"}
        config = compose(
            [
                f"dataset=[{','.join(datasets)}]",
                f"concept=[{','.join(concepts[dataset] for dataset in datasets)}]",
                "anchor=paired",
                "task=classification",
                "direction=classification_to_detection",
                "transfer=ridge_knn_matching",
                "transfer.calibration_prompts=300",
                "transfer.steps=5",
                "model.classification.training.steps=4",
                "evaluation.baselines=[]",
                *(f"dataset.{dataset}.held_out_images=2" for dataset in datasets),
                f"name={name}",
                f"outputs={tmp_path}",
                "progress=false",
                "report=false",
                "threads=1",
            ]
        )
        run_study(config)
        assert not (config.folder / "report.html").exists()
        frame = pd.read_parquet(config.folder / "results.parquet")
        rows = frame[frame["dataset"] == "tiny_shapes"].drop(
            columns=["experiment", "eval_seconds", "written_at"]
        )
        (report,) = (config.folder / "transfer").glob("*tiny_shapes.json")
        fit = json.loads(report.read_text())
        return rows.reset_index(drop=True), {"r2": fit["r2"], "tokens": fit["calibration_prompts"]}

    alone, beside = one("alone", "tiny_shapes"), one("beside", "tiny_shapes", "tiny_small")
    pd.testing.assert_frame_equal(alone[0], beside[0])
    assert alone[1] == pytest.approx(beside[1], rel=1e-9)


def test_running_again_trains_and_measures_nothing(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("words/**/*.safetensors")}
    parts = {path: path.stat().st_mtime_ns for path in (run / "results").iterdir()}
    overrides = [*SMALL, two_concepts(), "delta=[null,0.5]", f"outputs={run.parent}"]
    run_study(compose([*overrides, "evaluation.save_images=true"]))
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert {path: path.stat().st_mtime_ns for path in (run / "results").iterdir()} == parts


def command(outputs: Path, *overrides: str) -> list[str]:
    return [
        *SMALL,
        two_concepts(),
        "task=classification",
        "direction=none",
        "model.classification.training.steps=150",
        "trainer.checkpoint_every=10",
        "evaluation.baselines=[]",
        "report=false",
        f"outputs={outputs}",
        *overrides,
    ]


def wait_for_checkpoint(folder: Path, process: Forked) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob("demo/checkpoints/*/chunk-*.safetensors")):
        assert process.running, process.errors
        assert time.monotonic() < deadline
        time.sleep(0.01)


def trained(outputs: Path) -> dict[str, torch.Tensor]:
    store = WordStore(outputs / "demo" / "words")
    return {
        path.relative_to(store.folder).as_posix(): load_word(path).vectors_KD
        for path in sorted(store.folder.rglob("*.safetensors"))
    }


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    run_study(compose(command(undisturbed)))
    process = vwtransfer(command(killed), tmp_path / "errors")
    wait_for_checkpoint(killed, process)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not trained(killed)
    run_study(compose(command(killed)))
    expected = trained(undisturbed)
    assert len(expected) == 2
    for name, vectors in trained(killed).items():
        assert torch.equal(vectors, expected[name])


def test_ctrl_c_says_what_was_saved_and_how_to_go_on(tmp_path: Path) -> None:
    process = vwtransfer(command(tmp_path), tmp_path / "errors")
    wait_for_checkpoint(tmp_path, process)
    began = time.monotonic()
    process.send(signal.SIGINT)
    assert process.wait(60) == 130
    errors = process.errors
    assert time.monotonic() - began < 20
    assert "0 of 2 words are finished" in errors
    assert "The same command goes on" in errors
    assert "Traceback" not in errors


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from vwtransfer.errors import UserError

    with pytest.raises(UserError, match=r"device=cuda:7: this machine has .* Valid: auto, cpu"):
        run_study(compose([*SMALL, "device=cuda:7", f"outputs={tmp_path}"]))


def test_a_word_of_another_models_width_is_refused(tmp_path: Path) -> None:
    from vwtransfer.errors import UserError
    from vwtransfer.words.store import Word

    config = compose(
        [*SMALL, two_concepts(), "task=detection", "direction=none", f"outputs={tmp_path}"]
    )
    store = WordStore(config.folder / "words")
    concepts = list(config.dataset["tiny_shapes"].concepts)[:2]
    for concept, anchor in zip(concepts, config.dataset["tiny_shapes"].anchors, strict=False):
        cell = Cell("tiny_shapes", "tiny_owlv2", concept, anchor, math.inf, 0)
        store.save(Word(cell, torch.zeros(4, 7), "detection", "another", "other", 0.0, 0.0))
    with pytest.raises(UserError, match="width 7, but the model reads 80"):
        run_study(config)
