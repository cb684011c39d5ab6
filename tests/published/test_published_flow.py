"""SD 3.5 and FLUX.1 at their published widths and vocabularies; a block or two of each part."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import flow_layouts
import pytest
import torch
from published_models import TOLERANCE, dataset

import written_out_flow
from vwtransfer.config.composition import compose
from vwtransfer.models.suite import build
from vwtransfer.words.cells import Cell

pytestmark = pytest.mark.published

WORDS = ("red", "striped", "rubber", "duck")
SAID = "a photo of " + " ".join(WORDS)
TOKENS = 24  # of T5's; 256 and 512 as published take a CPU too long
CASES = [
    ("sd35_medium", "float32"),
    ("sd35_medium", "bfloat16"),
    ("flux1_dev", "float32"),
    ("flux1_dev", "bfloat16"),
    ("flux1_dev", "float16"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, linked = tmp_path_factory.mktemp("checkpoints"), dict[str, Path]()
    return {m: flow_layouts.write(m, folder, linked) for m in ("sd35_medium", "flux1_dev")}


@lru_cache(maxsize=1)  # models are large; conftest.py has the tests of each in a row
def loaded(model: str, dtype: str, folder: Path) -> Any:
    keys = [f"checkpoint={folder}", f"dtype={dtype}", f"prompt_tokens={TOKENS}"]
    keys = ["model=tiny", f"model/generation={model}", *(f"model.{model}.{key}" for key in keys)]
    return build(compose(keys), torch.device("cpu")).models[model]


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_a_word_of_existing_embeddings_is_the_plain_text(
    folders: dict[str, Path], model: str, dtype: str
) -> None:
    found = loaded(model, dtype, folders[model])
    with torch.no_grad():
        word = found.text.anchor_rows(WORDS)[None]
        ours = written_out_flow.read(found, found.text.encode_words("a photo of {}", word))
        theirs = written_out_flow.encoded(found, SAID)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype == getattr(torch, dtype)
        scale = other.float().abs().max()
        difference = (one.float() - other.float()).abs().max() / scale
        assert 0 <= difference < TOLERANCE[dtype]
        assert scale.isfinite()


@pytest.mark.parametrize("model", ["sd35_medium", "flux1_dev"])
def test_the_loss_is_that_of_the_librarys_training_script(
    folders: dict[str, Path], model: str
) -> None:
    found, images = loaded(model, "float32", folders[model]), dataset()
    cell = Cell(images.name, found.name, next(iter(images.concepts)), "cat", math.inf, 0)
    features = found.features(images)
    batch = found.batches(features, cell)[:1, :1]
    word = found.text.anchor_rows(WORDS)[None].requires_grad_()
    ours = found.loss(word, features, batch, [cell], 0)
    theirs = written_out_flow.loss(found, images, cell, batch[0].tolist(), SAID, 0)
    torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(ours.sum(), word)
    assert gradient.isfinite().all()
    for part in found.text.slices.values():
        assert gradient[..., part].abs().max() > 0


@pytest.mark.parametrize("model", ["sd35_medium", "flux1_dev"])
def test_each_encoder_has_its_tokenizer_and_its_rows(folders: dict[str, Path], model: str) -> None:
    found = loaded(model, "float32", folders[model])
    sizes = {"clip_l": (49408, 768), "clip_g": (49408, 1280), "t5xxl": (32100, 4096)}
    for name, encoder in found.text.encoders.items():
        assert (len(encoder.vocabulary.ids), encoder.width) == sizes[name]
    padding = {"clip_l": 49407, "clip_g": 0, "t5xxl": 0}
    for name, vocabulary in found.vocabularies.items():
        assert vocabulary.encode("a photo")[-1] == padding[name]
        assert vocabulary.causal == (name != "t5xxl")


def test_the_parameters_are_as_many_as_published() -> None:
    expected = {"flux1_dev": 11_901_408_320, "flux1_schnell": 11_891_178_560}
    for model, parameters in expected.items():
        sizes = flow_layouts.sizes(model)
        assert sizes["transformer"] == parameters
        assert sizes["text_encoder_2"] == 4_762_310_656
    assert flow_layouts.sizes("sd35_medium")["transformer"] == 2_243_171_520


def test_with_its_published_config_clip_takes_an_added_token_for_the_end(
    folders: dict[str, Path],
) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = folders["flux1_dev"]
    ours = loaded("flux1_dev", "float32", folder).text.encoders["clip_l"]
    clip = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    word = ours.rows(["cat</w>"]) + 0.01
    tokenizer.add_tokens("<word>")
    clip.resize_token_embeddings(len(tokenizer)).weight.data[-1] = word[0]
    ids = tokenizer("a photo of <word>", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = ours.encode_words("a photo of {}", word[None]).pooled_NE
        as_published = clip.eval()(ids).pooler_output
        clip.eos_token_id = tokenizer.eos_token_id
        corrected = clip(ids).pooler_output
    torch.testing.assert_close(corrected, expected, atol=1e-4, rtol=1e-4)
    assert expected is not None
    difference = (as_published - expected).norm() / expected.norm()
    print(f"{difference:.2f}")
    assert difference > 0.5
