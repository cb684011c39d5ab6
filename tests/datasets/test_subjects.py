"""Subjects that no phrase says exactly: how they are drawn, and measured by their photos."""

from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from sklearn.metrics import average_precision_score
from transformers import CLIPModel, CLIPProcessor

from composing import compose
from one_gradient import WEIGHTS
from vwtransfer.config.composition import config_folder
from vwtransfer.datasets import NAMES, held_out_examples, left_out_of, notes_of
from vwtransfer.datasets.rendered import Rendered
from vwtransfer.models.suite import build
from vwtransfer.tasks import measurable
from vwtransfer.tasks.classification import Classification
from vwtransfer.tasks.generation import Generation
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.tinyworld.lexicon import nouns, parse
from vwtransfer.tinyworld.renderer import render
from vwtransfer.tinyworld.world import COLOURS, Scene, Subject, Thing

SETS = ("tiny_subjects", "tiny_subjects_b")


def opened(name: str, **changed: Any) -> Rendered:
    settings = yaml.safe_load((config_folder() / "dataset" / f"{name}.yaml").read_text("utf-8"))
    del settings["_target_"]
    return Rendered(**settings | changed)


def drawn(description: str, subject: Subject | None) -> torch.Tensor:
    thing = Thing(parse(description), 32.0, 32.0, 24.0, 0.1, subject)
    return render([Scene((thing,), "snow", 0.0, 1)]).images_BCHW[0].float()


def test_a_subject_goes_from_its_combination_to_the_other() -> None:
    one, other = "red striped star", "orange striped moon"
    ends = drawn(one, None), drawn(other, None)
    assert torch.equal(drawn(one, Subject(parse(other))), ends[0])
    assert torch.equal(drawn(one, Subject(parse(other), 1.0)), ends[1])
    ways = [drawn(one, Subject(parse(other), share)) for share in (0.25, 0.5, 0.75)]
    gone = [float((way - ends[0]).abs().mean()) for way in (*ways, ends[1])]
    left = [float((way - ends[1]).abs().mean()) for way in (ends[0], *ways)]
    assert gone == sorted(gone)
    assert left == sorted(left, reverse=True)


def test_a_hue_lies_between_the_two_colours() -> None:
    image_CHW = drawn("blue plain star", Subject(parse("purple plain star"), 0.4)) / 255
    centre_C = image_CHW[:, 30:35, 30:35].mean(dim=(1, 2))
    blue_C, purple_C = (torch.tensor(COLOURS[name]) for name in ("blue", "purple"))
    assert torch.allclose(centre_C, blue_C.lerp(purple_C, 0.4), atol=0.02)


def test_a_pitch_is_that_many_times_as_wide() -> None:
    def changes(pitch: float) -> int:
        subject = Subject(parse("blue striped square"), pitch=pitch)
        column_H = drawn("blue striped square", subject)[0, 20:44, 32] > 128
        return int((column_H[1:] != column_H[:-1]).sum())

    assert changes(0.5) > changes(1.0) > changes(2.5) > 0


@pytest.mark.parametrize("name", SETS)
def test_no_anchor_shares_anything_and_both_ends_are_left_out(name: str) -> None:
    dataset = opened(name)
    of_group: dict[str, int] = {}
    for concept in dataset.concepts:
        group = concept.rsplit("_", 1)[0]
        of_group[group] = of_group.get(group, 0) + 1
    assert sorted(of_group.values()) == [3, 3, 4]
    settings = yaml.safe_load((config_folder() / "dataset" / f"{name}.yaml").read_text("utf-8"))
    ends = {each["towards"] for each in settings["subjects"].values()} | {
        *dataset.concepts.values()
    }
    things = {noun: thing for thing, noun in nouns().items()}
    for anchor in dataset.anchors:
        assert not any(things[anchor].shares_attribute(parse(end)) for end in ends)
    assert ends <= set(left_out_of(dataset, "description"))
    assert {nouns()[parse(end)] for end in ends if parse(end) in nouns()} <= set(
        left_out_of(dataset, "description")
    )


def test_subjects_are_measured_by_photos_where_names_do_not_tell_them_apart() -> None:
    subjects, named = opened(SETS[0]), opened(SETS[0], subjects=None)
    judge: Any = None  # is asked for nothing
    assert NAMES in notes_of(subjects).lacks
    assert measurable(Classification(), subjects) == ("classifier_average_precision",)
    assert measurable(Generation(judge), subjects) == ("photo_accuracy",)
    assert "classifier_average_precision" not in measurable(Classification(), named)
    assert measurable(Generation(judge), named) == ("generation_accuracy",)


@torch.no_grad()
def test_average_precision_is_that_of_the_libraries() -> None:
    model: Any = build(compose([]), torch.device("cpu")).models["tiny_clip"]
    dataset, task = opened(SETS[0], held_out_images=3), Classification()
    prompts = [f"a photo of {name}" for name in dataset.concepts.values()]
    encoded = model.text.encode_text(prompts)
    found = task.measure(model, encoded, task.held_out(model, dataset), list(dataset.concepts))
    examples = held_out_examples(dataset)
    pixels = torch.stack([model.transform(example.load()) for example in examples])
    image_ME = model.model.encode_image(pixels, normalize=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model.folder}")
    text_NE = model.model.encode_text(tokenizer(prompts), normalize=True)
    for concept, scores_M, each in zip(
        dataset.concepts, (text_NE @ image_ME.T).tolist(), found, strict=True
    ):
        own = [example.concept == concept for example in examples]
        expected = average_precision_score(own, scores_M)
        assert each.values == {"classifier_average_precision": pytest.approx(expected, abs=1e-4)}


@torch.no_grad()
def test_photo_accuracy_is_the_share_that_is_most_like_the_photos() -> None:
    composed = compose(["model.generation.denoising_steps=2", "model.generation.images_per_word=2"])
    suite = build(composed, torch.device("cpu"))
    model: Any = suite.models["tiny_sd"]
    task, dataset = tasks_of(composed, suite)["generation"], opened(SETS[0], training_images=1)
    concepts = list(dataset.concepts)[:2]
    prompts = model.text.encode_text(["a photo of blue plain star", "a photo of red plain moon"])
    measured = task.measure(model, prompts, task.held_out(model, dataset), concepts)
    clip = CLIPModel.from_pretrained(WEIGHTS / "judge", dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(WEIGHTS / "judge")

    def seen(image: Image.Image) -> torch.Tensor:
        pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        return F.normalize(
            clip.visual_projection(clip.vision_model(pixels).pooler_output)[0], dim=0
        )

    photos = {c: [seen(e.load()) for e in dataset.training(c)] for c in dataset.concepts}
    for concept, each in zip(concepts, measured, strict=True):
        nearest = []
        for image_E in map(seen, each.images):
            sums = {c: sum(float(image_E @ photo) for photo in of_c) for c, of_c in photos.items()}
            nearest.append(max(sums, key=lambda c: sums[c]))
        assert each.values == {"photo_accuracy": nearest.count(concept) / 2}
        assert len(each.images) == 2
