"""Which regions a word of detection learns from, and what the detector is shown."""

import time
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from composing import compose
from drawn import Drawn, rectangle
from vwtransfer.datasets import Example
from vwtransfer.models import owlv2_pixels
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.owlv2 import Owlv2, Regions, encode_images
from vwtransfer.models.owlv2_pixels import on_grey, pixels_of
from vwtransfer.models.suite import build
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.tasks.classification import Classification


@pytest.fixture(scope="module")
def detection() -> Owlv2:
    task = build(compose([]), torch.device("cpu")).models["tiny_owlv2"]
    assert isinstance(task, Owlv2)
    return task


def test_a_crowd_or_a_difficult_object_is_no_target_and_nothing_else(detection: Owlv2) -> None:
    own, other, elsewhere = (0.0, 0.0, 20.0, 20.0), (30.0, 0.0, 50.0, 20.0), (0.0, 30.0, 9.0, 40.0)
    (concept, rival, *_) = Drawn.concepts
    example = replace(Drawn().training(concept)[0], boxes=(own,), labels=(concept,))
    regions = Regions(
        class_MRE=torch.eye(3)[None],
        shift_MR=torch.zeros(1, 3),
        scale_MR=torch.ones(1, 3),
        box_MR4=torch.tensor([[own, other, elsewhere]]),
        objectness_MR=torch.zeros(1, 3),
    )
    for ignored, negatives in (((), [0, 1, 1]), ((concept,), [0, 0, 1]), ((rival,), [0, 1, 1])):
        boxes = (other,) * len(ignored)
        marked = replace(example, ignored=boxes, ignored_labels=ignored)
        positive_E, negative_E, *_ = detection._sums(regions, 0, marked)
        assert positive_E.tolist() == [1, 0, 0]
        assert negative_E.tolist() == negatives


def test_an_image_that_is_no_square_is_shown_on_grey(detection: Owlv2) -> None:
    wide = rectangle("red", (8.0, 8.0, 24.0, 24.0))
    square = Image.new("RGB", (64, 64), (128, 128, 128))
    square.paste(wide)
    found, expected = (
        encode_images(detection.model, detection.processor, [image]) for image in (wide, square)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (65, 64), (100, 80), (211, 300), (500, 3)])
def test_the_pixels_are_the_librarys(detection: Owlv2, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image, processor = Image.fromarray(noise), detection.processor.image_processor
    expected = processor(on_grey(image), return_tensors="pt")["pixel_values"]
    found = pixels_of(processor, image)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    reduced = max(size) > 64
    assert float((found - expected).abs().max()) <= (1e-5 if reduced else 0)


def test_boxes_are_those_of_the_librarys_pixels(
    detection: Owlv2, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (300, 211, 3), dtype=np.uint8))
    coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((320, 240))
    shown = Drawn().training("red")[0].load().resize((320, 240))
    prompts = detection.text.encode_text(["a photo of a star", "a photo of a heart"])

    def found() -> tuple[torch.Tensor, torch.Tensor]:
        images = [noise, coarse, shown]
        parts = [encode_images(detection.model, detection.processor, [each]) for each in images]
        boxes_NMT4, scores_NMT = detection.detect(prompts, [Regions(**part) for part in parts])
        return boxes_NMT4 / 320, scores_NMT

    ours = found()

    def librarys(processor: Any, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = processor(on_grey(image), return_tensors="pt")["pixel_values"]
        return pixels

    monkeypatch.setattr(owlv2_pixels, "pixels_of", librarys)
    for mine, theirs in zip(ours, found(), strict=True):
        assert float((mine - theirs).abs().max()) < 1e-5  # of the image's side; of the score


def test_a_photo_of_a_phone_is_reduced_soon(detection: Owlv2) -> None:
    photo, began = Image.effect_noise((1600, 1200), 90).convert("RGB"), time.process_time()
    pixels_of(detection.processor.image_processor, photo)
    assert time.process_time() - began < 5  # the library's blur takes ten times as long


def test_photos_are_read_one_at_a_time(detection: Owlv2) -> None:
    alive: set[int] = set()
    most = 0

    def load(number: int) -> Image.Image:
        nonlocal most
        image = Image.new("RGB", (80, 60), (number, 0, 0))
        alive.add(number)
        weakref.finalize(image, alive.discard, number)
        most = max(most, len(alive))
        return image

    examples = [Example(str(i), "red", partial(load, i), (), ()) for i in range(5)]
    parts = detection.encode_images(examples)
    assert sum(len(part.box_MR4) for part in parts) == 5
    assert most <= 2


def test_a_word_that_cannot_be_read_is_claimed_of_no_image() -> None:
    suite = build(compose([]), torch.device("cpu"))
    classifier, task = suite.models["tiny_clip"], Classification()
    (concept, *_) = Drawn.concepts
    unread = Prompts({"text": Encoded(None, torch.full((1, 64), torch.nan))})
    held_out = task.held_out(classifier, Drawn())  # type: ignore[arg-type]  # a classifier
    (measured,) = task.measure(classifier, unread, held_out, [concept])  # type: ignore[arg-type]
    assert measured.values["classifier_accuracy"] == 0
    assert measured.values["classifier_balanced_accuracy"] == 0.5
