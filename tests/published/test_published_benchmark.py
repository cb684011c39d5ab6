"""The benchmark of transfer methods takes the paper's models."""

from pathlib import Path

import open_clip
import pytest
from published_models import JUDGE, REPOSITORIES, SAFETY

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.leaderboard import benchmark
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

pytestmark = pytest.mark.published

PAPER = ("sd21", "owlv2_base", "dfn_clip")
WIDTHS = {"generation": 1024, "detection": 512, "classification": 768}
METHODS = ("least_squares", "nearest_words", "clearest_matching", "state_matching")


def test_words_are_carried_between_the_paper_s_models_and_measured_there(
    checkpoints: Path, tmp_path: Path
) -> None:
    words = sorted(w for w in open_clip.tokenizer.SimpleTokenizer().encoder if w.endswith("</w>"))
    support = tmp_path / "support.txt"
    support.write_text("\n".join(words[::20]))
    chosen = compose(["experiment=transfer_benchmark"]).benchmark.methods
    overrides = [
        "experiment=transfer_benchmark",
        "model=paper",
        f"model.support={support}",
        *(f"~transfer@benchmark.methods.{name}" for name in chosen if name not in METHODS),
        *(f"benchmark.methods.{name}.phrases=60" for name in METHODS[2:]),
        *(f"benchmark.methods.{name}.steps=2" for name in METHODS[2:]),
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
    for task, repository in (REPOSITORIES[model] for model in PAPER):
        overrides += [
            f"model.{task}.checkpoint={checkpoints / repository}",
            f"model.{task}.dtype=float32",
            f"model.{task}.training.steps=1",
            f"model.{task}.training.batch_size=2",
        ]
    config = compose(overrides)
    benchmark.run(config)
    frame = results.read(config.folder)
    words = frame[frame["trained_for"].isin(WIDTHS) & (frame["transfer"] != "none")]
    assert words["value"].notna().all()
    measured = {*words[["transfer", "trained_for", "evaluated_on"]].itertuples(index=False)}
    assert measured == {(m, a, b) for m in METHODS for a in WIDTHS for b in WIDTHS if a != b}
    for method, source, target in measured:
        store = WordStore(config.folder / "carried" / method / f"{source}_to_{target}")
        cell = Cell("tiny_shapes", source, "red_striped_star", "cat", float("inf"), 0)
        assert store.load(cell).vectors_KD.shape == (4, WIDTHS[target])
    page = (config.folder / "leaderboard.md").read_text()
    assert all(method in page for method in METHODS)
