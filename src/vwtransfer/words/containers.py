"""What is in a word's file that is not in safetensors; told from its bytes, not from its name.

Read are what torch has pickled, of which nothing is run, and the PNG files of AUTOMATIC1111.
"""

import base64
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vwtransfer.errors import UserError
from vwtransfer.words.vectors import LARGEST_FILE

LARGEST_PICKLE = 4_000_000  # bytes; each can make an object of some fifty
_HEAD = 512  # bytes that say what a file is
_OTHERS = {
    b"version https://git-lfs": "is a git-lfs pointer in place of the word: run 'git lfs pull'",
    b"\x93NUMPY": "is a numpy array; save it by safetensors.numpy.save_file({'NAME': array}, 'F')",
    b"\xff\xd8\xff": "is a JPEG, which cannot hold a word; ask for the PNG",
    b"RIFF": "is a WebP, which cannot hold a word; ask for the PNG",
    b"\x1f\x8b": "is compressed; unpack it first",
    b"GGUF": "is a language model in GGUF, not a word",
}
"""How a file begins that is no word -> what is said of it."""


def _other(head: bytes) -> str:
    """What a file is that is no word."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, said in _OTHERS.items():
        if start.startswith(magic):
            return said
    if start[:5].lower() in (b"<!doc", b"<html", b"<?xml"):
        return "is a web page; download the file itself (on the hub: 'resolve' in place of 'blob')"
    if not head:
        return "is empty"
    return "is none of the formats that are read: .safetensors, .pt or .bin of torch, and PNG"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file: with the length of a header, and its brace."""
    head = _head(path)
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def content(path: Path) -> Any:
    """What a file holds that is not in safetensors: tensors, mostly in mappings.

    Raises:
        UserError: says what it is instead; other errors are of the libraries that read it.
    """
    head = _head(path)
    if head.startswith(b"\x89PNG"):
        return _in_png(path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return _unpickled(path)
    raise UserError(f"word={path}: {_other(head)}.")


def is_plain_picture(path: Path) -> bool:
    """Whether a file is a PNG without an embedding in it, as previews beside words are."""
    try:
        if not _head(path).startswith(b"\x89PNG"):
            return False
        with Image.open(path) as picture:
            return "sd-ti-embedding" not in picture.info
    except (OSError, ValueError):
        return False  # what is wrong with it is said when it is read


def check_size(path: Path, size: int, most: int = LARGEST_FILE) -> None:
    """Refuses a file that holds more bytes than a word can."""
    if size > most:
        raise UserError(
            f"word={path}: holds {size / 1e6:,.0f} MB, which is no word but perhaps a whole model. "
            "Name the file of the word's own vectors."
        )


def _unpickled(path: Path) -> Any:
    """What a .pt or .bin file holds, if that is tensors; code in it is never run."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            sizes = {each.filename: each.file_size for each in archive.infolist()}
        pickled = [size for name, size in sizes.items() if name.endswith("/data.pkl")]
        if not pickled:
            raise UserError(
                f"word={path}: is an archive that torch did not write; unpack it, and name a "
                "file in it."
            )
        check_size(path, sum(sizes.values()))
        check_size(path, sum(pickled), LARGEST_PICKLE)
    else:
        check_size(path, path.stat().st_size, LARGEST_PICKLE)
    containers: list[Any] = [torch.nn.ParameterDict]  # in files of the first textual inversion
    try:
        with torch.serialization.safe_globals(containers), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the protocols of pickles
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        if "Unsupported" in str(error):
            raise UserError(
                f"word={path}: holds code beside its vectors, which is never run. Ask for the word "
                "as .safetensors."
            ) from error
        raise UserError(f"word={path}: is damaged or cut off; download it again.") from error


def _in_png(path: Path) -> Any:
    """The embedding that AUTOMATIC1111 puts into a picture's text chunk."""
    with Image.open(path) as picture:
        text = picture.info.get("sd-ti-embedding")
    if text is None:
        raise UserError(
            f"word={path}: is a picture without an embedding in it. Sites that show pictures write "
            "them anew; ask for the file as AUTOMATIC1111 wrote it."
        )
    return json.loads(base64.b64decode(text), object_hook=_tensor)


def _tensor(value: dict[str, Any]) -> Any:
    return torch.tensor(value["TORCHTENSOR"]) if "TORCHTENSOR" in value else value
