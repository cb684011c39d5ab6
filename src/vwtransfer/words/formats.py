"""Words in the files of other tools: written for diffusers, AUTOMATIC1111 and ComfyUI, and read.

| format    | file                          | what is in it                                   |
| --------- | ----------------------------- | ----------------------------------------------- |
| diffusers | learned_embeds.safetensors    | {token: [K, D]}, for `load_textual_inversion`   |
| a1111     | NAME.safetensors              | {"emb_params": [K, D]}; NAME is typed in prompts |

A word of a model with two text encoders, as SDXL, is {"clip_l": [K, D1], "clip_g": [K, D2]} in
either, which `load_textual_inversion` takes one by one.

Read are these, the same as .bin or .pt, and {"string_to_param": {"*": [K, D]}}, as AUTOMATIC1111
and the first textual inversion save. Shapes: K vectors per word, D embedding width.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.files import file_safe, write_atomically
from vwtransfer.words.store import load_word

TEXTUAL_INVERSION = "generation"  # the task that other tools' words are trained for
SDXL = ("clip_l", "clip_g")  # its text encoders, in the order in which it reads them


@dataclass(frozen=True)
class LoadedWord:
    """A word from a file of any of the formats.

    Attributes:
        name: what it means, or the token it goes by.
        vectors_KD: its vectors, float32.
        task: its model's.
        model: the name that its model had; None in other tools' files, as what follows.
        table: hash of the tokenizers and embedding tables that it was trained beside.
        anchor: the token at which its vectors started.
    """

    name: str
    vectors_KD: Tensor
    task: str = TEXTUAL_INVERSION
    model: str | None = None
    table: str | None = None
    anchor: str | None = None


def write_diffusers(
    vectors_KD: Tensor, name: str, folder: Path, widths: Sequence[int] = ()
) -> Path:
    """Writes what `pipeline.load_textual_inversion(folder)` reads; prompts then say <name>.

    Args:
        vectors_KD: the word.
        name: what it is called.
        folder: where the file goes.
        widths: of its model's text encoders, where there are several.

    Raises:
        UserError: there are more than two of them.
    """
    path = folder / "learned_embeds.safetensors"
    _write(_by_encoder(f"<{name}>", vectors_KD, widths), path)
    return path


def write_a1111(vectors_KD: Tensor, name: str, folder: Path, widths: Sequence[int] = ()) -> Path:
    """Writes what goes into an `embeddings` folder; prompts then say the file's name.

    Arguments and errors are those of `write_diffusers`.
    """
    path = folder / f"{name}.safetensors"
    _write(_by_encoder("emb_params", vectors_KD, widths), path)
    return path


def _by_encoder(key: str, vectors_KD: Tensor, widths: Sequence[int]) -> dict[str, Tensor]:
    if len(widths) < 2:
        return {key: vectors_KD}
    if len(widths) > len(SDXL):
        raise UserError(f"format: no format holds a word of {len(widths)} text encoders.")
    return dict(zip(SDXL, vectors_KD.split(list(widths), dim=1), strict=True))


WRITERS = {"diffusers": write_diffusers, "a1111": write_a1111}


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    whole = {name: tensor.float().contiguous().cpu() for name, tensor in tensors.items()}
    metadata = {"format": "pt"}
    write_atomically(path, partial(_save, whole, metadata))


def _save(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    save_file(tensors, path, metadata)


def read(path: Path) -> LoadedWord:
    """A word of this package, or of another tool.

    Raises:
        UserError: there is no such file, it is damaged, it holds code, or no word of one model.
    """
    if not path.is_file():
        raise UserError(f"word={path}: there is no such file.")
    if path.suffix != ".safetensors":
        return _found(path, _unpickled(path))
    try:
        with safe_open(path, framework="pt") as file:
            ours = "concept" in (file.metadata() or {}) and "vectors" in file.keys()  # noqa: SIM118
        if not ours:
            return _found(path, load_file(path))
    except SafetensorError as error:
        raise UserError(f"word={path}: is not a whole safetensors file ({error}).") from error
    word = load_word(path)
    cell = word.cell
    return LoadedWord(
        file_safe(cell.concept), word.vectors_KD, word.task, cell.model, word.table, cell.anchor
    )


def _unpickled(path: Path) -> Any:
    """What a .pt or .bin file holds, if that is tensors; code in it is never run."""
    containers: list[Any] = [torch.nn.ParameterDict]  # in files of the first textual inversion
    try:
        with torch.serialization.safe_globals(containers):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"word={path}: is cut off, or holds code beside its vectors, which is never run. Ask "
            "for the word as .safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AssertionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"word={path}: cannot be read ({line}).") from error


def _found(path: Path, content: Any) -> LoadedWord:
    name, tensors = path.stem, content
    if isinstance(content, Mapping) and "string_to_param" in content:
        name, tensors = str(content.get("name") or name), content["string_to_param"]
    if isinstance(tensors, Tensor):
        tensors = {name: tensors}
    if not hasattr(tensors, "items"):
        raise UserError(
            f"word={path}: holds a {type(tensors).__name__}, not the vectors of a word."
        )
    vectors = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if set(vectors) == set(SDXL):
        parts = [_matrix(path, encoder, vectors[encoder]) for encoder in SDXL]
        if len(parts[0]) != len(parts[1]):
            counts = " and ".join(
                f"{len(part)} of {e}" for e, part in zip(SDXL, parts, strict=True)
            )
            raise UserError(f"word={path}: its text encoders have {counts} vectors, not as many.")
        return LoadedWord(file_safe(name), torch.cat(parts, dim=1))
    if len(vectors) != 1:
        keys = ", ".join(vectors) or "none"
        raise UserError(f"word={path}: one tensor is needed, and it holds {len(vectors)} ({keys}).")
    ((key, tensor),) = vectors.items()
    spoken = name if key in ("*", "emb_params", *SDXL) else key
    return LoadedWord(file_safe(spoken), _matrix(path, key, tensor))


def _matrix(path: Path, key: str, tensor: Tensor) -> Tensor:
    """The vectors [K, D] of a tensor of a file."""
    vectors_KD = tensor.detach().float()
    vectors_KD = vectors_KD[None] if vectors_KD.ndim == 1 else vectors_KD
    if vectors_KD.ndim != 2 or not vectors_KD.isfinite().all():
        raise UserError(
            f"word={path}: {key} of shape {list(tensor.shape)} is not the finite vectors of a word."
        )
    return vectors_KD
