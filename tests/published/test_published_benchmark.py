"""The benchmark of transfer methods takes the paper's models."""

from pathlib import Path

import pytest
from published_models import JUDGE, REPOSITORIES, SAFETY, write_support

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.evaluation import diagnostics
from vwtransfer.leaderboard import benchmark
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

pytestmark = pytest.mark.published

WIDTHS = {"sd21": 1024, "owlv2_base": 512, "dfn_clip": 768}
METHODS = ("least_squares", "readout_matching", "token_state_matching")


def test_words_are_mapped_between_the_papers_models_and_measured_there(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "PHRASES", 60)  # prompts, of which 2,000 take a minute
    support = write_support(tmp_path / "support.txt")
    chosen = compose(["experiment=transfer_benchmark"]).benchmark.methods
    overrides = [
        "experiment=transfer_benchmark",
        "model=paper",
        *(f"~transfer@benchmark.methods.{name}" for name in chosen if name not in METHODS),
        *(f"benchmark.methods.{name}.calibration_prompts=60" for name in METHODS[1:]),
        *(f"benchmark.methods.{name}.steps=2" for name in METHODS[1:]),
        "dataset=tiny_shapes",
        "dataset.tiny_shapes.anchors=[cat,boat]",
        "dataset.tiny_shapes.training_images=2",
        "dataset.tiny_shapes.held_out_images=1",
        "concept=red_striped_star",
        "anchor=[cat]",
        "model.generation.denoising_steps=2",
        f"model.judge.checkpoint={checkpoints / JUDGE}",
        f"model.safety.checkpoint={checkpoints / SAFETY}",
        "model.judge.dtype=float32",
        "model.safety.dtype=float32",
        f"outputs={tmp_path}",
        "progress=false",
    ]
    for name in WIDTHS:
        overrides += [
            f"model.{name}.checkpoint={checkpoints / REPOSITORIES[name][1]}",
            f"model.{name}.support={support}",
            f"model.{name}.dtype=float32",
            f"model.{name}.training.steps=1",
            f"model.{name}.training.batch_size=2",
        ]
    config = compose(overrides)
    benchmark.run(config)
    frame = results.read(config.folder)
    words = frame[(frame["kind"] == "word") & (frame["transfer"] != "none")]
    assert words["value"].notna().all()
    measured = {*words[["transfer", "source_model", "target_model"]].itertuples(index=False)}
    pairs = [(a, b) for a in WIDTHS for b in WIDTHS if a != b]
    mapped = {(m, a, b) for m in METHODS for a, b in pairs}
    cheapest = {("typed_nearest", a, b) for a, b in pairs}
    cheapest |= {("mapped_output", a, b) for a, b in pairs if b != "sd21"}  # reads all states
    assert measured == mapped | cheapest
    for method, source, target in mapped:
        store = WordStore(config.folder / "mapped" / method / f"{source}_to_{target}")
        cell = Cell("tiny_shapes", source, "red_striped_star", "cat", float("inf"), 0)
        assert store.load(cell).vectors_KD.shape == (4, WIDTHS[target])
    page = (config.folder / "leaderboard.md").read_text()
    assert all(method in page for method in METHODS)
