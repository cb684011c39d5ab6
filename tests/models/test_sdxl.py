"""A generator with two text encoders: what it reads, its loss and its images are the library's."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

import written_out
from composing import compose
from documentation import python_blocks
from one_gradient import WEIGHTS
from vwtransfer.datasets import Dataset
from vwtransfer.main import dispatch
from vwtransfer.models.activations import cut
from vwtransfer.models.stable_diffusion_xl import read_off
from vwtransfer.models.suite import build, build_part
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import states
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Word, WordStore

NAME = "tiny_sdxl"
KEYS = ("model/generation=tiny_sdxl", "model.tiny_sdxl.denoising_steps=3")


@cache
def model(dtype: str = "float32") -> Any:
    keys = [*KEYS, f"model.tiny_sdxl.dtype={dtype}"]
    return build(compose(keys), torch.device("cpu")).models[NAME]


@cache
def library() -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        WEIGHTS / NAME, torch_dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def dataset() -> Dataset:
    node = compose(["dataset.tiny_shapes.training_images=2"]).dataset["tiny_shapes"].node
    part: Dataset = build_part(dict(node), "dataset.tiny_shapes")
    return part


def drawn(pipeline: Any, prompt: str) -> np.ndarray:
    images = pipeline(
        prompt,
        num_inference_steps=3,
        guidance_scale=model().settings.guidance_scale,
        generator=torch.Generator().manual_seed(3),
    ).images
    return np.asarray(images[0], dtype=int)


@torch.no_grad()
def ours(prompts: Any, dtype: str = "float32") -> np.ndarray:
    image = model(dtype).draw(prompts, [torch.Generator().manual_seed(3)])[0]
    return np.asarray(image, dtype=int)


def test_a_word_of_existing_embeddings_is_the_plain_text_in_both_encoders() -> None:
    found = model()
    words = found.text.anchor_rows(["red", "star"])
    assert [encoder.width for encoder in found.text.encoders.values()] == [64, 96]
    assert words.shape == (2, 160)
    with torch.no_grad():
        states_NLD, pooled_NE = read_off(found.text.encode_words("a photo of {}", words[None]))
        theirs = library().encode_prompt("a photo of red star", device="cpu")
    torch.testing.assert_close(states_NLD, theirs[0])
    torch.testing.assert_close(pooled_NE, theirs[2])


def test_the_loss_is_the_one_written_out_with_the_size_of_each_image() -> None:
    found, images = model(), dataset()
    cell = Cell("tiny_shapes", NAME, next(iter(images.concepts)), "zepu", math.inf, 0)
    vectors = 0.1 * torch.randn(1, 4, 160, generator=torch.Generator().manual_seed(0))
    features = found.features(images)
    batch = found.batches(features, cell)[:1]
    loss = found.loss(vectors.requires_grad_(), features, batch, [cell], 7)
    expected = written_out.loss(found, images, cell, batch[0].tolist(), vectors[0], 7)
    torch.testing.assert_close(loss[0], expected, atol=1e-5, rtol=1e-4)
    (gradient_KD,) = torch.autograd.grad(loss.sum(), vectors)[0]
    assert (gradient_KD[:, :64].abs().max() > 0) and (gradient_KD[:, 64:].abs().max() > 0)


def test_an_image_is_the_one_that_the_pipeline_draws() -> None:
    with torch.no_grad():
        prompts = model().text.encode_text(["a photo of red star"])
    assert np.abs(ours(prompts) - drawn(library(), "a photo of red star")).max() <= 1


def test_in_half_precision_the_autoencoder_stays_whole() -> None:
    half = model("bfloat16")
    assert (half.denoiser.dtype, half.pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    with torch.no_grad():
        pictures = [
            ours(model(dtype).text.encode_text(["a photo of red star"]), dtype)
            for dtype in ("float32", "bfloat16")
        ]
    assert np.abs(pictures[0] - pictures[1]).mean() < 8


def test_an_exported_word_draws_the_same_image_by_the_code_of_the_documentation(
    tmp_path: Path,
) -> None:
    found = model()
    vectors = found.text.anchor_rows(["red", "striped", "star"])
    vectors = vectors + 0.1 * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    store = WordStore(tmp_path / "words")
    cell = Cell("tiny_shapes", NAME, "red_striped_star", "zepu", math.inf, 0)
    identity = found.text.identity
    store.save(Word(cell, vectors, found.task, identity, "f", loss=0.0, seconds=0.0))
    word = f"word={store.path(cell)}"
    dispatch(compose([*KEYS, f"outputs={tmp_path}", "name=try", "action=export", word]))
    (path,) = (tmp_path / "try/exported/diffusers/tiny_sdxl").rglob("*.safetensors")
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        WEIGHTS / NAME, torch_dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    (code,) = [
        code for code in python_blocks("docs/use_words.md") if "clip_g" in code and "pipe." in code
    ]
    exec(code.replace("learned_embeds.safetensors", str(path)), {"pipe": pipeline})
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", vectors[None])
    assert np.abs(ours(prompts) - drawn(pipeline, "a photo of <mug>")).max() <= 1


def test_cut_encoders_give_what_their_first_blocks_do() -> None:
    found = model()
    first = library().text_encoder
    with torch.no_grad():
        with cut(found.text, 1):
            states_NLD, _ = read_off(found.text.encode_text(["a photo of red star"]))
        ids = (
            library()
            .tokenizer("a photo of red star", padding="max_length", return_tensors="pt")
            .input_ids
        )
        one = first(ids, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(states_NLD[..., :64], one)


def test_states_and_pooled_output_are_read_together_and_count_alike() -> None:
    space = model().text
    phrases = [("red",), ("blue",), ("star",), ("moon",), ("dotted",), ("sand",)]
    bank = KeptReadings().bank(space, ["a photo of {}"], phrases, ["end", "words"])
    reading, phrases_BRF = bank.reading, bank.read_BRF
    assert phrases_BRF.shape == (6, 2, 64 + 96 + 96)
    words = space.anchor_rows(["red"])[None]
    with torch.no_grad():
        torch.testing.assert_close(reading(words)[0], phrases_BRF[0], atol=1e-4, rtol=1e-4)
        prompts = space.encode_words("a photo of {}", words)
        at_end, at_word = states(space, "a photo of {}", words, ["end", "words"])[0]
    states_NLD, pooled_NE = read_off(prompts)
    for read_F, place in ((at_end, 5), (at_word, 4)):
        torch.testing.assert_close(read_F[:160], states_NLD[0, place])
        torch.testing.assert_close(read_F[160:], pooled_NE[0])
    for part in (slice(0, 64), slice(64, 160), slice(160, 256)):
        assert phrases_BRF[..., part].square().mean().item() == pytest.approx(1, abs=1e-3)
