"""What of a study is done, runs, waits, failed or is missing: from the disk first.

Done is what lies on disk, whatever the scheduler says; what runs is told by heartbeats and, where
it answers, by squeue. Only shards that are not done are looked at closely, so that a study of a
million words is surveyed in seconds.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vwtransfer.cluster.claims import Owner, clock, is_alive, owner_of
from vwtransfer.cluster.history import FAILED as FAILED_EVENT
from vwtransfer.cluster.history import STARTED, Event, history
from vwtransfer.cluster.scheduler import Entry, queue
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.submissions import jobs_of, waiting_here
from vwtransfer.config import Config
from vwtransfer.evaluation.queries import NO_TRANSFER, Query
from vwtransfer.files import write_json
from vwtransfer.results import part_path, readable

DONE, RUNNING, QUEUED, FAILED, MISSING = "done", "running", "queued", "failed", "missing"
_OF_SHARDS = readable("shard/")


@dataclass(frozen=True)
class State:
    """How a shard stands.

    Attributes:
        shard: which.
        trained: the ends of its finished words.
        failed_words: how many diverged.
        measured: whether its finished words have all their rows.
        owner: who works on it; None where nobody does.
        entry: its job in the scheduler's queue, if it has one there.
        waits: whether a process of this machine is to come to it.
        last: what its history ends with; looked up only where nothing else says how it stands.
    """

    shard: Shard
    trained: tuple[str, ...]
    failed_words: int
    measured: bool
    owner: Owner | None = None
    entry: Entry | None = None
    waits: bool = False
    last: Event | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        settled = len(self.trained) + self.failed_words
        return self.measured and settled == len(self.shard.ends)

    @property
    def standing(self) -> str:
        """DONE, or how the rest of its words stands."""
        if self.is_complete:
            return DONE
        if self.owner is not None or (self.entry is not None and self.entry.runs):
            return RUNNING
        if self.entry is not None or self.waits:
            return QUEUED
        if self.last is not None and self.last.what == FAILED_EVENT:
            return FAILED
        return MISSING

    @property
    def words(self) -> Mapping[str, int]:
        """How many of its words are done, running, queued, failed and missing."""
        done = len(self.trained) if self.measured else 0
        rest = len(self.shard.ends) - done - self.failed_words
        counts = dict.fromkeys((DONE, RUNNING, QUEUED, FAILED, MISSING), 0)
        counts[DONE] = done
        counts[FAILED] = self.failed_words
        if rest:
            counts[self.standing] += rest
        return counts


@dataclass(frozen=True)
class Survey:
    """How all shards of a study stand, and what the scheduler said of them.

    Attributes:
        states: of every shard, in order.
        answered: whether squeue answered.
        entries: the jobs of this study in the queue.
    """

    states: Sequence[State]
    answered: bool
    entries: Sequence[Entry]

    @cached_property
    def words(self) -> Mapping[str, int]:
        """How many words stand how, of the whole study."""
        return total(self.states)

    def standing(self, *names: str) -> list[State]:
        """The shards that stand so."""
        return [state for state in self.states if state.standing in names]


def total(states: Iterable[State]) -> dict[str, int]:
    """Words by how they stand."""
    counts = dict.fromkeys((DONE, RUNNING, QUEUED, FAILED, MISSING), 0)
    for state in states:
        for name, count in state.words.items():
            counts[name] += count
    return counts


def survey(config: Config, ask: bool = True) -> Survey:
    """Looks at the study's folder and, if `ask`, at the scheduler's queue."""
    folder = config.folder
    trains, measures = left_out(folder)
    todo = shards(config, trains)
    parts = _listed(folder / "results")
    foreign = [folder / "results" / name for name in parts if not name.startswith(_OF_SHARDS)]
    elsewhere = _Elsewhere(config, foreign, measures)
    owners = _owners(folder / "cluster" / "claims", config.cluster.claim_seconds)
    entries = queue() if ask else None
    mine, by_shard = jobs_of(folder, entries or ())
    waiting = waiting_here(folder)
    states = []
    for shard in todo:
        trained, failed = settled(folder, shard)
        name = part_path(folder, shard.part_key(trained)).name
        measured = not trained or name in parts or elsewhere.has(shard, trained)
        state = State(shard, trained, failed, measured)
        if not state.is_complete:
            state = State(
                shard,
                trained,
                failed,
                measured,
                owners.get(f"{shard.file_name}.json"),
                by_shard.get(shard.key),
                shard.key in waiting,
            )
            if state.standing == MISSING:
                state = State(shard, trained, failed, measured, last=last_event(folder, shard))
        states.append(state)
    return Survey(states, entries is not None, mine)


def settled(folder: Path, shard: Shard) -> tuple[tuple[str, ...], int]:
    """The ends of the shard's finished words, and how many of its words failed."""
    names = _listed(folder / "words" / shard.folder)
    if not names:
        return (), 0
    trained = tuple(end for end in shard.ends if f"{end}.safetensors" in names)
    if len(trained) == len(shard.ends):
        return shard.ends, 0
    done = set(trained)
    return trained, sum(f"{end}.failed.json" in names for end in shard.ends if end not in done)


def is_complete(config: Config, shard: Shard) -> bool:
    """Whether a shard's words are all finished or failed, and measured; looks at it alone."""
    trained, failed = settled(config.folder, shard)
    measured = not trained or part_path(config.folder, shard.part_key(trained)).exists()
    return State(shard, trained, failed, measured).is_complete


def last_event(folder: Path, shard: Shard) -> Event | None:
    """What the shard's history ends with."""
    events = history(folder, shard)
    return events[-1] if events else None


def interrupted(state: State) -> bool:
    """Whether a missing shard was begun, and ended without a word."""
    return state.standing == MISSING and state.last is not None and state.last.what == STARTED


def claim_path(folder: Path, shard: Shard) -> Path:
    """The file by which a process says that it works on the shard."""
    return folder / "cluster" / "claims" / f"{shard.file_name}.json"


def left_out(folder: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(task, dataset) pairs that cannot be trained, and that cannot be measured."""
    try:
        record = json.loads((folder / "cluster" / "left_out.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set(), set()
    trains, measures = ({(t, d) for t, d in record[name]} for name in ("train", "measure"))
    return trains, measures


def write_left_out(
    folder: Path, trains: Iterable[tuple[str, str]], measures: Iterable[tuple[str, str]]
) -> None:
    """Keeps what `left_out` gives."""
    record = {"train": sorted(trains), "measure": sorted(measures)}
    write_json(folder / "cluster" / "left_out.json", record)


def rows_in(paths: Iterable[Path]) -> set[Query]:
    """What these parts of the results hold rows of; one that cannot be read holds none."""
    columns = list(Query.__dataclass_fields__)
    found: set[Query] = set()
    for path in paths:
        try:
            table = pq.read_table(path, columns=[*columns, "value"], partitioning=None)
        except (pa.ArrowException, OSError):
            continue
        frame = table.to_pandas().dropna(subset=["value"])
        found.update(Query(*row) for row in frame[columns].itertuples(index=False))
    return found


def measured_before(folder: Path, shard: Shard) -> set[Query]:
    """Rows that a shard need not measure again: of its earlier parts, and of plain runs."""
    own = readable(shard.parts_prefix)
    names = _listed(folder / "results")
    chosen = [n for n in names if n.startswith(own) or not n.startswith(_OF_SHARDS)]
    return rows_in(folder / "results" / name for name in chosen)


class _Elsewhere:
    """Words that were measured by no shard, but by a plain run; read when first asked for."""

    def __init__(
        self, config: Config, paths: Sequence[Path], unmeasured: set[tuple[str, str]]
    ) -> None:
        self._config = config
        self._paths = paths
        self._unmeasured = unmeasured

    @cached_property
    def _rows(self) -> set[Query]:
        return rows_in(self._paths)

    def has(self, shard: Shard, trained: tuple[str, ...]) -> bool:
        if not self._paths:
            return False
        method = self._config.transfer["name"]
        targets = [b for a, b in self._config.direction if a == shard.task]
        wanted = [(shard.task, NO_TRANSFER), *((target, method) for target in targets)]
        wanted = [each for each in wanted if (each[0], shard.dataset) not in self._unmeasured]
        done = set(trained)
        return all(
            Query.of_word(cell, *where) in self._rows
            for cell, end in zip(shard.cells, shard.ends, strict=True)
            if end in done
            for where in wanted
        )


def _listed(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  a million names, as plain strings
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _owners(folder: Path, expires: float) -> dict[str, Owner]:
    """Name of a claim's file -> its owner, of those that are alive."""
    names = [name for name in _listed(folder) if not name.startswith(".")]
    if not names:
        return {}
    now = clock(folder)
    found = {}
    for name in names:
        owner = owner_of(folder / name)
        if owner is not None and is_alive(folder / name, owner, expires, now):
            found[name] = owner
    return found
