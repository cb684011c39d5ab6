"""What of a study is done, runs, waits, failed or is missing: from the disk first.

Done is what lies on disk, whatever the scheduler says; what runs is told by heartbeats and, where
it answers, by squeue. Only shards that are not done are looked at closely, so that a study of a
million words is surveyed in seconds.
"""

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vwtransfer.cluster.claims import Owner, clock, is_alive, owner_of
from vwtransfer.cluster.history import FAILED as FAILED_EVENT
from vwtransfer.cluster.history import STARTED, Event, history, history_path
from vwtransfer.cluster.scheduler import Entry, queue
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.submissions import jobs_of, submitters, waiting_here
from vwtransfer.config import Config
from vwtransfer.evaluation.specs import NO_TRANSFER, SPEC, EvalSpec, specs_of
from vwtransfer.files import damaged, read_json, write_json
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
        last: what its history ends with; looked up only where nobody works on it.
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
        if self.owner is not None:
            return RUNNING
        if self.last is not None and self.last.what == FAILED_EVENT:
            return FAILED  # though its job may go on with other shards
        if self.entry is not None and self.entry.runs:
            return RUNNING
        return MISSING if self.entry is None and not self.waits else QUEUED

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
        busy: whether anybody works on it or is to.
    """

    states: Sequence[State]
    answered: bool
    entries: Sequence[Entry]
    busy: bool

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
    parts = _parts(folder)
    elsewhere = _Elsewhere(config, parts, measures)
    begun = _listed(folder / "cluster" / "history")
    owners = _owners(folder / "cluster" / "claims", config.cluster.heartbeat_timeout_s)
    entries = queue(submitters(folder)) if ask else None
    mine, by_shard = jobs_of(folder, entries or ())
    waiting = waiting_here(folder)
    states = []
    for shard in todo:
        trained, failed = settled(folder, shard)
        name = part_path(folder, shard.part_key(trained)).name
        measured = not trained or name in parts or elsewhere.has(shard, trained)
        state = State(shard, trained, failed, measured)
        if not state.is_complete:
            owner = owners.get(f"{shard.file_name}.json")
            looks = owner is None and history_path(folder, shard).name in begun
            state = replace(
                state,
                owner=owner,
                entry=by_shard.get(shard.key),
                waits=shard.key in waiting,
                last=last_event(folder, shard) if looks else None,
            )
        states.append(state)
    return Survey(states, entries is not None, mine, bool(mine or owners or waiting))


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
    """(model, dataset) pairs that cannot be trained, and that cannot be measured.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / "cluster" / "left_out.json"
    try:
        record = read_json(path)
    except FileNotFoundError:
        return set(), set()
    try:
        trains, measures = ({(m, d) for m, d in record[name]} for name in ("train", "measure"))
    except (TypeError, ValueError, LookupError) as error:
        raise damaged(path, "it names no models and datasets") from error
    return trains, measures


def write_left_out(
    folder: Path, trains: Iterable[tuple[str, str]], measures: Iterable[tuple[str, str]]
) -> None:
    """Keeps what `left_out` gives."""
    record = {"train": sorted(trains), "measure": sorted(measures)}
    write_json(folder / "cluster" / "left_out.json", record)


def rows_in(paths: Iterable[Path]) -> set[EvalSpec]:
    """What these parts of the results hold rows of; what is none of results holds none."""
    columns = [*SPEC, "value"]
    found: set[EvalSpec] = set()
    for path in paths:
        if not path.is_file():
            continue
        try:
            read = pq.read_table(path, columns=columns, partitioning=None)
            table = read.select(columns)  # fails where one is missing, or there twice
        except (pa.ArrowException, OSError, KeyError):
            continue
        found.update(specs_of(table.to_pandas().dropna(subset=["value"])))
    return found


def earlier_parts(folder: Path, shard: Shard) -> list[Path]:
    """Parts of the results that may hold rows of a shard's words: of shards, and of plain runs."""
    own = readable(shard.parts_prefix)
    names = sorted(_parts(folder))
    chosen = [n for n in names if n.startswith(own) or not n.startswith(_OF_SHARDS)]
    return [folder / "results" / name for name in chosen]


def required_rows(
    config: Config, shard: Shard, trained: tuple[str, ...], unmeasured: Collection[tuple[str, str]]
) -> set[EvalSpec]:
    """The rows without which a shard's finished words are not measured.

    Args:
        config: of the study.
        shard: whose words.
        trained: the ends of the finished ones.
        unmeasured: (model, dataset) pairs that cannot be measured.
    """
    targets = [target for source, target in config.direction if source == shard.model]
    mapped = [(target, method) for target in targets for method in config.transfer.methods]
    where = [(shard.model, NO_TRANSFER), *mapped]
    where = [each for each in where if (each[0], shard.dataset) not in unmeasured]
    done = set(trained)
    cells = [cell for cell, end in zip(shard.cells, shard.ends, strict=True) if end in done]
    return {EvalSpec.of_word(cell, *each) for cell in cells for each in where}


class _Elsewhere:
    """Words that were measured by a plain run, or by shards cut otherwise or asked for less."""

    def __init__(
        self, config: Config, parts: Iterable[str], unmeasured: set[tuple[str, str]]
    ) -> None:
        self._config = config
        self._unmeasured = unmeasured
        self._of_shards = sorted(name for name in parts if name.startswith(_OF_SHARDS))
        self._of_runs = [name for name in parts if not name.startswith(_OF_SHARDS)]

    @cached_property
    def _rows(self) -> set[EvalSpec]:
        return rows_in(self._config.folder / "results" / name for name in self._of_runs)

    def has(self, shard: Shard, trained: tuple[str, ...]) -> bool:
        prefix = readable(shard.parts_prefix)
        start = bisect_left(self._of_shards, prefix)
        own = takewhile(lambda n: n.startswith(prefix), islice(self._of_shards, start, None))
        paths = [self._config.folder / "results" / name for name in own]
        if not paths and not self._of_runs:
            return False
        return required_rows(self._config, shard, trained, self._unmeasured) <= (
            self._rows | rows_in(paths)
        )


def _parts(folder: Path) -> set[str]:
    """Names of the parts of the results, without what a killed process left half written."""
    return {name for name in _listed(folder / "results") if name.endswith(".parquet")}


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
