"""What Grounding DINO makes of photos before any prompt, kept and put side by side.

Shapes: M images, D width of the model, H and W of a feature map, T boxes of an image, P pairs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.datasets import Example
from vwtransfer.models.cache import ImageEncoder, Tensors

HELD_BYTES = 2**31  # of maps in memory; a photo of 1067 x 800 pixels has 18 MB in float32
LEVEL = "level_{}"


@dataclass(frozen=True)
class Photo:
    """One image.

    Attributes:
        maps: [1, D, H, W] of each level.
        size_2: width and height of the image in pixels.
        boxes_T4: of the concept it was chosen for: centre and size, as shares of its sides.
        concept: which that is.
    """

    maps: Sequence[Tensor]
    size_2: Tensor
    boxes_T4: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    concept: str = ""

    @classmethod
    def of(cls, tensors: Tensors) -> "Photo":
        """Out of what the image encoder gives: maps by their level, and the size."""
        names = [LEVEL.format(number) for number in range(len(tensors) - 1)]
        return cls([tensors[name] for name in names], tensors["size_12"][0])

    def cpu(self) -> "Photo":
        """The same in the machine's memory."""
        return replace(self, maps=[level.cpu() for level in self.maps], size_2=self.size_2.cpu())


class EncodedPhotos(Sequence[Photo]):
    """Photos of examples. Those that do not fit into `HELD_BYTES` are read when they are asked for.

    Args:
        encoder: gives the maps of an image.
        examples: whose images.
    """

    def __init__(self, encoder: ImageEncoder, examples: Sequence[Example]) -> None:
        self._encoder = encoder
        self._examples = examples
        self._held: dict[int, Photo] = {}
        self._free = HELD_BYTES

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> list[Photo]: ...
    def __getitem__(self, index: int | slice) -> Photo | list[Photo]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index in self._held:
            return self._held[index]
        (found,) = map(Photo.of, self._encoder.batches([self._examples[index]]))
        self._free -= sum(level.nbytes for level in found.maps)
        if self._free >= 0:
            self._held[index] = found
        return found

    def __len__(self) -> int:
        return len(self._examples)


def side_by_side(
    photos: Sequence[Photo], device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """The maps [P, D, H, W] of photos and masks [P, H, W] of what is no filling, level by level.

    Photos of other shapes are filled up with zeros on the right and below.
    """
    maps, masks = [], []
    for levels in zip(*(photo.maps for photo in photos), strict=True):
        height = max(level.shape[-2] for level in levels)
        width = max(level.shape[-1] for level in levels)
        filled, covered = [], []
        for level in levels:
            missing = (0, width - level.shape[-1], 0, height - level.shape[-2])
            filled.append(F.pad(level.to(device), missing))
            there_1HW = torch.ones_like(level[:, 0], dtype=torch.bool, device=device)
            covered.append(F.pad(there_1HW, missing))
        maps.append(torch.cat(filled))
        masks.append(torch.cat(covered))
    return maps, masks


def batched(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    """Lists of so many, and of the rest (Python 3.12 has it in itertools)."""
    left = iter(photos)
    while part := list(islice(left, size)):
        yield part
