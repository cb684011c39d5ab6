"""Average precision of many words at once."""

import pytest
import torch
from PIL import Image
from torchmetrics.detection import MeanAveragePrecision

from vwtransfer.datasets import Example
from vwtransfer.tasks.average_precision import average_precision


def annotated(boxes: torch.Tensor, labels: tuple[str, ...]) -> Example:
    """An image, never loaded, with a box of each label."""
    rows = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
    return Example("image", labels[0], Image.Image, tuple(rows), labels)


def scene(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[Example], list[str]]:
    """Noisy boxes of three words on twelve images; some images hold no target."""
    generator = torch.Generator().manual_seed(seed)
    truths, words, T = [], ["a", "b", "a"], 6
    boxes = torch.rand(3, 12, T, 4, generator=generator) * 20
    boxes[..., 2:] += boxes[..., :2] + 5
    for m in range(12):
        labels = tuple("ab"[: 1 + m % 2]) if m % 3 else ("b",)
        corner = torch.rand(len(labels), 2, generator=generator) * 20
        truth = torch.cat([corner, corner + 10], dim=1)
        truths.append(annotated(truth, labels))
        boxes[:, m, 0] = truth[0] + torch.randn(3, 4, generator=generator)
    scores = torch.rand(3, 12, T, generator=generator)
    return boxes, scores, truths, words


def alone(
    boxes_MT4: torch.Tensor, scores_MT: torch.Tensor, truths: list[Example], concept: str
) -> tuple[float, float]:
    """torchmetrics on one word, written out."""
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    for m, truth in enumerate(truths):
        own = torch.tensor([label == concept for label in truth.labels])
        T = scores_MT.shape[1]
        found = {"boxes": boxes_MT4[m], "scores": scores_MT[m], "labels": torch.zeros(T).long()}
        there = {
            "boxes": torch.tensor(truth.boxes)[own],
            "labels": torch.zeros(int(own.sum())).long(),
        }
        metric.update([found], [there])
    result = metric.compute()
    return result["map_50"].item(), result["map"].item()


def test_words_measured_together_get_what_each_gets_alone() -> None:
    boxes, scores, truths, words = scene(0)
    together = average_precision(boxes, scores, truths, words)
    for n, concept in enumerate(words):
        at_50, at_50_95 = alone(boxes[n], scores[n], truths, concept)
        assert together[n]["mean_average_precision"] == pytest.approx(at_50, abs=1e-6)
        assert together[n]["mean_average_precision_50_95"] == pytest.approx(at_50_95, abs=1e-6)
        holding = [m for m, truth in enumerate(truths) if concept in truth.labels]
        target, _ = alone(
            boxes[n][holding], scores[n][holding], [truths[m] for m in holding], concept
        )
        assert together[n]["mean_average_precision_target_images"] == pytest.approx(
            target, abs=1e-6
        )


def test_perfect_boxes_score_one_and_boxes_elsewhere_score_nothing() -> None:
    truth = annotated(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), ("a",))
    good = torch.tensor(truth.boxes)[None, None]
    bad = good + 50
    boxes = torch.cat([good, bad])
    measured = average_precision(boxes, torch.ones(2, 1, 1), [truth], ["a", "a"])
    assert measured[0]["mean_average_precision"] == 1.0
    assert measured[1]["mean_average_precision"] == 0.0


def test_false_alarms_in_images_without_the_target_count_only_in_the_full_measure() -> None:
    target = annotated(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), ("a",))
    other = annotated(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), ("b",))
    boxes = torch.tensor(target.boxes).expand(1, 2, 1, 4)
    scores = torch.tensor([[[0.4], [0.9]]])
    measured = average_precision(boxes, scores, [target, other], ["a"])[0]
    assert measured["mean_average_precision"] == pytest.approx(0.5, abs=0.01)
    assert measured["mean_average_precision_target_images"] == 1.0


def test_a_box_counts_however_many_stand_before_it() -> None:
    truth = annotated(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), ("a",))
    boxes = (torch.tensor(truth.boxes) + 50).repeat(1, 1, 200, 1).view(1, 1, 200, 4).clone()
    boxes[0, 0, 150] = torch.tensor(truth.boxes[0])
    scores = torch.linspace(1, 0, 200)[None, None]
    measured = average_precision(boxes, scores, [truth], ["a"])[0]
    assert measured["mean_average_precision"] == pytest.approx(1 / 151, abs=1e-3)


def test_a_word_whose_scores_are_no_numbers_finds_nothing_and_harms_no_other() -> None:
    truth = annotated(torch.tensor([[10.0, 10.0, 20.0, 20.0]]), ("a",))
    there = torch.tensor(truth.boxes)
    away = there + 50
    boxes = torch.stack([there, there, away])[:, None]
    scores = torch.tensor([1.0, torch.nan, torch.nan])[:, None, None]
    good, _, bad = average_precision(boxes, scores, [truth], ["a", "a", "a"])
    assert good["mean_average_precision"] == 1.0
    assert bad["mean_average_precision"] == 0.0
