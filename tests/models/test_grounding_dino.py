"""Grounding DINO reads words as its library reads text, and learns by the library's own loss."""

import json
import math
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import written_out
from composing import compose
from vwtransfer.datasets import Dataset, held_out_examples
from vwtransfer.errors import UserError
from vwtransfer.models import grounding_photos
from vwtransfer.models.grounding_fusion import fused
from vwtransfer.models.grounding_photos import side_by_side
from vwtransfer.models.suite import build, build_part
from vwtransfer.words.cells import Cell

NAME = "tiny_grounding_dino"
BOUND = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}


def model(*keys: str) -> Any:
    choice = [f"model/detection={NAME}", "task=detection"]
    own = [f"model.{NAME}.{key}" for key in keys]
    return build(compose([*choice, *own]), torch.device("cpu")).models[NAME]


@cache
def loaded(dtype: str = "float32") -> Any:
    return model(f"dtype={dtype}")


@cache
def dataset() -> Dataset:
    node = dict(compose(["dataset=tiny_scenes"]).dataset["tiny_scenes"].node)
    node["concepts"] = dict(list(node["concepts"].items())[:2])
    node |= {"training_images": 2, "held_out_images": 2}
    part: Dataset = build_part(node, "dataset.tiny_scenes")
    return part


def picture() -> Image.Image:
    return held_out_examples(dataset())[0].load()


def cell(seed: int = 0) -> Cell:
    return Cell("tiny_scenes", NAME, next(iter(dataset().concepts)), "red", math.inf, seed)


@pytest.mark.parametrize("dtype", BOUND)
def test_a_word_with_the_vectors_of_a_token_gives_what_the_library_gives_for_it(dtype: str) -> None:
    found = loaded(dtype)
    inputs = found.processor(images=picture(), text=[["red"]], return_tensors="pt")
    maps, masks = side_by_side([found.encode_image(picture())], found.device)
    with torch.no_grad():
        theirs = found.model(**inputs.to(found.dtype))
        word = found.text.encode_words("{}.", found.text.anchor_rows(["red"])[None])
        ours = fused(found.model, maps, masks, word.states_NLD, word.only.ids_NL)
        plain = found.text.encode_text(["red"])
        same = fused(found.model, maps, masks, plain.states_NLD, plain.only.ids_NL)
    assert torch.equal(same.logits, theirs.logits)
    assert torch.equal(same.pred_boxes, theirs.pred_boxes)
    # words are read four at a time, which rounds otherwise on some processors
    bound = BOUND[dtype]
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=bound, atol=bound)
    torch.testing.assert_close(ours.pred_boxes, theirs.pred_boxes, rtol=bound, atol=bound)


def test_boxes_and_scores_are_those_of_the_librarys_processor() -> None:
    found = loaded()
    image = picture().resize((96, 48))
    inputs = found.processor(images=image, text=[["red star"]], return_tensors="pt")
    with torch.no_grad():
        out = found.model(**inputs)
    theirs = found.processor.post_process_grounded_object_detection(
        out, threshold=0.0, target_sizes=[(48, 96)]
    )[0]
    prompts = found.text.encode_text(["red star", "blue."])
    boxes, scores = found.detect(prompts, [found.encode_image(image)])
    order = theirs["scores"].argsort(descending=True)
    torch.testing.assert_close(scores[0, 0], theirs["scores"][order])
    torch.testing.assert_close(boxes[0, 0], theirs["boxes"][order])


def test_a_phrase_without_a_full_stop_gets_one() -> None:
    vocabulary = loaded().vocabularies["text"]
    assert vocabulary.encode("red star") == vocabulary.encode("red star.")
    assert vocabulary.strings(vocabulary.encode("red"))[-2:] == [".", "[SEP]"]
    assert vocabulary.read_index(vocabulary.encode("red")) == 2


def test_photos_of_other_shapes_beside_it_change_nothing() -> None:
    found = loaded()
    sizes = [(64, 64), (96, 64), (64, 128)]
    photos = [found.encode_image(picture().resize(size)) for size in sizes]
    prompts = found.text.encode_text(["red", "blue ring"])
    boxes, scores = found.detect(prompts, photos)
    for m, photo in enumerate(photos):
        alone = found.detect(prompts, [photo])
        torch.testing.assert_close(boxes[:, m : m + 1], alone[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(scores[:, m : m + 1], alone[1], rtol=1e-4, atol=1e-5)


def losses(found: Any, words: int) -> tuple[Tensor, Tensor]:
    """Of so many words the losses, and their gradients."""
    texts = ["red", "star", "blue", "ring"][:words]
    vectors = found.text.anchor_rows(texts)[:, None].requires_grad_()
    features, cells = found.features(dataset()), [cell(i) for i in range(words)]
    images = torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1]])[:words]
    loss = found.loss(vectors, features, images, cells, 0)
    (gradient,) = torch.autograd.grad(loss.sum(), vectors)
    return loss.detach(), gradient


def test_the_loss_is_the_one_written_out_with_the_librarys_classes() -> None:
    found = loaded()
    word = found.text.anchor_rows(["red", "star"])
    features = found.features(dataset())
    ours = found.loss(word[None], features, torch.tensor([[0, 1]]), [cell()], 0)[0]
    theirs = written_out.loss(found, dataset(), cell(), [0, 1], word, 0)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_word_learns_alike_alone_and_among_others() -> None:
    loss, gradient = losses(loaded(), 4)
    alone, own = losses(loaded(), 1)
    torch.testing.assert_close(alone, loss[:1], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(own, gradient[:1], rtol=1e-4, atol=1e-7)


def test_a_pair_at_a_time_learns_what_all_at_once_do() -> None:
    loss, gradient = losses(loaded(), 4)
    parts, own = losses(model("pairs_at_once=1"), 4)
    torch.testing.assert_close(parts, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own, gradient, rtol=1e-3, atol=1e-6)


def test_photos_that_memory_does_not_hold_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding_photos, "HELD_BYTES", 1)
    photos = loaded().encode_images(held_out_examples(dataset()))
    assert photos[0] is not photos[0]
    for first, again in zip(photos[0].maps, photos[0].maps, strict=True):
        assert torch.equal(first, again)


def refused(folder: Path, file: str, change: Callable[[Any], None]) -> str:
    """What is said of a copy of the checkpoint in which a file has been changed."""
    shutil.copytree(loaded().checkpoint.source, folder)
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        _ = model(f"checkpoint={folder}").vocabularies["text"]
    return str(caught.value)


def test_another_class_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path / "it", "config.json", lambda c: c.update(model_type="owlv2"))
    assert "model_type 'owlv2' is none of grounding-dino, mm-grounding-dino" in said


def test_a_tokenizer_with_other_ids_for_the_ends_of_phrases_is_refused(tmp_path: Path) -> None:
    def swap(content: Any) -> None:
        ids = content["model"]["vocab"]
        other = next(token for token, number in ids.items() if number == 1011)
        ids.update({".": 1011, other: 1012})

    assert "another id than 1012 for '.'" in refused(tmp_path / "it", "tokenizer.json", swap)
