"""The tables of words and pictures: their columns, and how they are written."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.config.origin import Origin
from vwtransfer.errors import UserError, quoted
from vwtransfer.evaluation.saved_images import COLUMNS, saved_images
from vwtransfer.files import write_atomically
from vwtransfer.results import DESCRIPTIONS
from vwtransfer.words.cells import parse_key
from vwtransfer.words.store import Word, WordStore

WORDS: Mapping[str, str] = {
    "file": "the file of its vectors",
    "tensor": "the name of its vectors there, a float32 tensor of num_vectors x width",
    "dataset": DESCRIPTIONS["dataset"],
    "model": "the model that it was trained in",
    "concept": DESCRIPTIONS["concept"],
    "anchor": "the token at which its vectors started",
    "delta": DESCRIPTIONS["delta"],
    "seed": DESCRIPTIONS["seed"],
    "task": "the task of its model",
    "num_vectors": "how many vectors it has, which stand side by side in a prompt",
    "width": "width of the model's embedding space: of its text encoders together",
    "anchor_tokens": "what each text encoder of its model reads its anchor as",
    "loss": "mean training loss over the last tenth of the steps; of a word that may stop "
    "before, on the fixed images and noise that decide it",
    "stopped": "at which step it stopped and why, where it may stop before the last",
    "seconds": "time of its training, its share of what was trained together",
    "note": "why its bits may differ from those of an undisturbed job, where they may",
    "table": "hash of the tokenizers and embedding tables that the vectors live beside",
    "fingerprint": "hash of everything that determined it",
    "device": "the processor that it was trained on",
    "host": "the machine that it was trained on",
    "commit": "the commit of vwtransfer that trained it; empty where that is not known",
    "versions": "libraries that trained it",
}
PICTURES: Mapping[str, str] = {
    "picture": "the picture, a PNG",
    "file": "where it lay in the study's folder",
    "what": "images: a generation; prompted: one in another prompt, which number counts; cut: with "
    "the first blocks of the text encoder alone, as many as number says; detections: boxes found",
    "dataset": DESCRIPTIONS["dataset"],
    "concept": DESCRIPTIONS["concept"],
    "kind": DESCRIPTIONS["kind"],
    "source_model": DESCRIPTIONS["source_model"],
    "transfer": DESCRIPTIONS["transfer"],
    "target_model": "the model that made it",
    "anchor": DESCRIPTIONS["anchor"],
    "delta": DESCRIPTIONS["delta"],
    "seed": DESCRIPTIONS["seed"],
    "number": "counts the pictures of one word, and see what",
}
"""Column -> what it is."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""A picture as the hub's viewer and `datasets` read it."""
TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys((*WORDS, *PICTURES), pa.string()),
    **dict.fromkeys(("delta", "loss", "seconds"), pa.float64()),
    **dict.fromkeys(("seed", "num_vectors", "width", "number"), pa.int64()),
    "picture": IMAGE,
}
ROWS = 100  # pictures that are held in memory at once, and a row group of the file


def write_words(store: Path, folder: Path) -> int:
    """Writes words.parquet and words/MODEL.safetensors of all words of a store.

    Returns:
        How many words there are.

    Raises:
        UserError: one is damaged.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    rows = []
    for word in _words(store):
        file = f"words/{word.cell.model}.safetensors"
        tensors.setdefault(file, {})[word.cell.key] = word.vectors_KD.contiguous()
        rows.append(_row(word, file))
    if not rows:
        return 0
    for file, held in tensors.items():
        # one entry: of several the library chooses the order by chance
        write_atomically(folder / file, partial(save_file, held, metadata={"format": "pt"}))
    schema = pa.schema([(name, TYPES[name]) for name in WORDS])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "words.parquet")
    return len(rows)


def _words(store: Path) -> Iterator[Word]:
    for path in sorted(store.glob("*/*/*/*.safetensors")):
        key = path.relative_to(store).with_suffix("").as_posix()
        try:
            cell = parse_key(key)
        except ValueError as error:
            raise UserError(f"{path} is not named as a word. Move it away.") from error
        yield WordStore(store).load(cell)


def _row(word: Word, file: str) -> dict[str, Any]:
    count, width = word.vectors_KD.shape
    known = {name: getattr(word, name) for name in WORDS if hasattr(word, name)}
    place = {"file": file, "tensor": word.cell.key, "num_vectors": count, "width": width}
    made = {name: getattr(word.made, name) for name in Origin.__dataclass_fields__}
    return known | place | asdict(word.cell) | made


def write_pictures(folder: Path, kinds: Sequence[str], path: Path) -> int:
    """Writes pictures.parquet of the kinds that a study's folder has; nothing where there is none.

    Returns:
        How many pictures there are.

    Raises:
        UserError: one is damaged.
    """
    found = [
        (kind, row) for kind in kinds for row in saved_images(folder / kind).to_dict("records")
    ]
    if not found:
        return 0
    schema = pa.schema([(name, TYPES[name]) for name in PICTURES])
    hub = {"info": {"features": {each.name: _feature(each.type) for each in schema}}}
    schema = schema.with_metadata({"huggingface": json.dumps(hub)})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(found), ROWS):
            values = [_picture(folder, kind, row) for kind, row in found[first : first + ROWS]]
            writer.write_table(pa.Table.from_pylist(values, schema=schema))
    return len(found)


def _picture(folder: Path, kind: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    file = row["path"].relative_to(folder).as_posix()
    data = row["path"].read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{row['path']} cannot be read ({quoted(error)}). Delete it; action=figures makes it "
            "again."
        ) from error
    picture = {"bytes": data, "path": row["path"].name}
    return {"picture": picture, "file": file, "what": kind, **{c: row[c] for c in COLUMNS}}


def _feature(kind: pa.DataType) -> dict[str, str]:
    if kind == IMAGE:
        return {"_type": "Image"}
    return {"dtype": "float64" if kind == pa.float64() else str(kind), "_type": "Value"}
