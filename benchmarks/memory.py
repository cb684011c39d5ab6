"""The memory that Stable Diffusion takes at its published size, counted and not measured.

    python benchmarks/memory.py
    python benchmarks/memory.py --pixels 512 --words 1 2 4

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
import layouts

NAME = "stable-diffusion-2-1"
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
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    pipeline, _ = model.pipeline, model.vocabularies  # read while real tensors are made
    with FakeTensorMode(allow_non_fake_inputs=True):
        former = torch.get_default_dtype()
        torch.set_default_dtype(precision)
        try:
            text = CLIPTextConfig.from_pretrained(published / "text_encoder")
            pipeline.text_encoder = CLIPTextModel(text)
            for name, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
                setattr(pipeline, name, kind.from_config(kind.load_config(published / name)))
        finally:
            torch.set_default_dtype(former)
        for part in parts(model):
            part.eval().requires_grad_(False)
        save_memory(pipeline, model.denoiser, model.settings.memory_savers)
        yield


@contextmanager
def as_published(memory: Sequence[str], pixels: int) -> Iterator[Any]:
    """SD 2.1 in float16 at its full size, without content."""
    with tempfile.TemporaryDirectory() as folder:
        shallow = layouts.write(NAME, Path(folder), shallow=True)  # for its tokenizer
        keys = ["model=paper", f"model.generation.checkpoint={shallow}"]
        keys += ["model.generation.dtype=float16", f"model.generation.image_size={pixels}"]
        keys += [f"model.generation.memory_savers=[{','.join(memory)}]"]
        model = build(compose(keys), torch.device("cpu")).models["sd21"]
        with without_content(model, layouts.CONFIGS / NAME, torch.float16):
            yield model


def parts(model: Any) -> list[nn.Module]:
    """The parts of the pipeline."""
    return [model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder]


def weights(model: Any) -> int:
    """Bytes of all weights."""
    return sum(p.numel() * p.element_size() for part in parts(model) for p in part.parameters())


def step(model: Any, words: int) -> int:
    """Bytes that a training step of so many words takes, 8 images each, forward and backward."""
    width = model.pipeline.text_encoder.config.hidden_size
    vectors_NKD = torch.randn(words, 4, width, requires_grad=True)
    latents = latents_of(model, IMAGES)
    images_NB = torch.arange(IMAGES).expand(words, -1)
    cells = [Cell("tiny_shapes", model.name, "cat", "cat", math.inf, i) for i in range(words)]

    def both_ways() -> None:
        model.loss(vectors_NKD, latents, images_NB, cells, 0).sum().backward()

    return peak_bytes(both_ways)


def latents_of(model: Any, images: int) -> Latents:
    """Latents of so many images."""
    side = model.settings.image_size // model.pipeline.vae_scale_factor
    mean, std = torch.randn(2, images, 4, side, side)
    return Latents(mean, std, ["cat"] * images)


def encoding(model: Any) -> int:
    """Bytes that the latents of 8 images take to compute."""
    vae, side = model.pipeline.vae, model.settings.image_size
    pixels = torch.randn(IMAGES, 3, side, side).to(vae.dtype)
    return _frozen(lambda: vae.encode(pixels))


def drawing(model: Any, images: int) -> int:
    """Bytes that so many generations take: a denoising step with guidance, then the decoder."""
    unet, vae = model.pipeline.unet, model.pipeline.vae
    latents = latents_of(model, images).mean_MCHW.to(unet.dtype)
    text = torch.randn(2 * images, 77, unet.config.cross_attention_dim).to(unet.dtype)
    both = torch.cat([latents, latents])
    return max(
        _frozen(lambda: unet(both, torch.tensor(1), encoder_hidden_states=text)),
        _frozen(lambda: vae.decode(latents)),
    )


def _frozen(compute: Callable[[], Any]) -> int:
    with torch.no_grad():
        return peak_bytes(compute)


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, default=768, help="side of a generation")
    parser.add_argument("--words", type=int, nargs="+", default=[1, 2], help="in a pack")
    arguments = parser.parse_args()
    print(f"Stable Diffusion 2.1, float16, {arguments.pixels} px; GB, weights included\n")
    columns = [f"a step of {count}" for count in arguments.words]
    columns += [f"encoding {IMAGES} images", f"drawing {DRAWN_AT_ONCE}", "drawing 1"]
    print("|", " | ".join(["memory", "weights", *columns]), "|")
    print("|", " | ".join(["---"] * (len(columns) + 2)), "|")
    for memory in ((), SAVING):
        with as_published(memory, arguments.pixels) as model:
            fixed = weights(model)
            taken = [step(model, count) for count in arguments.words]
            taken += [encoding(model), drawing(model, DRAWN_AT_ONCE), drawing(model, 1)]
        numbers = [fixed, *(fixed + each for each in taken)]
        cells = [f"[{','.join(memory)}]", *(f"{each / 1e9:.1f}" for each in numbers)]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
