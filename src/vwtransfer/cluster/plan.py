"""action=plan: the shards of a study, what of it is done, and what the rest is expected to take."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vwtransfer.cluster.archive import restore
from vwtransfer.cluster.status_table import duration, status_table, terminal
from vwtransfer.cluster.survey import FAILED, MISSING, State, Survey, survey
from vwtransfer.cluster.time_estimates import TimeEstimate, time_estimates, total_hours, words_left
from vwtransfer.config import Config


def plan(config: Config) -> None:
    """Prints what `submit` would submit; submits nothing."""
    console = terminal()
    if line := restore(config):
        console.print(line)
    found = survey(config)
    print_plan(config, found, found.standing(MISSING), console)


def print_plan(config: Config, found: Survey, chosen: Sequence[State], console: Console) -> None:
    """Prints all shards, and what those chosen are expected to take."""
    if config.submit.list_shards:
        for state in found.states:
            done = len(state.trained) if state.measured else 0
            size = len(state.shard.ends)
            console.print(f"{state.shard.key}  {size} words, {done} done, {state.standing}")
    console.print(status_table(found.states, config.model))
    largest = max((len(state.shard.ends) for state in found.states), default=0)
    console.print(
        f"{len(found.states):,} shards, each the work of one job: {largest} words of a concept "
        "that train as one batch"
    )
    words = words_left(config, chosen, MISSING, FAILED)
    console.print(f"to do now: {sum(words.values()):,} words in {len(chosen):,} shards")
    estimates = time_estimates(config, found.states)
    if chosen:
        console.print(_estimates_table(words, estimates))
        _print_hours(config, words, estimates, len(chosen), console)


def _estimates_table(words: dict[str, int], estimates: dict[str, TimeEstimate]) -> Table:
    """What a word of each model takes, and from where that is known."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column("model")
    for name in ("words", "seconds each", "hours"):
        drawn.add_column(name, justify="right")
    drawn.add_column("")
    for model, count in words.items():
        each = estimates[model]
        known = each.seconds is not None
        seconds = f"{each.seconds:.1f}" if known else "?"
        needed = f"{count * (each.seconds or 0.0) / 3600:.2f}" if known or not count else "?"
        drawn.add_row(model, f"{count:,}", seconds, needed, each.source)
    return drawn


def _print_hours(
    config: Config,
    words: dict[str, int],
    estimates: dict[str, TimeEstimate],
    shards: int,
    console: Console,
) -> None:
    unit = "GPU-hours" if config.cluster.gpus and config.device != "cpu" else "hours of jobs"
    needed = total_hours(words, estimates)
    if needed is None:
        unknown = [name for name, count in words.items() if count and not estimates[name].seconds]
        console.print(
            f"{unit} expected: not known before a shard of each model is done; or say what you\n"
            f"measured: 'cluster.seconds_per_word={{{unknown[0]}: SECONDS}}'",
            markup=False,
        )
        return
    at_once = min(config.cluster.max_running_jobs, shards)
    taken = duration(3600 * needed / at_once)
    console.print(f"{unit} expected: {needed:.2f}; with at most {at_once} jobs at once, {taken}")
