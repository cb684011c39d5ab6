"""Which regions a word of detection learns from, and what the detector is shown."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from drawn import Drawn, rectangle
from vwtransfer.config.composition import compose
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.owlv2 import Owlv2, Regions, encode_images
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


def test_a_word_that_cannot_be_read_is_claimed_of_no_image() -> None:
    suite = build(compose([]), torch.device("cpu"))
    classifier, task = suite.models["tiny_clip"], Classification()
    (concept, *_) = Drawn.concepts
    unread = Prompts({"text": Encoded(None, torch.full((1, 64), torch.nan))})
    held_out = task.held_out(classifier, Drawn())  # type: ignore[arg-type]  # a classifier
    (measured,) = task.measure(classifier, unread, held_out, [concept])  # type: ignore[arg-type]
    assert measured.values["classifier_accuracy"] == 0
    assert measured.values["classifier_balanced_accuracy"] == 0.5
