"""action=benchmark: every transfer method carries the same words, and a table ranks them.

Words are trained, or taken from the study at `benchmark.words`; each method is fitted for each
direction and carries every word into the other models; all of it is measured beside the words
trained there and the anchors; `leaderboard.md` and its figure are written into the run's folder,
and to `benchmark.page` where that is given. What is done is not done again.
"""

import platform
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

import pandas as pd
import psutil
import torch
from rich.console import Console

from vwtransfer import results
from vwtransfer.config import Config, Node, provenance
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.evaluation.evaluator import Evaluation, evaluate
from vwtransfer.evaluation.specs import UNCONSTRAINED, EvalSpec, queries
from vwtransfer.files import write_text
from vwtransfer.interrupts import deferred
from vwtransfer.leaderboard.mapping import Direction, IdentityMap, carry, times
from vwtransfer.leaderboard.page import (
    ALL,
    REFERENCE,
    Board,
    estimates,
    figure,
    interval,
    markdown,
    ranked,
)
from vwtransfer.leaderboard.predictors import losses, rank_correlations
from vwtransfer.leaderboard.splits import cells_of_half
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build, build_part
from vwtransfer.progress import stages
from vwtransfer.study import Study, data_loading, measured, train_words
from vwtransfer.transfer import Transfer
from vwtransfer.words.cells import Cell, delta_text
from vwtransfer.words.store import WordStore

PAGE = "leaderboard.md"
EXPLAINED = 2  # of the best methods, how causes predict what they lose


def run(config: Config) -> None:
    """Does what is not yet done of the benchmark, and writes the leaderboard.

    Raises:
        UserError: no method or no direction is chosen, no word is there, or see `study.run`.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    if REFERENCE not in config.benchmark.methods:
        raise UserError(
            f"benchmark.methods: {REFERENCE} is missing, to which the others are compared."
        )
    if not config.direction:
        raise UserError("direction: none is chosen; choose with direction=all.")
    cells = cells_of_half(config)
    deltas = sorted({cell.delta for cell in cells})
    if len(deltas) > 1:
        raise UserError(
            f"delta={[delta_text(delta) for delta in deltas]}: a leaderboard is of words of one "
            "delta. Choose one, and a name=... for each."
        )
    provenance.save(config)
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    suite.check_anchors(cells)
    store = WordStore((config.benchmark.words or config.folder) / "words")
    console = Console()
    datasets = data_loading.opened(config)
    for line in data_loading.left_out(suite.tasks, datasets):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    cells = [c for c in cells if data_loading.trains(suite.tasks[c.task], datasets[c.dataset])]
    with deferred() as stopping, stages(console, config.progress) as bars:
        work = Study(config, suite, datasets, cells, store, bars, stopping)
        try:
            if config.benchmark.words is None:
                train_words(work)
            work = replace(work, cells=_trained(work))
            missing = _missing(cells, work.cells, work.store)
            for line in missing:
                console.print(line, style="yellow", highlight=False, soft_wrap=True)
            for node in config.benchmark.methods.values():
                _carry(work, node)
            done = measured(config.folder)
            _measure_own(work, done)
            for method in config.benchmark.methods:
                _measure_carried(work, method, done)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                f"stopped; everything finished is kept under {config.folder}. The same command "
                "goes on from there."
            ) from interrupt
    _conclude(work, missing, console)


def _trained(work: Study) -> list[Cell]:
    """The cells whose words are there in every task, so that each can be compared.

    Raises:
        UserError: there are none, or a word was trained in another model.
    """
    tasks = {task for direction in work.config.direction for task in direction}
    found = [
        cell
        for cell in work.cells
        if cell.task in tasks and all(replace(cell, task=task) in work.store for task in tasks)
    ]
    if not found:
        raise UserError(
            f"no {_kind(work.cells)} word of the {work.config.benchmark.half} half lies under "
            f"{work.store.folder} for each of {', '.join(sorted(tasks))}."
        )
    for task in sorted(tasks):
        first = next(cell for cell in found if cell.task == task)
        text = work.suite.tasks[task].text
        if work.store.load(first, text.width).model != text.identity:
            raise UserError(
                f"{work.store.path(first)}: was trained in another model than "
                f"model.{task}.checkpoint={work.config.model.tasks[task]['checkpoint']}."
            )
    return found


def _missing(cells: Sequence[Cell], found: Sequence[Cell], store: WordStore) -> list[str]:
    """A line for each dataset of which words are left out, as some of the same pair are missing."""
    lines = []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        mine = [cell for cell in cells if cell.dataset == dataset]
        pairs = {(cell.concept, cell.anchor) for cell in mine}
        whole = {(cell.concept, cell.anchor) for cell in found if cell.dataset == dataset}
        if pairs == whole:
            continue
        absent = Counter(cell.task for cell in mine if cell not in store)
        each = ", ".join(f"{count} for {task}" for task, count in sorted(absent.items()))
        lines.append(
            f"{dataset}: {len(pairs - whole)} of {len(pairs)} pairs of concept and anchor are left "
            f"out, as words are missing: {each}."
        )
    return lines


def _kind(cells: Sequence[Cell]) -> str:
    """Unconstrained words, or those of which delta."""
    delta = cells[0].delta
    return "unconstrained" if delta == UNCONSTRAINED else f"delta {delta_text(delta)}"


def _directions(work: Study) -> list[Direction]:
    return [Direction(s, t, work.config.folder) for s, t in work.config.direction]


def _carry(work: Study, node: Node) -> None:
    method: Transfer = build_part(node, f"benchmark.methods.{node['name']}")
    total = sum(cell.task == d.source for d in _directions(work) for cell in work.cells)
    with work.bars.stage(f"carry by {method.name}", total) as advance:
        for direction in _directions(work):
            models = tuple(work.suite.tasks[t].text for t in (direction.source, direction.target))
            mine = [cell for cell in work.cells if cell.task == direction.source]
            carry(
                method,
                direction,
                (models[0], models[1]),
                work.suite.support,
                data_loading.descriptions(work.datasets),
                work.store,
                mine,
                advance,
                work.stopping,
            )


def _measure_own(work: Study, done: Set[EvalSpec]) -> None:
    """Words in the model they were trained in, anchors, names and the other baselines."""
    for target in dict.fromkeys(target for _, target in work.config.direction):
        for dataset in work.datasets.values():
            mine = [cell for cell in work.cells if cell.dataset == dataset.name]
            baselines = work.config.evaluation.baselines
            found = set(queries(mine, target, [], "", baselines)) - done
            _measure(work, target, dataset, sorted(found), work.store)


def _measure_carried(work: Study, method: str, done: Set[EvalSpec]) -> None:
    for direction in _directions(work):
        for dataset in work.datasets.values():
            found = {
                EvalSpec.of_word(cell, direction.target, method)
                for cell in work.cells
                if (cell.dataset, cell.task) == (dataset.name, direction.source)
            }
            store = direction.store(method)
            _measure(work, direction.target, dataset, sorted(found - done), store)


def _measure(
    work: Study, target: str, dataset: Dataset, waiting: Sequence[EvalSpec], store: WordStore
) -> None:
    if not waiting or not data_loading.measures(work.suite.tasks[target], dataset):
        return
    evaluation = Evaluation(
        experiment=work.config.name,
        task=work.suite.tasks[target],
        dataset=dataset,
        store=store,
        maps=dict.fromkeys(work.suite.tasks, IdentityMap()),
        vectors=work.config.trainer.vectors,
        folder=work.config.folder,
        keep_images=work.config.evaluation.keep_images,
        causes=work.causes[dataset.name],
    )
    title = f"{waiting[0].transfer} words in {target} ({dataset.name})"
    with work.bars.stage(title, len(waiting)) as advance:
        evaluate(evaluation, waiting, advance, work.stopping)


def _conclude(work: Study, missing: Sequence[str], console: Console) -> None:
    config, delta = work.config, work.cells[0].delta
    frame = _of_concepts(results.finish(config.folder), work.cells)
    methods = list(config.benchmark.methods)
    found = estimates(frame, methods, delta)
    board = Board(
        estimates=found,
        causes={
            method: rank_correlations(losses(frame, method, delta))
            for method in dict.fromkeys((REFERENCE, *ranked(found)[:EXPLAINED]))
        },
        seconds={method: times(method, _directions(work), work.cells) for method in methods},
        frame=frame,
        title=f"{config.benchmark.half} half of {', '.join(work.datasets)}; "
        f"{config.model.name} models"
        + (f", {_kind(work.cells)}" if delta != UNCONSTRAINED else ""),
        notes=[*_notes(work), *missing],
        delta=delta,
    )
    for path in dict.fromkeys(p for p in (config.folder / PAGE, config.benchmark.page) if p):
        pictures = figure(board, path.with_name(path.stem))
        write_text(path, markdown(board, pictures[0].name))
    for method in board.ranked:
        kept = interval(board.estimates[method][ALL])
        console.print(f"{method:24} keeps {kept}", highlight=False)
    console.print(f"leaderboard: {config.folder / PAGE}", soft_wrap=True)


def _of_concepts(frame: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """The rows of these cells' concepts; the folder may hold those of the other half, too."""
    asked = {(cell.dataset, cell.concept) for cell in cells}
    return frame[[pair in asked for pair in zip(frame.dataset, frame.concept, strict=True)]]


def _notes(work: Study) -> list[str]:
    """What a reader of the page should know of its making."""
    config = work.config
    words = {(cell.dataset, cell.concept, cell.anchor) for cell in work.cells}
    concepts = {(cell.dataset, cell.concept) for cell in work.cells}
    steps = ", ".join(f"{n} {t.training.steps}" for n, t in work.suite.tasks.items())
    made = provenance.provenance(config)
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"{len(concepts)} concepts of {', '.join(work.datasets)}; {len(words)} pairs of concept "
        f"and anchor, {len(work.cells)} words trained, {_kind(work.cells)}, seed {config.seed}.",
        f"Steps of a word's training: {steps}.",
        f"Descriptions that no fit may spell out: all of all concepts, "
        f"{len(data_loading.descriptions(work.datasets))} in all.",
        f"Times on {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads "
        f"of {made['machine']['cores']} cores, {memory:.0f} GB, on the "
        f"{torch_device(config.device).type}; torch {torch.__version__}.",
        f"Command: `{made['command']}`, {made['date'][:10]}.",
    ]
