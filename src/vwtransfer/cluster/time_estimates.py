"""How long a word takes, from what was measured: of this study, else what the config brings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vwtransfer import results
from vwtransfer.cluster.history import FINISHED, STOPPED, history, history_path
from vwtransfer.cluster.survey import DONE, State
from vwtransfer.config import Config
from vwtransfer.words.store import WordStore

SAMPLE = 20  # finished shards of a model that are looked at
WINDOW = 3600.0  # seconds that the rate is measured over


@dataclass(frozen=True)
class TimeEstimate:
    """What a word takes.

    Attributes:
        seconds: of a job, for each word; None where nothing was measured.
        source: where the number is from.
    """

    seconds: float | None
    source: str


def time_estimates(config: Config, states: Sequence[State]) -> dict[str, TimeEstimate]:
    """Model -> what one of its words takes, training and measuring."""
    found = {}
    for model in config.trained:
        finished = [s for s in states if s.shard.model == model and s.standing == DONE]
        every = max(1, len(finished) // SAMPLE)
        chosen = [_seconds_per_word(config.folder, state) for state in finished[::every]]
        known = [seconds for seconds in chosen if seconds is not None]
        given = _given(config, model)
        if known:
            found[model] = TimeEstimate(median(known), f"measured on {len(known)} finished shards")
        elif given is not None:
            found[model] = TimeEstimate(given, "cluster.seconds_per_word")
        else:
            found[model] = TimeEstimate(None, "not measured yet")
    return found


def _given(config: Config, model: str) -> float | None:
    """What the config says of a model, else of its task."""
    given = config.cluster.seconds_per_word or {}
    return given.get(model, given.get(config.model.task_of(model)))


def words_left(config: Config, states: Iterable[State], *standings: str) -> dict[str, int]:
    """Model -> how many of its words stand so."""
    words = dict.fromkeys(config.trained, 0)
    for state in states:
        words[state.shard.model] += sum(state.words[name] for name in standings)
    return words


def total_hours(words: Mapping[str, int], estimates: Mapping[str, TimeEstimate]) -> float | None:
    """Hours of all jobs together for so many words of each model; None where one is not known."""
    total = 0.0
    for model, count in words.items():
        seconds = estimates[model].seconds
        if count and seconds is None:
            return None
        total += count * (seconds or 0.0)
    return total / 3600


def rate(folder: Path, states: Sequence[State], now: float) -> float | None:
    """Words finished in a second, over the last hour or as long as there is something to go by.

    Told from when the jobs of finished shards wrote their last line; what was kept, or done by a
    plain run, has none.
    """
    finished = []
    for state in states:
        if state.standing == DONE and state.trained:
            try:
                time = history_path(folder, state.shard).stat().st_mtime
            except FileNotFoundError:
                continue
            finished.append((time, len(state.trained)))
    recent = [each for each in finished if now - each[0] < WINDOW]
    if len(recent) < 2:
        return None
    first = min(recent)
    words = sum(count for _, count in recent) - first[1]
    return words / max(1.0, now - first[0])


def _seconds_per_word(folder: Path, state: State) -> float | None:
    """As the shard's jobs recorded it; where none did, as its words and rows say themselves."""
    if not state.trained:
        return None
    events = [e for e in history(folder, state.shard) if e.what in (STOPPED, FINISHED)]
    seconds = sum(event.seconds for event in events)
    return (seconds or _of_files(folder, state)) / len(state.trained)


def _of_files(folder: Path, state: State) -> float:
    """Seconds that training and measuring a shard took; it was kept, or done by a plain run."""
    store = WordStore(folder / "words")
    done = set(state.trained)
    pairs = zip(state.shard.cells, state.shard.ends, strict=True)
    training = sum(store.load(cell).seconds for cell, end in pairs if end in done)
    path = results.part_path(folder, state.shard.part_key(state.trained))
    if not path.exists():
        return training
    rows = results.read(path).drop_duplicates([n for n in results.IDENTITY if n != "metric"])
    return training + float(rows["eval_seconds"].sum())
