"""Generators of SD 3.5's and FLUX.1's kind, small and with random weights, beside their library."""

import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import small_generators
import written_out_flow
from composing import compose
from documentation import python_blocks
from vwtransfer.config.identity import identity
from vwtransfer.datasets import Dataset
from vwtransfer.models.suite import build_part
from vwtransfer.words.cells import Cell
from vwtransfer.words.formats import write

KINDS = tuple(small_generators.BASES)
WORDS = ("amber", "bada")
SAID = "a photo of " + " ".join(WORDS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("generators")
    return {kind: small_generators.write(kind, folder) for kind in KINDS}


@cache
def images_of_two() -> Dataset:
    """Two concepts, four images each to train with."""
    node = dict(compose([]).dataset["tiny_shapes"].node)
    node["concepts"] = dict(list(node["concepts"].items())[:2])
    part: Dataset = build_part(node | {"training_images": 4}, "dataset.tiny_shapes")
    return part


def word_of(found: Any) -> torch.Tensor:
    """The rows of WORDS, [1, 2, D]: what is read with it is what is read of the plain text."""
    word: torch.Tensor = found.text.anchor_rows(WORDS)[None]
    return word


@pytest.mark.parametrize("kind", [*KINDS, "sd3 without_t5"])
def test_a_word_of_existing_rows_is_read_as_the_pipeline_reads_the_text(
    folders: dict[str, Path], kind: str
) -> None:
    kind, *saving = kind.split()
    found = small_generators.loaded(kind, folders[kind], f"memory_savers=[{','.join(saving)}]")
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", word_of(found))
        ours = written_out_flow.read(found, prompts)
    for one, other in zip(ours, written_out_flow.encoded(found, SAID), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert ("t5xxl" in found.text.encoders) == (not saving)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_diffusers_training_script(folders: dict[str, Path], kind: str) -> None:
    found, images = small_generators.loaded(kind, folders[kind]), images_of_two()
    cell = Cell(images.name, found.name, next(iter(images.concepts)), "amber", math.inf, 0)
    features = found.features(images)
    batch = found.batches(features, cell)[:, :4]
    word = word_of(found).requires_grad_()
    ours = found.loss(word, features, batch[:1], [cell], 7)
    theirs = written_out_flow.loss(found, images, cell, batch[0].tolist(), SAID, 7)
    torch.testing.assert_close(ours[0], theirs, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(ours.sum(), word)
    for part in found.text.slices.values():
        assert gradient[..., part].abs().max() > 0


def test_guidance_is_told_to_models_that_have_an_embedding_of_it(folders: dict[str, Path]) -> None:
    def losses(kind: str) -> list[float]:
        found = [
            small_generators.loaded(kind, folders[kind], f"training_guidance={guidance}")
            for guidance in (1.0, 6.0)
        ]
        images = images_of_two()
        cell = Cell(images.name, "flux", next(iter(images.concepts)), "amber", math.inf, 0)
        features = found[0].features(images)
        numbers = found[0].batches(features, cell)[:1, :2]
        return [model.loss(word_of(model), features, numbers, [cell], 0).item() for model in found]

    assert len(set(losses("flux_dev"))) == 2
    assert len(set(losses("flux_schnell"))) == 1


def test_leaving_t5_out_makes_another_model_and_saving_memory_does_not() -> None:
    def said(saving: str) -> Any:
        keys = ["model/generation=sd35_medium", f"model.sd35_medium.memory_savers=[{saving}]"]
        return identity(compose(["model=tiny", *keys]))["model.sd35_medium"]

    assert said("") == said("vae_slicing")
    assert said("without_t5") == said("vae_slicing,without_t5") != said("")


def new_word(found: Any) -> torch.Tensor:
    """Vectors [3, D] that no token has."""
    return torch.randn(3, found.text.width, generator=torch.Generator().manual_seed(1))


def drawn(found: Any, word_KD: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        prompts = found.text.encode_words("a photo of {}", word_KD[None])
    (image,) = found.draw(prompts, [torch.Generator().manual_seed(5)])
    return np.asarray(image, dtype=int)


def by_the_docs(pipeline: Any, found: Any, folder: Path, naming: str, **options: Any) -> np.ndarray:
    """The image of the code of docs/use_words.md that names an encoder, with the word's file."""
    word = new_word(found)
    widths = {name: encoder.width for name, encoder in found.text.encoders.items()}
    path = write("diffusers", word, "word", folder, widths)
    (code,) = [code for code in python_blocks("docs/use_words.md") if naming in code]
    pipeline.set_progress_bar_config(disable=True)
    given = {
        "num_inference_steps": found.settings.denoising_steps,
        "guidance_scale": found.settings.guidance_scale,
        "max_sequence_length": found.settings.prompt_tokens,
        "generator": torch.Generator().manual_seed(5),
        "height": found.size,
        "width": found.size,
        **options,
    }
    names = {"drawing": partial(pipeline, **given), "pipeline": pipeline}
    code = code.replace("learned_embeds.safetensors", str(path)).replace(
        "= pipeline(", "= drawing("
    )
    exec(code, names)
    return np.asarray(names["image"], dtype=int)


@pytest.mark.parametrize(("kind", "guidance"), [("flux_dev", 1.0), ("flux_schnell", 3.0)])
def test_a_word_of_flux_draws_the_same_image_after_two_calls_of_the_library(
    folders: dict[str, Path], tmp_path: Path, kind: str, guidance: float
) -> None:
    from diffusers import FluxPipeline

    found = small_generators.loaded(kind, folders[kind], f"true_guidance_scale={guidance}")
    pipeline = FluxPipeline.from_pretrained(folders[kind])
    options = {"negative_prompt": "", "true_cfg_scale": guidance}
    theirs = by_the_docs(pipeline, found, tmp_path, 'parts["t5xxl"], token', **options)
    ours = drawn(found, new_word(found))
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() <= 1


def test_a_word_of_sd_3_5_draws_the_same_image_with_the_rows_that_the_docs_add(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from diffusers import StableDiffusion3Pipeline

    found = small_generators.loaded("sd3", folders["sd3"])
    pipeline = StableDiffusion3Pipeline.from_pretrained(folders["sd3"])
    theirs = by_the_docs(pipeline, found, tmp_path, "tokenizer_3")
    ours = drawn(found, new_word(found))
    assert ours.std() > 1
    assert np.abs(ours - theirs).max() <= 1
