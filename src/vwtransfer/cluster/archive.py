"""action=archive: finished words and rows in few files, for git to track.

    kept/<name>/shards/<shard>.safetensors, .parquet     a finished shard's words and rows
    kept/<name>/<model>.safetensors, results.parquet     all shards together (archive.merge=true)
    kept/<name>/manifests/<dataset>.json                 which images they are of

What lies there is read like outputs/: before anything is submitted or worked on, words whose
fingerprint is the one that this study would give them are put where the study looks for them.

A file of words holds a tensor [K, D], float32, for each word under the word's key, and in the
metadata's `words` (JSON) what else is known of each, under the names that `words.store` has for
it; what is empty is left out. A file of rows says in its metadata's `identity` (JSON) with which
config they were measured; under another one they are not taken.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vwtransfer import results
from vwtransfer.cluster import survey
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.status_table import terminal
from vwtransfer.config import Config, provenance
from vwtransfer.config.identity import differences, identity
from vwtransfer.config.origin import Origin
from vwtransfer.datasets.manifest import read_manifest
from vwtransfer.errors import UserError, quoted
from vwtransfer.evaluation.specs import EvalSpec, specs_of
from vwtransfer.files import write_atomically, write_text
from vwtransfer.results import Record
from vwtransfer.study.fingerprints import MANIFESTS, Fingerprints
from vwtransfer.words.cells import parse_key
from vwtransfer.words.store import Word, WordStore

ROWS = "results.parquet"
TEXTS = ("task", "table", "fingerprint", "note", "anchor_tokens", "stopped")
NUMBERS = ("loss", "seconds")
"""What a file says of a word beside its vectors and its origin."""


def archive(config: Config) -> None:
    """Packs every finished shard of which words or rows are not kept yet; merges them if asked.

    Raises:
        UserError: they are to be merged, and some rows were measured with another config.
    """
    _pack_finished(config)
    if config.archive.merge:
        _merge(config)


def restore(config: Config) -> str:
    """Puts what is kept of this study where the study looks for it.

    Returns:
        A line that says what was done; empty where nothing was to do.

    Raises:
        UserError: a kept file cannot be read.
    """
    folder = config.kept / config.name
    if not any(folder.rglob("*.safetensors")):
        return ""
    missing = [
        shard
        for shard in shards(config, survey.left_out(config.folder)[0])
        if not survey.is_complete(config, shard)
    ]
    wanted = {cell for shard in missing for cell in shard.cells}
    store = WordStore(config.folder / "words")
    kept = {word.cell: word for word in _words(folder) if word.cell in wanted}
    kept = {cell: word for cell, word in kept.items() if cell not in store}
    datasets = {name for name in config.dataset if _are_of_its_images(config, name)}
    fingerprint = Fingerprints(config)
    found = [
        word
        for word in kept.values()
        if word.cell.dataset in datasets and word.fingerprint == fingerprint(word.cell)
    ]
    others: list[str] = []
    if found:
        provenance.claim(config)
        for word in found:
            store.save(word)
        for name in datasets:
            manifest, own = folder / MANIFESTS / f"{name}.json", config.folder / MANIFESTS
            if manifest.is_file() and not (own / manifest.name).exists():
                write_text(own / manifest.name, manifest.read_text(encoding="utf-8"))
        frame, others = _rows(folder, identity(config))
        if frame is not None:
            frame = frame[frame["dataset"].isin(datasets)]
            specs = specs_of(frame)
            for shard in missing:
                _restore_rows(config, shard, frame, specs)
    other = len(kept) - len(found)
    left = f"; {other:,} words of another config or other images were left there" if other else ""
    if others:
        left += f"; rows were left there, as they were measured otherwise: {'; '.join(others)}"
    return f"{len(found):,} words were taken from {folder}{left}" if kept else ""


def pack(words: Sequence[Word], path: Path) -> None:
    """Writes words into one file, whole or not at all."""
    known = {word.cell.key: _metadata(word) for word in words}
    tensors = {word.cell.key: word.vectors_KD.float().contiguous() for word in words}
    metadata = {"format": "pt", "words": json.dumps(known, separators=(",", ":"))}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def unpack(path: Path) -> list[Word]:
    """The words of a file that `pack` wrote.

    Raises:
        UserError: it is damaged, or lacks something that is to be known of each word.
    """
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads(file.metadata()["words"])
            return [_word(key, file.get_tensor(key), values) for key, values in known.items()]
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is damaged, or was kept by another version of vwtransfer "
            f"({quoted(error)}). Move it away, or choose another name: name=..."
        ) from error


def _pack_finished(config: Config) -> None:
    folder = config.kept / config.name
    store = WordStore(config.folder / "words")
    known = {word.cell: word.fingerprint for word in _words(folder)}
    kept_rows, _ = _rows(folder, identity(config))
    kept = set() if kept_rows is None else set(specs_of(kept_rows))
    asked = survey.survey(config, ask=False).states
    finished = [state.shard for state in asked if state.is_complete]
    of_concept: dict[tuple[str, str], pd.DataFrame] = {}
    if finished:
        measured = results.read(config.folder)
        groups = measured.groupby(["dataset", "concept"])
        of_concept = {(str(name[0]), str(name[1])): rows for name, rows in groups}
    count = 0
    for shard in finished:
        # there are none of a shard whose words all diverged
        rows = of_concept.get((shard.dataset, shard.concept), measured.iloc[:0])
        rows = rows[[shard.holds(spec) for spec in specs_of(rows)]]
        words = [store.load(cell) for cell in shard.cells if cell in store]
        same = all(known.get(word.cell) == word.fingerprint for word in words)
        if same and kept.issuperset(specs_of(rows)):
            continue
        place = folder / "shards" / shard.file_name
        _write_rows(rows, place.with_name(f"{place.name}.parquet"), identity(config))
        pack(words, place.with_name(f"{place.name}.safetensors"))
        count += 1
        manifest = config.folder / MANIFESTS / f"{shard.dataset}.json"
        if manifest.is_file():
            write_text(folder / MANIFESTS / manifest.name, manifest.read_text(encoding="utf-8"))
    terminal().print(
        f"{count} shards were added to {folder}; "
        f"of the {len(asked)} that this command asks for, {len(finished)} are finished"
    )


def _merge(config: Config) -> None:
    """One file of words for each model, and one of rows."""
    folder = config.kept / config.name
    words = {word.cell: word for word in _words(folder)}
    frame, other = _rows(folder, identity(config))
    if other:
        raise UserError(f"{folder} holds rows of another config: {'; '.join(other)}.")
    merged = list((folder / "shards").glob("*"))
    for model in sorted({cell.model for cell in words}):
        pack([words[c] for c in sorted(words) if c.model == model], folder / f"{model}.safetensors")
    if frame is not None:
        _write_rows(frame, folder / ROWS, identity(config))
    for path in merged:
        path.unlink()
    with suppress(OSError):
        (folder / "shards").rmdir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    terminal().print(f"{folder}: {len(words):,} words, {size / 1e6:.1f} MB")


def _are_of_its_images(config: Config, dataset: str) -> bool:
    """Whether what is kept is of the images that the study has chosen, if it has."""
    kept = config.kept / config.name / MANIFESTS / f"{dataset}.json"
    own = config.folder / MANIFESTS / kept.name
    if not (kept.is_file() and own.is_file()):
        return True
    chosen = (read_manifest(path).images for path in (kept, own))
    first, second = ([(i.concept, i.split, i.sha256) for i in images] for images in chosen)
    return first == second


def _restore_rows(
    config: Config, shard: Shard, frame: pd.DataFrame, specs: Sequence[EvalSpec]
) -> None:
    """Writes the shard's part of the results, if all of its words and their rows are there."""
    trained, failed = survey.settled(config.folder, shard)
    if not trained or len(trained) + failed < len(shard.ends):
        return
    unmeasured = survey.left_out(config.folder)[1]
    if not survey.required_rows(config, shard, trained, unmeasured) <= set(specs):
        return
    own = frame[[shard.holds(spec) for spec in specs]]
    rows = [Record(**row) for row in own.to_dict("records")]
    results.write_part(config.folder, rows, shard.part_key(trained))


def _metadata(word: Word) -> dict[str, str | float]:
    """What a file says of a word beside its vectors; seconds to the millisecond."""
    values = {name: getattr(word, name) for name in (*TEXTS, *NUMBERS)}
    values["seconds"] = round(word.seconds, 3)
    return {name: value for name, value in (values | asdict(word.made)).items() if value != ""}


def _word(key: str, vectors_KD: Any, values: Mapping[str, Any]) -> Word:
    made = {name: values.get(name, "") for name in Origin.__dataclass_fields__}
    texts = dict.fromkeys(TEXTS, "")
    rest = texts | {name: value for name, value in values.items() if name not in made}
    return Word(parse_key(key), vectors_KD, **rest, made=Origin(**made))


def _files(folder: Path, suffix: str) -> list[Path]:
    """What was merged, then what was kept since: of two of the same the latter counts."""
    return [*sorted(folder.glob(f"*{suffix}")), *sorted(folder.glob(f"shards/*{suffix}"))]


def _words(folder: Path) -> Iterator[Word]:
    for path in _files(folder, ".safetensors"):
        yield from unpack(path)


def _rows(folder: Path, now: Mapping[str, Any]) -> tuple[pd.DataFrame | None, list[str]]:
    """All kept rows once, and in what the configs of those differ that are left out."""
    frames, other = [], []
    for path in _files(folder, ".parquet"):
        try:
            table = pq.read_table(path, partitioning=None)
            former = json.loads((table.schema.metadata or {}).get(b"identity", b"{}"))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{path}: is damaged ({quoted(error)}). Restore it, or delete it: what it held is "
                "measured again."
            ) from error
        if found := differences(former, now):
            other += found
        else:
            frames.append(table.to_pandas())
    if not frames:
        return None, list(dict.fromkeys(other))
    whole = pd.concat(frames, ignore_index=True).drop_duplicates(results.IDENTITY, keep="last")
    return whole, list(dict.fromkeys(other))


def _write_rows(frame: pd.DataFrame, path: Path, made_with: Mapping[str, Any]) -> None:
    frame = frame.reindex(columns=results.SCHEMA.names)  # older rows lack later columns
    table = pa.Table.from_pandas(frame, schema=results.SCHEMA, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"identity": json.dumps(made_with).encode()}
    table = table.replace_schema_metadata(metadata)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
