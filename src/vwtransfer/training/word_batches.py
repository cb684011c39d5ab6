"""Words that train as one batch, and the file they continue from.

Letters: N words, K vectors per word, D width of the model's space, E text encoders, B batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.files import write_atomically
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.training import projection
from vwtransfer.words.cells import Cell

NEVER = -1
# A loss is multiplied by this before its backward, and the gradient divided by it in float32: what
# one vector gets of a mean over a latent is below the smallest number of float16.
LOSS_SCALE = {torch.float16: 2.0**10}
TENSORS = ("vectors", "failed", "tail", "exp_avg", "exp_avg_sq")


@dataclass
class WordBatch:
    """N words in training. Everything but `cells` changes from step to step.

    Attributes:
        cells: which words.
        vectors_NKD: the words, float32, a leaf of the graph.
        optimiser: Adam over the words; its arithmetic is elementwise, so no word sees another.
        centre_ND, radius_NE, slices: the balls each word's vectors stay in; see `projection`.
        loss_scale: what keeps gradients within the range of the frozen model's precision.
        failed_N: step at which a word stopped being finite, or NEVER.
        tail_N: sum of the losses over the last tenth of the steps.
        step: steps done.
        seconds: wall time of these steps.
        projection_NKD: how far the last projection into the ball moved the vectors.
        note: why the words' bits may differ from those of an undisturbed job, where they may.
    """

    cells: Sequence[Cell]
    vectors_NKD: Tensor
    optimiser: torch.optim.Adam
    centre_ND: Tensor
    radius_NE: Tensor
    slices: Sequence[slice]
    failed_N: Tensor
    tail_N: Tensor
    projection_NKD: Tensor
    loss_scale: float = 1.0
    step: int = 0
    seconds: float = 0.0
    note: str = ""

    @classmethod
    def start(
        cls,
        cells: Sequence[Cell],
        text: EmbeddingSpace,
        num_vectors: int,
        optimiser: dict[str, object],
    ) -> "WordBatch":
        """Words at their anchors: each of the `num_vectors` vectors is the anchor's embedding."""
        device = text.device
        centre_ND = text.anchor_rows([cell.anchor for cell in cells])
        vectors_NKD = centre_ND[:, None].repeat(1, num_vectors, 1).to(device).requires_grad_()
        return cls(
            cells=cells,
            vectors_NKD=vectors_NKD,
            optimiser=torch.optim.Adam([vectors_NKD], **optimiser),  # type: ignore[arg-type]
            centre_ND=centre_ND.to(device),
            radius_NE=radii(cells, text).to(device),
            slices=list(text.slices.values()),
            failed_N=torch.full((len(cells),), NEVER, device=device),
            tail_N=torch.zeros(len(cells), device=device),
            projection_NKD=torch.zeros_like(vectors_NKD),
            loss_scale=LOSS_SCALE.get(text.dtype, 1.0),
        )

    def update(self, loss_N: Tensor, in_tail: bool) -> None:
        """One step of projected gradient descent on losses of the words' own batches.

        A word whose loss, gradient or vectors are not finite is marked and left where it is.
        """
        self.optimiser.zero_grad()
        (loss_N.float() * self.loss_scale).sum().backward()
        gradient = self.vectors_NKD.grad
        assert gradient is not None
        gradient /= self.loss_scale
        healthy_N = loss_N.detach().isfinite() & gradient.isfinite().flatten(1).all(dim=1)
        healthy_N &= self.vectors_NKD.detach().isfinite().flatten(1).all(dim=1)
        self.failed_N = torch.where((self.failed_N == NEVER) & ~healthy_N, self.step, self.failed_N)
        running_N = self.failed_N == NEVER
        gradient.copy_(torch.where(running_N[:, None, None], gradient, 0.0))
        self.optimiser.step()
        with torch.no_grad():
            projected_NKD = projection.project(
                self.vectors_NKD, self.centre_ND, self.radius_NE, self.slices
            )
            self.projection_NKD = projected_NKD - self.vectors_NKD
            self.vectors_NKD.copy_(projected_NKD)
        if in_tail:
            self.tail_N += loss_N.detach()
        self.step += 1

    def save(self, path: Path) -> None:
        """Writes all that training continues from."""
        moments = self.optimiser.state[self.vectors_NKD]
        values = (
            self.vectors_NKD.detach(),
            self.failed_N,
            self.tail_N,
            moments["exp_avg"],
            moments["exp_avg_sq"],
        )
        tensors = {n: v.contiguous().cpu() for n, v in zip(TENSORS, values, strict=True)}
        metadata = {
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "cells": "\n".join(cell.key for cell in self.cells),
            "device": self.vectors_NKD.device.type,
            "note": self.note,
        }
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))

    def restore(self, path: Path) -> bool:
        """Continues from a file that `save` wrote for the same words; False if it is another's."""
        device = self.vectors_NKD.device
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata["cells"] != "\n".join(cell.key for cell in self.cells):
                return False
            tensors = {name: file.get_tensor(name).to(device) for name in TENSORS}
        step, seconds, note = int(metadata["step"]), float(metadata["seconds"]), metadata["note"]
        if tensors["vectors"].shape != self.vectors_NKD.shape:
            raise ValueError(f"vectors of the shape {list(tensors['vectors'].shape)}")
        with torch.no_grad():
            self.vectors_NKD.copy_(tensors["vectors"])
        self.failed_N, self.tail_N = tensors["failed"], tensors["tail"]
        self.step, self.seconds, self.note = step, seconds, note
        if metadata["device"] != device.type:
            self.note = f"begun on {metadata['device']}, continued on {device.type}"
        self.optimiser.state[self.vectors_NKD] = {
            "step": torch.tensor(float(self.step)),
            "exp_avg": tensors["exp_avg"],
            "exp_avg_sq": tensors["exp_avg_sq"],
        }
        return True


def split(path: Path, parts: Mapping[Path, Sequence[Cell]], note: str) -> None:
    """Makes the checkpoints of some of its words out of the checkpoint at `path`.

    Args:
        path: what `WordBatch.save` wrote.
        parts: where each part goes, and which words it has.
        note: of the words.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in TENSORS}
    keys = metadata["cells"].split("\n")
    for part, cells in parts.items():
        chosen = [keys.index(cell.key) for cell in cells]
        theirs = {name: tensor[chosen].contiguous() for name, tensor in tensors.items()}
        share = {
            "seconds": repr(float(metadata["seconds"]) * len(cells) / len(keys)),
            "cells": "\n".join(cell.key for cell in cells),
            "note": note,
        }
        write_atomically(part, partial(save_file, theirs, metadata={**metadata, **share}))


def radii(cells: Sequence[Cell], text: EmbeddingSpace) -> Tensor:
    """Of each word's balls [N, E], float32: delta * min over tokens w != a of ||y(w) - y(a)||.

    Tokens are the model's own eligible ones, so that a word does not depend on other models.

    Raises:
        UserError: a text encoder splits the anchor of a word that is constrained.
    """
    free = torch.full((len(text.encoders),), torch.inf, dtype=torch.float64)
    nearest = {
        anchor: text.nearest_distance(anchor)
        for anchor in {cell.anchor for cell in cells if math.isfinite(cell.delta)}
    }
    radius = [
        cell.delta * nearest[cell.anchor] if math.isfinite(cell.delta) else free for cell in cells
    ]
    return torch.stack(radius).float()
