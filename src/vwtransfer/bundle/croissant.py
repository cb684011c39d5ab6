"""The description of a bundle for machines: MLCommons Croissant 1.0, JSON-LD."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vwtransfer.bundle.tables import IMAGE
from vwtransfer.report.study_folder import StudyFolder

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TERMS = {
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
}
_NAMES = (
    *("citeAs", "column", "conformsTo", "cr", "rai", "data", "dataType", "dct"),
    *("equivalentProperty", "examples", "extract", "field", "fileProperty", "fileObject"),
    *("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField"),
    *("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "sc"),
    *("separator", "source", "subField", "transform"),
)
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: _TERMS.get(name, f"cr:{name}") for name in _NAMES},
}
"""What the specification has every description begin with."""
FORMATS = {
    ".parquet": "application/x-parquet",
    ".safetensors": "application/octet-stream",
    ".md": "text/markdown",
    ".yaml": "application/yaml",
}
TYPES = {pa.string(): "sc:Text", pa.float64(): "sc:Float", pa.int64(): "sc:Integer"}
TYPES[IMAGE] = "sc:ImageObject"


class Table(NamedTuple):
    """A table of a bundle.

    Attributes:
        name: of its file, without .parquet.
        about: what its rows are.
        columns: column -> what it is.
        key: the columns that tell two rows apart.
    """

    name: str
    about: str
    columns: Mapping[str, str]
    key: tuple[str, ...]


def croissant(
    study: StudyFolder, folder: Path, tables: list[Table], license_: str | None
) -> dict[str, Any]:
    """The description of all files that lie in a folder, and of the tables among them.

    Args:
        study: that the bundle is of.
        folder: of the bundle.
        tables: those whose columns are described.
        license_: None: none is named.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    written = max(study.frame["written_at"])
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": study.name,
        "description": about(study),
        "keywords": ["textual inversion", "vision-language models", "vwtransfer"],
        **({"license": license_} if license_ else {}),
        **({"dateCreated": written[:10]} if written else {}),
        "distribution": [_file(path, folder) for path in files],
        "recordSet": [_record_set(table, folder) for table in tables],
    }


def about(study: StudyFolder) -> str:
    """What a study is, in a sentence."""
    models = ", ".join(study.label(model) for model in study.sources)
    moved = f", transferred by {', '.join(study.methods)}" if study.methods else ""
    return (
        f"{len(study.words):,} visual words (embeddings trained by textual inversion) of "
        f"{', '.join(study.datasets)} in {models}{moved}, and what was measured of them."
    )


def _file(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": FORMATS[path.suffix],
        "sha256": digest,
    }


def _record_set(table: Table, folder: Path) -> dict[str, Any]:
    file = f"{table.name}.parquet"
    schema = pq.read_schema(folder / file)
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.about,
        "key": [{"@id": f"{table.name}/{column}"} for column in table.key],
        "field": [
            _field(table, column, schema.field(column).type, file) for column in table.columns
        ],
    }


def _field(table: Table, column: str, kind: pa.DataType, file: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": column}}
    if kind == IMAGE:
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{table.name}/{column}",
        "name": column,
        "description": table.columns[column],
        "dataType": TYPES[kind],
        "source": source,
    }
