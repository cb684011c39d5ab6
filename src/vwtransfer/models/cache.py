"""What frozen models make of images and prompts, kept on disk and shared by all jobs and studies.

An entry holds what one model made of one batch of images (of prompts: `kept_readings`). Its name
is a hash of everything that decides the content: the images' pixels in their order, the model's
weights, their precision, its settings and preprocessing, the code and the libraries that run it. So
nothing found under a name can be out of date, and a cached batch is the one that would be computed,
to the bit.
"""

import contextlib
import hashlib
import inspect
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vwtransfer.datasets import Example
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically

Tensors = dict[str, Tensor]
Encode = Callable[[Any, Any, Sequence[Image.Image]], Tensors]

_LIBRARIES = ("torch", "torchvision", "transformers", "diffusers", "open_clip_torch", "pillow")
_OURS = re.compile(r"\.?[0-9a-f]+\.safetensors(\..+)?")  # nothing else in the folder is removed
_ABANDONED = 24 * 3600.0  # seconds after which an unfinished file is nobody's
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cache:
    """A folder of entries; any number of processes may read and write it at once.

    Attributes:
        folder: made when the first entry is written.
        most_bytes: what all entries may take; those that were not read for longest go first.
    """

    folder: Path
    most_bytes: int

    def read(self, key: str) -> Tensors | None:
        """The tensors under `key`, mapped from the file; None where there are none to be read."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # damaged is as good as not there; a RuntimeError is torch's, of a file evicted meanwhile
        except (OSError, RuntimeError, SafetensorError):
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(path)
        return tensors

    def write(self, key: str, tensors: Tensors) -> None:
        """Keeps `tensors`; a disk that cannot take them is warned of, and nothing is lost."""
        stored = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        if sum(tensor.nbytes for tensor in stored.values()) > self.most_bytes:
            return
        try:
            write_atomically(self._path(key), lambda path: save_file(stored, path))
            self._shrink()
        except (UserError, OSError) as error:
            _log.warning("what models read is not kept: %s", error)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _shrink(self) -> None:
        """Removes what was not read for longest. Who has a file mapped keeps what it maps."""
        found = []
        for path in self.folder.iterdir():
            if not _OURS.fullmatch(path.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was here first
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for changed, size, path in sorted(found):
            unfinished = path.name.startswith(".")
            if unfinished and time.time() - changed < _ABANDONED:
                continue
            if unfinished or total > self.most_bytes:
                path.unlink(missing_ok=True)
                total -= size


class Loaded(Sequence[Image.Image]):
    """The images of examples, each read when it is asked for: of photos, few fit into memory."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __getitem__(self, index: Any) -> Any:
        return self._examples[index].load()

    def __len__(self) -> int:
        return len(self._examples)


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """A frozen model that encodes batches of images, and keeps the results.

    Attributes:
        of_images: (model, preprocess, M images) -> tensors of M rows each, on the model's device.
        model: whose weights encode.
        preprocess: what `of_images` makes tensors of images with.
        batch: how many images are encoded together.
        settings: configs of the model and of `preprocess`, and how the model is run: all that
            decides the result beside weights and pixels.
        cache: None: nothing is kept.
    """

    of_images: Encode
    model: nn.Module
    preprocess: Any
    batch: int
    settings: Sequence[object]
    cache: Cache | None

    def batches(self, examples: Sequence[Example]) -> Iterator[Tensors]:
        """What the model makes of the examples' images, batch by batch, on its device."""
        device = next(self.model.parameters()).device
        for start in range(0, len(examples), self.batch):
            images = Loaded(examples[start : start + self.batch])
            yield {name: tensor.to(device) for name, tensor in self._encoded(images).items()}

    def _encoded(self, images: Loaded) -> Tensors:
        if self.cache is None:
            return self.encode(images)
        key = self._key(images)
        found = self.cache.read(key)
        if found is None:
            found = self.encode(images)
            self.cache.write(key, found)
        return found

    def encode(self, images: Sequence[Image.Image]) -> Tensors:
        """What the model makes of images, which is not kept; laid out as a file gives it.

        A memory format would decide the last bits of all that is computed from it.
        """
        found = self.of_images(self.model, self.preprocess, images)
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def _key(self, images: Loaded) -> str:
        digest = hashlib.sha256(self._identity.encode())
        for image in images:
            digest.update(f"\0{image.mode} {image.size}".encode())
            digest.update(image.tobytes())
        return digest.hexdigest()

    @cached_property
    def _identity(self) -> str:
        """A hash of all that decides the result, but the images."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            kind = f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.device.type}"
            digest.update(f"\0{kind}\0".encode())
            digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
        libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
        code = inspect.getsource(self.of_images)
        for text in (*libraries, code, repr(self.model), *map(str, self.settings)):
            digest.update(f"\0{text}".encode())
        return digest.hexdigest()
