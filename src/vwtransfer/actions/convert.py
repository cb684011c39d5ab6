"""action=convert: the words in files and folders, taken to another model.

Tokenizers and text encoders of the two models are loaded, and nothing else of them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from vwtransfer.config import Config
from vwtransfer.conversion.converter import Converter, at_once
from vwtransfer.conversion.inputs import Input, found
from vwtransfer.conversion.jobs import Job, jobs
from vwtransfer.conversion.outputs import (
    CONVERTED,
    FAILED,
    THERE,
    Row,
    write_table,
)
from vwtransfer.conversion.page import PAGE, shown, write_page
from vwtransfer.errors import UserError
from vwtransfer.files import keep_inside, write_text
from vwtransfer.interrupts import deferred
from vwtransfer.models import Model
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build_part, cache_of
from vwtransfer.progress import stages, stop_where_asked, terminal
from vwtransfer.transfer import Transfer
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.words.formats import LoadedWord, read_words

PRINTED = 40  # rows of the table
PIPED = 120  # columns of it where there is no terminal
CONFIG = "converted.yaml"


def convert(config: Config) -> None:
    """Converts the words that `word` names from the model `source` to the model `target`.

    Raises:
        UserError: nothing can be converted, or, at the end, not all was.
        KeyboardInterrupt: Ctrl-C; what was converted is kept, and the same command goes on.
    """
    _check(config)
    console = terminal(elsewhere=PIPED)
    inputs, pictures = found(config.word)
    if pictures:
        console.print(f"left out: {pictures} pictures without an embedding in them")
    if not inputs:
        named = ",".join(map(str, config.word))
        raise UserError(f"word={named}: there is no file that may hold a word.")
    words, rows = _read(inputs)
    folders: dict[Path, list[Row]] = {}
    for given, row in rows:
        folders.setdefault(_folder(config, given), []).append(row)
    for folder in folders:
        keep_inside(folder)
    try:
        if words:
            _convert(config, console, words)
    finally:
        tables = [write_table(part, folder) for folder, part in folders.items()]
        for folder in folders:
            write_text(folder / CONFIG, yaml.safe_dump(config.composed, sort_keys=False))
    _conclude(console, [row for _, row in rows], tables)


def _check(config: Config) -> None:
    for key in ("word", "source", "target"):
        if not getattr(config, key):
            example = "vwtransfer action=convert source=sd15 target=sdxl word=embeddings/"
            raise UserError(f"action=convert: {key}= is missing, as in {example}")
    if config.source == config.target:
        raise UserError(f"source={config.source} target={config.target}: are the same model.")


def _folder(config: Config, given: Input) -> Path:
    """Where the words of a file are written.

    Raises:
        UserError: a link of that name, which may have come with the words, leads elsewhere.
    """
    assert config.target is not None
    if config.into:
        return config.into
    folder = given.root / config.target
    root, real = (Path(os.path.realpath(path)) for path in (given.root, folder))
    if not real.is_relative_to(root):
        raise UserError(
            f"{folder}: is a link to {real}. Say that words are to go there with into={real}, or "
            "remove the link."
        )
    return folder


def _read(
    inputs: Sequence[Input],
) -> tuple[list[tuple[Row, Input, LoadedWord, bool]], list[tuple[Input, Row]]]:
    """The words, and whether their file has several; and a row for each, or for a file of none."""
    words, rows = [], []
    for given in inputs:
        try:
            held = read_words(given.file)
        except UserError as error:
            reason = str(error).removeprefix(f"word={given.file}: ").rstrip(".")
            rows.append((given, Row(given.shown, note=reason)))
            continue
        for word in held:
            row = Row(given.shown, word.name, len(word.vectors_KD))
            rows.append((given, row))
            words.append((row, given, word, len(held) > 1))
    return words, rows


def _convert(
    config: Config, console: Console, words: Sequence[tuple[Row, Input, LoadedWord, bool]]
) -> None:
    """Converts words, batch by batch, and says in their rows what became of them."""
    use_threads(config.threads)
    with deferred() as stopping, stages(console, config.progress) as bars:
        source, target = (_model(config, name) for name in (config.source, config.target))
        kept = KeptReadings(cache_of(config), partial(bars.stage, stopping=stopping))
        method: Transfer = build_part(config.transfer.node, "transfer", readings=kept)
        console.print(f"loading the text encoders of {source.name} and {target.name}")
        converter = Converter(source.text, target.text, method, config.transfer.node)
        if source.text.weights_identity == target.text.weights_identity:
            raise UserError(
                f"source={config.source} target={config.target}: have the same text encoders, so "
                "that words of one are words of the other as they are."
            )
        known = jobs(config, converter, (source, target), words)
        groups: dict[tuple[str, int], list[Job]] = {}
        for job in known:
            if job.converted_KD is None:
                key = job.row.prompt, len(job.word.vectors_KD)
                groups.setdefault(key, []).append(job)
        seconds = _announce(console, converter, groups)
        if count := sum(map(len, groups.values())):
            with bars.stage("convert", count) as advance:
                for key, group in groups.items():
                    _batches(converter, key[0], group, at_once(seconds[key]), advance, stopping)
    if config.report:
        for folder in dict.fromkeys(job.place.folder for job in known):
            _page(console, converter, folder, [job for job in known if job.place.folder == folder])


def _page(console: Console, converter: Converter, folder: Path, jobs: Sequence[Job]) -> None:
    """Writes the page of a folder, unless all its words were there already and so is the page."""
    path = folder / PAGE
    if not (path.exists() and all(job.row.state == THERE for job in jobs)):
        parts = [
            (job.row, job.word.vectors_KD, job.converted_KD)
            for job in jobs
            if job.converted_KD is not None
        ]
        names = converter.source.model, converter.target.model
        write_page(path, names, shown(converter, parts))
    console.print(f"page: {path}", soft_wrap=True)


def _model(config: Config, name: str | None) -> Model:
    """A model to read text encoders of, in float32 where it would be in float16.

    In float16 the gradients of a search vanish, and processors compute slowly in it.
    """
    assert name is not None
    node = dict(config.model.models[name])
    if node.get("dtype") == "float16":
        node["dtype"] = "float32"
    device = torch_device(config.device)
    model: Model = build_part(node, f"model.{name}", device=device, cache=None)
    return model


def _announce(
    console: Console, converter: Converter, groups: Mapping[tuple[str, int], Sequence[Job]]
) -> dict[tuple[str, int], float]:
    """Seconds that a word of each group takes, about; printed before they are spent."""
    seconds = {
        key: converter.seconds_per_word(torch.stack([job.word.vectors_KD for job in group]), key[0])
        for key, group in groups.items()
    }
    if seconds:
        count = sum(map(len, groups.values()))
        whole = sum(seconds[key] * len(group) for key, group in groups.items())
        console.print(f"{count} words, about {whole / count:.2g} s each: {_duration(whole)} in all")
    return seconds


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _batches(
    converter: Converter,
    prompt: str,
    group: Sequence[Job],
    size: int,
    advance: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Converts words of one prompt and number of vectors, and writes each batch of them.

    Raises:
        KeyboardInterrupt: a signal asked for it.
    """
    widths = {name: e.width for name, e in converter.target.encoders.items()}
    for start in range(0, len(group), size):
        stop_where_asked(stopping)
        part = group[start : start + size]
        words_NKD = torch.stack([job.word.vectors_KD for job in part])
        done = converter.convert(words_NKD, prompt, [job.word.anchor for job in part])
        for number, job in enumerate(part):
            signals: dict[str, float | str] = {
                name: "" if values is None else round(values[number], 4)
                for name, values in (("agreement", done.agreement), ("shared", done.shared))
            }
            vectors_KD = done.vectors_NKD[number]
            told = {
                "vectors_in": len(job.word.vectors_KD),
                **signals,
                "remark": job.row.note,
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            if not job.place.write(vectors_KD, widths, job.provenance | told):
                job.row.note = f"{job.place.path} is there already, and is not written over"
                continue
            job.finish(vectors_KD, signals, CONVERTED)
        advance(len(part))


def _conclude(console: Console, rows: Sequence[Row], tables: Sequence[Path]) -> None:
    """Prints the table.

    Raises:
        UserError: a word was not converted.
    """
    table = Table("file", "word", "vectors", "agreement", "shared", "state")
    done = [row for row in rows if row.state != FAILED]
    for row in done[:PRINTED]:
        vectors = f"{row.vectors_in} -> {row.vectors_out}"
        signals = f"{row.agreement}", f"{row.shared}"
        table.add_row(row.file, row.word, vectors, *signals, row.state)
    if done:
        console.print(table)
    if len(done) > PRINTED:
        console.print(f"and {len(done) - PRINTED} more, in the table below")
    failed = [row for row in rows if row.state == FAILED]
    for row in [*(row for row in done if row.note), *failed]:
        said = "" if row.state != FAILED else f"{FAILED}: "
        console.print(f"{row.file}: {said}{row.note}", soft_wrap=True, highlight=False)
    for path in tables:
        console.print(f"table: {path}", soft_wrap=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(rows)} were not converted; of each it is said above why."
        )
