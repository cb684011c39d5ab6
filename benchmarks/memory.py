"""The memory that a Stable Diffusion takes at its published size, counted and not measured.

    python benchmarks/memory.py
    python benchmarks/memory.py --pixels 512 --words 1 2 4
    python benchmarks/memory.py --model sdxl

The study's own code runs on tensors that have shapes and no content (torch's fake tensors), so this
needs neither the memory nor a GPU. Counted are the bytes of all tensors that are there at once;
attention is fused, as on a GPU. What a GPU's libraries take for themselves is not counted.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vwtransfer.config.composition import compose
from vwtransfer.models.latent_diffusion import Latents
from vwtransfer.models.pipelines import save_memory
from vwtransfer.models.suite import build
from vwtransfer.tasks.generation import DRAWN_AT_ONCE
from vwtransfer.training.peak_memory import peak_bytes
from vwtransfer.words.cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/published"))
import flow_layouts
import layouts

PUBLISHED = {
    "sd21": ("stable-diffusion-2-1", 768),
    "sdxl": ("stable-diffusion-xl-base-1.0", 1024),
    **{name: (repository, 1024) for name, repository in flow_layouts.REPOSITORIES.items()},
}
IMAGES = 8
SAVING = ("gradient_checkpointing", "vae_slicing")  # cluster=gpu_11gb


@contextmanager
def without_content(model: Any, published: Path, precision: torch.dtype) -> Iterator[None]:
    """Puts parts without content in place of a generator's own.

    Args:
        model: it keeps its settings, tokenizer and scheduler.
        published: the folder with the configs of the parts.
        precision: of their weights.
    """
    from transformers import PreTrainedModel

    pipeline, _ = model.pipeline, model.vocabularies  # read while real tensors are made
    model.times(1, torch.Generator())  # the schedule too
    held = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    with FakeTensorMode(allow_non_fake_inputs=True):
        former = torch.get_default_dtype()
        try:
            for name, part in held.items():
                whole = name == "vae" and part.dtype == torch.float32
                torch.set_default_dtype(torch.float32 if whole else precision)
                kind: Any = type(part)
                folder = published / name
                if issubclass(kind, PreTrainedModel):
                    text = kind.config_class.from_pretrained(folder)
                    text.dtype = precision
                    made = kind(text)
                else:
                    made = kind.from_config(kind.load_config(folder))
                setattr(pipeline, name, made)
                if name in model.text_encoders:  # which the model reads by themselves
                    model.text_encoders[name] = made
        finally:
            torch.set_default_dtype(former)
        for part in parts(model):
            part.eval().requires_grad_(False)
        save_memory(pipeline, model.denoiser, model.settings.memory_savers)
        yield


@contextmanager
def as_published(memory: Sequence[str], pixels: int, name: str = "sd21") -> Iterator[Any]:
    """A model in float16 at its full size, without content."""
    repository, _ = PUBLISHED[name]
    with tempfile.TemporaryDirectory() as folder:
        if name in flow_layouts.REPOSITORIES:  # for its tokenizers
            shallow = flow_layouts.write(name, Path(folder), {})
        else:
            shallow = layouts.write(repository, Path(folder), shallow=True)
        keys = ["model=paper", f"model/generation={name}"]
        keys += [f"model.generation.checkpoint={shallow}"]
        keys += ["model.generation.dtype=float16", f"model.generation.image_size={pixels}"]
        keys += [f"model.generation.memory_savers=[{','.join(memory)}]"]
        model = build(compose(keys), torch.device("cpu")).models[name]
        with without_content(model, layouts.CONFIGS / repository, torch.float16):
            yield model


def parts(model: Any) -> list[nn.Module]:
    """The parts of the pipeline."""
    return [part for part in model.pipeline.components.values() if isinstance(part, nn.Module)]


def weights(model: Any) -> int:
    """Bytes of all weights."""
    return sum(p.numel() * p.element_size() for part in parts(model) for p in part.parameters())


def held(model: Any) -> list[torch.Tensor]:
    """What is there before anything is computed, and counted as weights."""
    return [tensor for part in parts(model) for tensor in (*part.parameters(), *part.buffers())]


def step(model: Any, words: int, images: int = IMAGES) -> int:
    """Bytes that a training step of so many words takes, so many images each, both ways."""
    vectors_NKD = torch.randn(words, 4, model.text.width, requires_grad=True)
    latents = latents_of(model, images)
    images_NB = torch.arange(images).expand(words, -1)
    cells = [Cell("tiny_shapes", model.name, "cat", "cat", math.inf, i) for i in range(words)]
    model.times(1, torch.Generator())  # the scheduler's tables, made once

    def both_ways() -> None:
        model.loss(vectors_NKD, latents, images_NB, cells, 0).sum().backward()

    return peak_bytes(both_ways, held(model))


def latents_of(model: Any, images: int) -> Latents:
    """Latents of so many images."""
    side = model.settings.image_size // model.pipeline.vae_scale_factor
    mean, std = torch.randn(2, images, model.pipeline.vae.config.latent_channels, side, side)
    sizes = torch.full((images, 2), float(model.settings.image_size))
    return Latents(mean, std, ["cat"] * images, sizes)


def encoding(model: Any) -> int:
    """Bytes that the latents of 8 images take to compute."""
    vae, side = model.pipeline.vae, model.settings.image_size
    pixels = torch.randn(IMAGES, 3, side, side).to(vae.dtype)
    return _frozen(model, lambda: vae.encode(pixels))


def drawing(model: Any, images: int) -> int:
    """Bytes that so many generations take: a denoising step with guidance, then the decoder."""
    vae = model.pipeline.vae
    guided = getattr(model.settings, "true_guidance_scale", model.settings.guidance_scale) > 1
    rows = images * (2 if guided else 1)
    latents = latents_of(model, rows)
    with torch.no_grad():
        prompts = model.text.encode_text(["a photo of a cat"]).repeat_interleave(rows)
    times, noisy = model.times(rows, torch.Generator()), latents.mean_MCHW
    denoise = partial(model.predicted_and_target, noisy, noisy, times, prompts, latents.sizes_M2)
    return max(
        _frozen(model, denoise), _frozen(model, lambda: vae.decode(noisy[:images].to(vae.dtype)))
    )


def _frozen(model: Any, compute: Callable[[], Any]) -> int:
    with torch.no_grad():
        return peak_bytes(compute, held(model))


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=PUBLISHED, default="sd21")
    parser.add_argument("--pixels", type=int, help="side of a generation; as published if not said")
    parser.add_argument("--images", type=int, default=IMAGES, help="of a word in a step")
    parser.add_argument("--words", type=int, nargs="+", default=[1, 2], help="in a pack")
    arguments = parser.parse_args()
    repository, side = PUBLISHED[arguments.model]
    pixels = arguments.pixels or side
    images = arguments.images
    print(f"{repository}, float16, {pixels} px; {images} images a word; GB, with the weights\n")
    columns = [f"a step of {count}" for count in arguments.words]
    columns += [f"encoding {IMAGES} images", f"drawing {DRAWN_AT_ONCE}", "drawing 1"]
    print("|", " | ".join(["memory", "weights", *columns]), "|")
    print("|", " | ".join(["---"] * (len(columns) + 2)), "|")
    further = [(*SAVING, "without_t5")] if arguments.model == "sd35_medium" else []
    for memory in ((), SAVING, *further):
        with as_published(memory, pixels, arguments.model) as model:
            fixed = weights(model)
            taken = [step(model, count, images) for count in arguments.words]
            taken += [encoding(model), drawing(model, DRAWN_AT_ONCE), drawing(model, 1)]
        numbers = [fixed, *(fixed + each for each in taken)]
        cells = [f"[{','.join(memory)}]", *(f"{each / 1e9:.1f}" for each in numbers)]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
