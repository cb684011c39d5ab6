"""Mean average precision of many words at once, by torchmetrics (COCO's evaluation).

Shapes: N words, M images, T boxes of an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vwtransfer.datasets import Box, Example


def average_precision(
    boxes_NMT4: Tensor, scores_NMT: Tensor, examples: Sequence[Example], concepts: Sequence[str]
) -> list[dict[str, float]]:
    """Average precision of each word's boxes against the boxes of the concept it stands for.

    A word is one class of one evaluation, so that many words cost little more than one.

    Args:
        boxes_NMT4: predicted boxes (x0, y0, x1, y1) of each word in each image.
        scores_NMT: their scores.
        examples: the M images, with what is annotated in each.
        concepts: the concept each of the N words stands for.

    Returns:
        For each word: `mean_average_precision` (IoU 0.5), `mean_average_precision_50_95`, both
        over all images, and `mean_average_precision_target_images` (IoU 0.5, only images that
        hold the target).
    """
    # a word that cannot be read, as one beyond float16's range, finds nothing
    boxes_NMT4, scores_NMT = boxes_NMT4.cpu(), scores_NMT.cpu().nan_to_num(nan=0.0)
    every = [[True] * len(examples)] * len(concepts)
    holding = [[concept in example.labels for example in examples] for concept in concepts]
    on_all = _per_word(boxes_NMT4, scores_NMT, examples, concepts, every)
    on_target = _per_word(boxes_NMT4, scores_NMT, examples, concepts, holding)
    return [
        {
            "mean_average_precision": all_50,
            "mean_average_precision_50_95": all_50_95,
            "mean_average_precision_target_images": target_50,
        }
        for (all_50, all_50_95), (target_50, _) in zip(on_all, on_target, strict=True)
    ]


def _per_word(
    boxes_NMT4: Tensor,
    scores_NMT: Tensor,
    examples: Sequence[Example],
    concepts: Sequence[str],
    counted_NM: Sequence[Sequence[bool]],
) -> list[tuple[float, float]]:
    """Average precision at IoU 0.5 and at 0.5:0.95 of each word, on the images that count."""
    from torchmetrics.detection import MeanAveragePrecision  # seconds, for those who measure

    T = scores_NMT.shape[-1]
    most = [1, 10, max(100, T)]
    metric = MeanAveragePrecision(
        extended_summary=True, backend="faster_coco_eval", max_detection_thresholds=most
    )
    metric.warn_on_many_detections = False
    for m, example in enumerate(examples):
        words = [n for n in range(len(concepts)) if counted_NM[n][m]]
        found = _boxes_of(words, concepts, example.boxes, example.labels)
        targets = len(found)
        found += _boxes_of(words, concepts, example.ignored, example.ignored_labels)
        predicted = {
            "boxes": boxes_NMT4[words, m].reshape(-1, 4),
            "scores": scores_NMT[words, m].reshape(-1),
            "labels": torch.tensor(words, dtype=torch.long).repeat_interleave(T),
        }
        annotated = {
            "boxes": torch.tensor([box for box, _ in found], dtype=torch.float32).view(-1, 4),
            "labels": torch.tensor([n for _, n in found], dtype=torch.long),
            "iscrowd": torch.tensor([int(i >= targets) for i in range(len(found))]).long(),
        }
        metric.update([predicted], [annotated])
    result = metric.compute()
    # [IoU threshold, recall level, class, area, most boxes]; all areas, all boxes
    precision_IRN = result["precision"][:, :, :, 0, -1]
    by_word = precision_IRN.mean(dim=1)
    order = result["classes"].reshape(-1).tolist()
    columns = [order.index(n) for n in range(len(concepts))]
    return [(by_word[0, c].item(), by_word[:, c].mean().item()) for c in columns]


def _boxes_of(
    words: Sequence[int], concepts: Sequence[str], boxes: Sequence[Box], labels: Sequence[str]
) -> list[tuple[Box, int]]:
    """Each box with every word that stands for the concept in it."""
    return [
        (box, n)
        for n in words
        for box, label in zip(boxes, labels, strict=True)
        if label == concepts[n]
    ]
