"""Words in the files of other tools: written for diffusers, AUTOMATIC1111 and ComfyUI, and read.

| format    | file                          | what is in it                                   |
| --------- | ----------------------------- | ----------------------------------------------- |
| diffusers | learned_embeds.safetensors    | {token: [K, D]}, for `load_textual_inversion`   |
| a1111     | NAME.safetensors              | {"emb_params": [K, D]}; NAME is typed in prompts |

A word of a model with several text encoders has a tensor for each in either, which
`load_textual_inversion` takes one by one:

    SDXL      {"clip_l": [K, D1], "clip_g": [K, D2]}
    SD 3.5    the same with "t5xxl": [K, D3], unless T5 is left out
    FLUX.1    {"clip_l": [K, D1], "t5xxl": [K, D3]}

Read are these, the same as .bin or .pt, {"string_to_param": {"*": [K, D]}}, as AUTOMATIC1111 and
the first textual inversion save, also in a PNG, and {"text_encoders_0", "text_encoders_1"} of
`embeddings.pti`; `read_words` also reads files with several words, {token: [K, D], ...}.

What this package writes for other tools has metadata: "vwtransfer", a mapping in JSON that says of
which model the word is (`model`, `task`, `table`) and how it was made.

Shapes: K vectors per word, D embedding width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.errors import UserError, quoted
from vwtransfer.files import file_safe, write_atomically
from vwtransfer.words.containers import check_size, content, is_safetensors
from vwtransfer.words.store import load_word
from vwtransfer.words.vectors import fault

TEXTUAL_INVERSION = "generation"  # the task that other tools' words are trained for
# Text encoders of models that have several, in the order in which these read them.
SDXL = ("clip_l", "clip_g")
SD3 = (*SDXL, "t5xxl")
FLUX = ("clip_l", "t5xxl")
SEVERAL = (SDXL, SD3, FLUX)
_SEVERAL = (*SEVERAL, ("text_encoders_0", "text_encoders_1"))  # the last in embeddings.pti
MOST_WORDS = 1000  # in one file
PROVENANCE = "vwtransfer"  # key of the metadata
_SHOWN = 5  # names

Place = Callable[[Path, Callable[[Path], None]], Any]


@dataclass(frozen=True)
class LoadedWord:
    """A word from a file of any of the formats.

    Attributes:
        name: what it means, or the token it goes by.
        vectors_KD: its vectors, float32.
        task: its model's.
        model: the name that its model had; None in other tools' files, as the next two.
        table: hash of the tokenizers and embedding tables that it was trained beside.
        anchor: the token at which its vectors started.
        provenance: what this package wrote beside it into another tool's file.
    """

    name: str
    vectors_KD: Tensor
    task: str = TEXTUAL_INVERSION
    model: str | None = None
    table: str | None = None
    anchor: str | None = None
    provenance: Mapping[str, Any] | None = None


FORMS: Mapping[str, tuple[str, str]] = {
    "diffusers": ("learned_embeds.safetensors", "<{}>"),
    "a1111": ("{}.safetensors", "emb_params"),
}
"""Format -> how a word's file is called in its folder and, of one text encoder, its tensor."""


def write(
    form: str,
    vectors_KD: Tensor,
    name: str,
    folder: Path,
    widths: Mapping[str, int] | None = None,
    provenance: Mapping[str, Any] | None = None,
    place: Place = write_atomically,
) -> Path:
    """Writes a word for other tools.

    Args:
        form: "diffusers", what `pipeline.load_textual_inversion(folder)` reads (prompts then say
            <name>), or "a1111", what goes into an `embeddings` folder (prompts say the name).
        vectors_KD: the word.
        name: what it is called.
        folder: where the file goes.
        widths: of its model's text encoders by their names, where there are several.
        provenance: of which model the word is, and how it was made; `model`, `task` and `table`
            are read again.
        place: puts the file there; `files.write_once` leaves one that is there already.

    Raises:
        UserError: no format holds a word of these encoders.
    """
    file, key = FORMS[form]
    path = folder / file.format(name)
    tensors = _by_encoder(key.format(name), vectors_KD, widths)
    whole = {key: tensor.float().contiguous().cpu() for key, tensor in tensors.items()}
    metadata = {"format": "pt"}
    if provenance is not None:
        metadata[PROVENANCE] = json.dumps(provenance)
    place(path, lambda temporary: save_file(whole, temporary, metadata))
    return path


def _by_encoder(
    key: str, vectors_KD: Tensor, widths: Mapping[str, int] | None
) -> dict[str, Tensor]:
    if widths is None or len(widths) < 2:
        return {key: vectors_KD}
    if tuple(widths) not in SEVERAL:
        raise UserError(f"format: no format holds a word of the encoders {', '.join(widths)}.")
    return dict(zip(widths, vectors_KD.split(list(widths.values()), dim=1), strict=True))


def read(path: Path) -> LoadedWord:
    """A word of this package, or of another tool: a file, or a folder of the concept library.

    What a file is is told from its first bytes, whatever it is called.

    Raises:
        UserError: there is no such file, it is damaged, it holds code, or no word of one model.
    """
    words = read_words(path)
    if len(words) != 1:
        raise UserError(
            f"word={path}: one tensor is needed, and it holds {len(words)}"
            f"{_some([word.name for word in words])}."
        )
    return words[0]


def read_words(path: Path) -> list[LoadedWord]:
    """All words of a file, or of a folder of the concept library; see `read`."""
    try:
        return _read(path)
    except UserError:
        raise
    # what reads a file from a stranger can fail at every byte of it, and in no way of its own
    except Exception as error:
        line = quoted(error) or type(error).__name__
        raise UserError(f"word={path}: cannot be read ({line}).") from error


def _read(path: Path) -> list[LoadedWord]:
    file, name = (_in_folder(path), path.resolve().name) if path.is_dir() else (path, path.stem)
    if not file.is_file():
        what = "this is no file" if file.exists() else "there is no such file"
        raise UserError(f"word={file}: {what}.")
    check_size(file, file.stat().st_size)
    if is_safetensors(file):
        return _of_safetensors(file, name)
    return _found(file, name, content(file))


def _in_folder(folder: Path) -> Path:
    """The word in a folder, as the concept library and diffusers write one."""
    for name in ("learned_embeds.safetensors", "learned_embeds.bin"):
        if (folder / name).is_file():
            return folder / name
    suffixes = (".safetensors", ".bin", ".pt", ".pti")
    found = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    if len(found) != 1:
        raise UserError(
            f"word={folder}: is a folder with {len(found)} files that may be words"
            f"{_some([path.name for path in found])}; name one of its files."
        )
    return found[0]


def _of_safetensors(path: Path, name: str) -> list[LoadedWord]:
    try:
        with safe_open(path, framework="pt") as file:
            keys, metadata = list(file.keys()), file.metadata() or {}
            ours = "concept" in metadata and "vectors" in keys
            if not ours:
                _check_count(path, keys)
                words = _found(path, name, {key: file.get_tensor(key) for key in keys})
                return [_with_provenance(word, metadata.get(PROVENANCE)) for word in words]
    except SafetensorError as error:
        raise UserError(
            f"word={path}: is not a whole safetensors file ({quoted(error)})."
        ) from error
    word = load_word(path)
    cell = word.cell
    task, model, table, anchor = (
        quoted(text, 80) for text in (word.task, cell.model, word.table, cell.anchor)
    )
    return [LoadedWord(file_safe(cell.concept), word.vectors_KD, task, model, table, anchor)]


def _with_provenance(word: LoadedWord, text: str | None) -> LoadedWord:
    """The word with what this package wrote of it, if that is whole."""
    try:
        told = json.loads(text or "")
        model, task, table = (told[key] for key in ("model", "task", "table"))
    except (ValueError, LookupError, TypeError, RecursionError):
        return word
    if not all(isinstance(each, str) for each in (model, task, table)):
        return word
    return replace(
        word,
        model=quoted(model, 80),
        task=quoted(task, 80),
        table=quoted(table, 80),
        provenance=told,
    )


def _found(path: Path, name: str, held: Any) -> list[LoadedWord]:
    tensors = held
    if isinstance(held, Mapping) and "string_to_param" in held:
        given = held.get("name")
        name = given if isinstance(given, str) and given else name
        tensors = held["string_to_param"]
    if isinstance(tensors, Tensor):
        tensors = {name: tensors}
    if not isinstance(tensors, Mapping | torch.nn.ParameterDict):
        raise UserError(
            f"word={path}: holds a {type(tensors).__name__}, not the vectors of a word."
        )
    vectors = {
        key: value
        for key, value in tensors.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    for names in _SEVERAL:
        if set(vectors) == set(names):
            parts = [_matrix(path, encoder, vectors[encoder]) for encoder in names]
            return [LoadedWord(file_safe(name), _side_by_side(path, names, parts))]
    _check_count(path, list(vectors))
    words = [
        LoadedWord(
            file_safe(name if key in ("*", "emb_params", *SD3) else key), _matrix(path, key, tensor)
        )
        for key, tensor in vectors.items()
    ]
    if len({word.vectors_KD.shape[1] for word in words}) > 1:
        raise UserError(
            f"word={path}: one tensor is needed, or several of one width, and it holds "
            f"{len(vectors)}{_some(list(vectors))}."
        )
    return words


def _side_by_side(path: Path, names: Sequence[str], parts: Sequence[Tensor]) -> Tensor:
    if len({len(part) for part in parts}) > 1:
        counts = " and ".join(f"{len(part)} of {e}" for e, part in zip(names, parts, strict=True))
        raise UserError(f"word={path}: its text encoders have {counts} vectors, not as many.")
    return torch.cat(list(parts), dim=1)


def _check_count(path: Path, keys: Sequence[str]) -> None:
    """Refuses what holds no tensor, or more than a file of words does."""
    if not 0 < len(keys) <= MOST_WORDS:
        raise UserError(
            f"word={path}: one tensor is needed, and it holds {len(keys)}{_some(keys)}."
        )


def _some(names: Sequence[str]) -> str:
    """Some of many names, in brackets."""
    shown = ", ".join(quoted(name, 40) for name in names[:_SHOWN])
    return f" ({shown}{', ...' if len(names) > _SHOWN else ''})" if names else ""


def _matrix(path: Path, key: str, tensor: Tensor) -> Tensor:
    """The vectors [K, D] of a tensor of a file."""
    tensor = tensor.detach()
    vectors_KD = tensor[None] if tensor.ndim == 1 and tensor.layout == torch.strided else tensor
    if wrong := fault(vectors_KD):
        raise UserError(f"word={path}: {quoted(key, 40)} {wrong}, so it is no word.")
    return vectors_KD.float()
