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
from vwtransfer.training.stopping import Stopping
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
        seconds: wall time of these steps, a word's share.
        projection_NKD: how far the last projection into the ball moved the vectors.
        note: why the words' bits may differ from those of an undisturbed job, where they may.
        length_NE: what each word's vectors are held at; None: they are free.
        stopping: when each word stops; None: all train to the last step.
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
    length_NE: Tensor | None = None
    stopping: Stopping | None = None

    @classmethod
    def start(
        cls,
        cells: Sequence[Cell],
        text: EmbeddingSpace,
        num_vectors: int,
        optimiser: dict[str, object],
        *,
        direction_only: bool = False,
        stops: bool = False,
    ) -> "WordBatch":
        """Words at their anchors: each of the `num_vectors` vectors is the anchor's embedding.

        Args:
            cells: which words.
            text: of their model.
            num_vectors: of a word.
            optimiser: Adam's settings.
            direction_only: whether vectors keep their anchors' length.
            stops: whether words stop when their loss has stopped falling.
        """
        device = text.device
        centre_ND = text.anchor_rows([cell.anchor for cell in cells])
        vectors_NKD = centre_ND[:, None].repeat(1, num_vectors, 1).to(device).requires_grad_()
        slices = list(text.slices.values())
        centre_ND = centre_ND.to(device)
        return cls(
            cells=cells,
            vectors_NKD=vectors_NKD,
            optimiser=torch.optim.Adam([vectors_NKD], **optimiser),  # type: ignore[arg-type]
            centre_ND=centre_ND,
            radius_NE=radii(cells, text).to(device),
            slices=slices,
            length_NE=projection.lengths(centre_ND, slices) if direction_only else None,
            stopping=Stopping.start(vectors_NKD) if stops else None,
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
        before_NKD = self.vectors_NKD.detach().clone() if self.stopping else None
        self.optimiser.step()
        with torch.no_grad():
            if self.stopping and before_NKD is not None:  # each word has a rate of its own
                moved_NKD = self.vectors_NKD - before_NKD
                rate_N11 = self.stopping.rate_N[:, None, None]
                self.vectors_NKD.copy_(before_NKD + rate_N11 * moved_NKD)
            if self.length_NE is not None:
                held_NKD = projection.at_length(self.vectors_NKD, self.length_NE, self.slices)
                self.vectors_NKD.copy_(held_NKD)
            projected_NKD = projection.project(
                self.vectors_NKD, self.centre_ND, self.radius_NE, self.slices
            )
            self.projection_NKD = projected_NKD - self.vectors_NKD
            self.vectors_NKD.copy_(projected_NKD)
        if in_tail:
            self.tail_N += loss_N.detach()
        self.step += 1

    def keep(self, chosen: Sequence[int]) -> None:
        """Goes on with some of its words alone, by their places."""
        index = torch.tensor(chosen, device=self.vectors_NKD.device)
        tensors = {name: tensor[index] for name, tensor in self._tensors().items()}
        group = self.optimiser.param_groups[0]
        self.cells = [self.cells[n] for n in chosen]
        self.vectors_NKD = tensors["vectors"].clone().requires_grad_()
        settings = {name: group[name] for name in ("lr", "betas", "eps")}
        self.optimiser = torch.optim.Adam([self.vectors_NKD], **settings)
        self.centre_ND, self.radius_NE = self.centre_ND[index], self.radius_NE[index]
        self.projection_NKD = self.projection_NKD[index]
        if self.length_NE is not None:
            self.length_NE = self.length_NE[index]
        self._take(tensors)

    def _tensors(self) -> dict[str, Tensor]:
        """All that changes from step to step, by its name in a checkpoint; a row for each word."""
        moments = self.optimiser.state[self.vectors_NKD]
        values = (
            self.vectors_NKD.detach(),
            self.failed_N,
            self.tail_N,
            moments["exp_avg"],
            moments["exp_avg_sq"],
        )
        stopping = self.stopping.tensors() if self.stopping else {}
        return dict(zip(TENSORS, values, strict=True)) | stopping

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from what `_tensors` gave, but for the vectors."""
        self.failed_N, self.tail_N = tensors["failed"], tensors["tail"]
        self.optimiser.state[self.vectors_NKD] = {
            "step": torch.tensor(float(self.step)),
            "exp_avg": tensors["exp_avg"],
            "exp_avg_sq": tensors["exp_avg_sq"],
        }
        if self.stopping:
            names = self.stopping.tensors()
            self.stopping = Stopping(**{name: tensors[name] for name in names})

    def save(self, path: Path) -> None:
        """Writes all that training continues from."""
        tensors = {name: value.contiguous().cpu() for name, value in self._tensors().items()}
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
            names = [*TENSORS, *(self.stopping.tensors() if self.stopping else ())]
            tensors = {name: file.get_tensor(name).to(device) for name in names}
        step, seconds, note = int(metadata["step"]), float(metadata["seconds"]), metadata["note"]
        if tensors["vectors"].shape != self.vectors_NKD.shape:
            raise ValueError(f"vectors of the shape {list(tensors['vectors'].shape)}")
        with torch.no_grad():
            self.vectors_NKD.copy_(tensors["vectors"])
        self.step, self.seconds, self.note = step, seconds, note
        if metadata["device"] != device.type:
            self.note = f"begun on {metadata['device']}, continued on {device.type}"
        self._take(tensors)
        return True


def words_in(path: Path) -> set[str]:
    """The keys of the words that a checkpoint holds: those that had not stopped."""
    with safe_open(path, framework="pt") as file:
        return set(file.metadata()["cells"].split("\n"))


def split(path: Path, parts: Mapping[Path, Sequence[Cell]], note: str) -> None:
    """Makes the checkpoints of some of its words out of the checkpoint at `path`.

    Args:
        path: what `WordBatch.save` wrote.
        parts: where each part goes, and which words it has.
        note: of the words.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    keys = metadata["cells"].split("\n")
    for part, cells in parts.items():
        running = [cell.key for cell in cells if cell.key in keys]  # the others have stopped
        if not running:
            continue
        chosen = [keys.index(key) for key in running]
        theirs = {name: tensor[chosen].contiguous() for name, tensor in tensors.items()}
        share = {"cells": "\n".join(running), "note": note}
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
