"""Training: packs, checkpoints, and words that diverge, on a small task of a user's own."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from quadratic import Quadratic
from vwtransfer.config import TrainerConfig
from vwtransfer.config.models import Training
from vwtransfer.training.trainer import Job, train
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

STEPS = 40


def cell(concept: str, anchor: str = "mipo", delta: float = math.inf) -> Cell:
    return Cell("world", "quadratic_model", concept, anchor, delta, 0)


CELLS = [cell("one"), cell("two", "red"), cell("three", "star", 0.5), cell("cliff")]


def job(folder: Path, cells: Sequence[Cell], words_in_flight: int | None = None) -> Job:
    task = Quadratic(Training(learning_rate=0.05, steps=STEPS, batch_size=4), torch.device("cpu"))
    settings = TrainerConfig(
        num_vectors=4,
        betas=(0.9, 0.999),
        eps=1e-8,
        checkpoint_every=10,
        max_words_in_flight=words_in_flight,
    )
    return Job(
        model=task,
        dataset=None,  # type: ignore[arg-type]  # this task looks at no image
        cells=cells,
        settings=settings,
        store=WordStore(folder / "words"),
        folder=folder / "checkpoints",
        fingerprint=lambda cell: "config",
    )


def vectors(job: Job, cell: Cell) -> torch.Tensor:
    return job.store.load(cell).vectors_KD


def test_the_loop_is_adam_projected_into_the_ball(tmp_path: Path) -> None:
    one = CELLS[2]
    trained = job(tmp_path, [one])
    train(trained)
    task = trained.model
    centre = task.text.anchor_rows(["star"])[0]
    table = task.text.anchor_rows(["red", "mipo"])
    nearest = min((table - centre).norm(dim=1).tolist())
    word = centre.repeat(4, 1).requires_grad_()
    adam = torch.optim.Adam([word], lr=0.05, betas=(0.9, 0.999), eps=1e-8)
    batches = task.batches(task.features(None), one)  # type: ignore[arg-type]
    for step in range(STEPS):
        target = torch.linspace(-1, 1, 8)[batches[step]].mean()
        loss = (word - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            offset = word - centre
            length = offset.norm(dim=1, keepdim=True)
            word.copy_(centre + offset * (0.5 * nearest / length).clamp(max=1))
    torch.testing.assert_close(vectors(trained, one), word.detach())


def test_a_word_is_the_same_alone_in_a_pack_and_in_another_order(tmp_path: Path) -> None:
    pack, reverse = job(tmp_path / "a", CELLS), job(tmp_path / "b", CELLS[::-1])
    train(pack)
    train(reverse)
    for one in CELLS[:3]:
        alone = job(tmp_path / one.concept, [one])
        train(alone)
        torch.testing.assert_close(vectors(pack, one), vectors(alone, one))
        torch.testing.assert_close(vectors(reverse, one), vectors(alone, one))


def test_a_diverging_word_is_recorded_with_its_step_and_the_others_go_on(tmp_path: Path) -> None:
    trained = job(tmp_path, CELLS)
    train(trained)
    failure = trained.store.failure(cell("cliff"))
    assert failure is not None
    assert failure.step == 4
    assert "finite" in failure.reason
    assert all(one in trained.store for one in CELLS[:3])
    assert cell("cliff") not in trained.store


@pytest.mark.parametrize("stop_at", [1, 10, 25, STEPS])
def test_a_stopped_job_continues_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    undisturbed, stopped = job(tmp_path / "a", CELLS, 2), job(tmp_path / "b", CELLS, 2)
    train(undisturbed)
    steps = 0

    def stopping() -> bool:
        nonlocal steps
        steps += 1
        return steps == stop_at

    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopping=stopping)
    train(stopped)
    for one in CELLS[:3]:
        assert torch.equal(vectors(stopped, one), vectors(undisturbed, one))


def test_a_finished_word_is_not_trained_again(tmp_path: Path) -> None:
    first = job(tmp_path, CELLS[:1])
    train(first)
    written = first.store.path(CELLS[0]).stat().st_mtime_ns
    done: list[int] = []
    train(job(tmp_path, CELLS[:3]), advance=done.append)
    assert first.store.path(CELLS[0]).stat().st_mtime_ns == written
    assert sum(done) == 2 * STEPS


def test_chunks_are_kept_when_memory_changes(tmp_path: Path) -> None:
    def stopping() -> bool:
        return True

    with pytest.raises(KeyboardInterrupt):
        train(job(tmp_path, CELLS, 3), stopping=stopping)
    (partition,) = (tmp_path / "checkpoints").glob("*/partition.json")
    before = partition.read_text()
    with pytest.raises(KeyboardInterrupt):
        train(job(tmp_path, CELLS, 1), stopping=stopping)
    assert partition.read_text() == before


def test_a_cut_off_checkpoint_costs_only_the_steps_it_held_and_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, broken = job(tmp_path / "a", CELLS), job(tmp_path / "b", CELLS)
    train(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        train(broken, stopping=lambda: True)
    (checkpoint,) = (tmp_path / "b" / "checkpoints").glob("*/chunk-*.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with caplog.at_level("WARNING"):
        train(broken)
    assert f"{checkpoint} is damaged" in caplog.text and "begun anew" in caplog.text
    assert torch.equal(vectors(broken, CELLS[0]), vectors(undisturbed, CELLS[0]))


def test_nothing_is_left_behind_by_a_finished_job(tmp_path: Path) -> None:
    train(job(tmp_path, CELLS))
    assert not list((tmp_path / "checkpoints").iterdir())
