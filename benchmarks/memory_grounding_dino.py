"""The memory that a Grounding DINO takes at its published size, counted and not measured.

    python benchmarks/memory_grounding_dino.py

The model's own code runs on tensors that have shapes and no content, as in `memory.py`. The largest
photo the published processor makes is taken, 1333 x 800 pixels. A step holds one pair of a word and
an image at a time (`pairs_at_once: 1`), and the projected maps of all its images.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.models.grounding_dino import modeling_grounding_dino

from vwtransfer.models.grounding_fusion import fused, project_images, project_text, row_by_row
from vwtransfer.training.peak_memory import peak_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/published"))
import grounding_layouts

NAME = "grounding-dino-base"  # MM Grounding DINO has the same parts but for its class head
HEIGHT, WIDTH = 800, 1333
PROMPT = [101, 2000, 2000, 2000, 2000, 1012, 102]  # a word of four vectors


def without_content(precision: torch.dtype) -> Any:
    """A model at full size; to be called and used within one FakeTensorMode."""
    config = transformers.AutoConfig.from_pretrained(grounding_layouts.CONFIGS / NAME)
    former = torch.get_default_dtype()
    torch.set_default_dtype(precision)
    try:
        model = getattr(transformers, config.architectures[0])(config)
    finally:
        torch.set_default_dtype(former)
    row_by_row(model)
    modeling_grounding_dino.torch_compilable_check = lambda *_: None  # it would look at numbers
    return model.eval().requires_grad_(False)


def counts(precision: torch.dtype) -> dict[str, float]:
    """Gigabytes of weights, of a photo's maps, and of what is computed at its peak."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = without_content(precision)
        pixels_1CHW = torch.zeros(1, 3, HEIGHT, WIDTH, dtype=precision)
        mask_1HW = torch.ones(1, HEIGHT, WIDTH, dtype=torch.long)
        ids_PL = torch.tensor([PROMPT])

        def encode() -> list[torch.Tensor]:
            with torch.no_grad():
                return project_images(model, pixels_1CHW, mask_1HW)

        maps = encode()
        masks = [torch.ones_like(level[:, 0], dtype=torch.bool) for level in maps]
        states_PLD = project_text(model.model, ids_PL).requires_grad_()

        def both_ways() -> None:
            fused(model, maps, masks, states_PLD, ids_PL).logits[
                ..., : len(PROMPT)
            ].sum().backward()

        def forward() -> None:
            with torch.no_grad():
                fused(model, maps, masks, states_PLD, ids_PL)

        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return {
            "weights": weights / 1e9,
            "maps of a photo": sum(level.nbytes for level in maps) / 1e9,
            "encoding it": peak_bytes(encode) / 1e9,
            "a pair in training": peak_bytes(both_ways) / 1e9,
            "a pair measured": peak_bytes(forward) / 1e9,
        }


def main() -> None:
    """Prints a table in Markdown."""
    print(f"{WIDTH} x {HEIGHT} px, GB\n")
    for precision in (torch.float32, torch.float16):
        found = counts(precision)
        if precision == torch.float32:
            print("| precision |", " | ".join(found), "|\n|", " --- |" * (len(found) + 1))
        values = " | ".join(f"{value:.3f}" for value in found.values())
        print(f"| {str(precision).removeprefix('torch.')} | {values} |", flush=True)


if __name__ == "__main__":
    main()
