"""The tiny model of a task with options of one's choice, and the gradient of one word in it."""

import math
from pathlib import Path
from typing import Any

import torch

import loaded
from composing import compose
from vwtransfer.config.composition import package_folder
from vwtransfer.models.suite import build, build_part
from vwtransfer.words.cells import Cell

TINY = {"generation": "tiny_sd", "detection": "tiny_owlv2", "classification": "tiny_clip"}
WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"


def task(name: str, *options: str) -> Any:
    keys = [f"model.{name}.{option}" for option in options]
    with loaded.apart():
        return build(compose(keys), torch.device("cpu")).models[TINY[name]]


def gradient(found: Any) -> torch.Tensor:
    """Of the loss of one word; a forward and a backward pass through all that options change."""
    node = dict(compose(["dataset.tiny_shapes.training_images=2"]).dataset["tiny_shapes"].node)
    dataset = build_part(node, "dataset.tiny_shapes")
    concept = next(iter(dataset.concepts))
    cell = Cell("tiny_shapes", found.name, concept, "zepu", math.inf, 0)
    features = found.features(dataset)
    vectors = found.text.anchor_rows(["red", "red"])[None].requires_grad_()
    loss = found.loss(vectors, features, found.batches(features, cell)[:1], [cell], 0)
    (found_gradient,) = torch.autograd.grad(loss.sum(), vectors)
    return found_gradient
