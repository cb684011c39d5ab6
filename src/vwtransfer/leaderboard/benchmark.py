"""action=benchmark: every transfer method maps the same words, and a table ranks them.

Words are trained, or taken from the study at `benchmark.words`; each method is fitted for each
direction and dataset and maps every word into the other models; all of it is measured beside the
words trained there and the anchors; `leaderboard.md` and its figure are written into the study's
folder, and to `benchmark.page` where that is given. What is done is not done again.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from rich.console import Console

from vwtransfer import results
from vwtransfer.config import Config, provenance
from vwtransfer.config.models import Node
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.evaluation.evaluator import Evaluation, FittedMap, evaluate
from vwtransfer.evaluation.specs import EvalSpec, eval_specs
from vwtransfer.files import write_atomically, write_text
from vwtransfer.interrupts import deferred
from vwtransfer.leaderboard.cheapest import CHEAPEST, Cheapest, Mapped, Typed
from vwtransfer.leaderboard.density import draw_density
from vwtransfer.leaderboard.figure import draw
from vwtransfer.leaderboard.mapping import Direction, map_words, times, unmapped, words_of
from vwtransfer.leaderboard.notes import kind_of_words, notes
from vwtransfer.leaderboard.page import REFERENCE, Board, markdown
from vwtransfer.leaderboard.splits import cells_of_split
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build, build_part
from vwtransfer.progress import stages, terminal
from vwtransfer.results.statistics import BY_IMAGES, HEADLINE, UNCONSTRAINED, retention
from vwtransfer.study import Study, data_loading, evaluation_of, measured, train_words
from vwtransfer.tasks import Task
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.transfer import Transfer
from vwtransfer.words.cells import Cell, delta_text
from vwtransfer.words.store import WordStore

PAGE = "leaderboard.md"
_SPLITS = {"dev": "dev split", "test": "test split", "all": "all concepts"}


def run(config: Config) -> None:
    """Does what is not yet done of the benchmark, and writes the leaderboard.

    Raises:
        UserError: no method or no direction is chosen, no word is there, or see `actions.run`.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    _check(config)
    cells = cells_of_split(config)
    provenance.save(config)
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    suite.check_anchors(cells)
    store = WordStore((config.benchmark.words or config.folder) / "words")
    console = terminal()
    datasets = data_loading.opened(config)
    lacking = [
        str(e) for e in data_loading.left_out(suite.models, tasks_of(config, suite), datasets)
    ]
    for line in [*lacking, *data_loading.shortages(datasets)]:
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    cells = [c for c in cells if data_loading.trains(suite.models[c.model], datasets[c.dataset])]
    with deferred() as stopping, stages(console, config.progress) as bars:
        study = Study(config, suite, datasets, cells, store, bars, stopping)
        try:
            if config.benchmark.words is None:
                train_words(study)
            study = replace(study, cells=_comparable(study))
            missing = _missing(cells, study.cells, store)
            for line in missing:
                console.print(line, style="yellow", highlight=False, soft_wrap=True)
            for node in config.benchmark.methods.values():
                _map(study, node)
            _measure(study)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                f"stopped; everything finished is kept under {config.folder}. The same command "
                "goes on from there."
            ) from interrupt
    _conclude(study, [*lacking, *missing], console)


def _check(config: Config) -> None:
    """Refuses a config that makes no leaderboard."""
    for taken in set(CHEAPEST).intersection(config.benchmark.methods):
        raise UserError(
            f"benchmark.methods.{taken}: every leaderboard has this row; choose a name."
        )
    if REFERENCE not in config.benchmark.methods:
        raise UserError(
            f"benchmark.methods: {REFERENCE} is missing, to which the others are compared."
        )
    if not config.direction:
        raise UserError("direction: none is chosen; choose with direction=all.")
    for source, target in config.direction:
        if target not in config.trained:
            task = config.model.task_of(target)
            raise UserError(
                f"direction: {source} to {target}: no word is trained in {target} to compare with. "
                f"Add it with task=[{','.join([*config.task, task])}]."
            )
    deltas = sorted({delta for product in config.products for delta in product.deltas})
    if len(deltas) > 1:
        raise UserError(
            f"delta={[delta_text(delta) for delta in deltas]}: a leaderboard is of words of one "
            "delta. Choose one, and a name=... for each."
        )


def _comparable(study: Study) -> list[Cell]:
    """The cells whose words are there in every model of a direction that their dataset trains.

    Raises:
        UserError: there are none.
    """
    names = {name for direction in study.config.direction for name in direction}
    trained = {
        name: [
            each for each in sorted(names) if data_loading.trains(study.suite.models[each], dataset)
        ]
        for name, dataset in study.datasets.items()
    }
    found = [
        cell
        for cell in study.cells
        if cell.model in names
        and all(replace(cell, model=name) in study.store for name in trained[cell.dataset])
    ]
    if not found:
        raise UserError(
            f"no {kind_of_words(study.cells[0].delta)} word of the {study.config.benchmark.split} "
            f"split lies under {study.store.folder} for each of {', '.join(sorted(names))}."
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
        absent = Counter(cell.model for cell in mine if cell not in store)
        each = ", ".join(f"{count} of {model}" for model, count in sorted(absent.items()))
        lines.append(
            f"{dataset}: {len(pairs - whole)} of {len(pairs)} pairs of concept and anchor are left "
            f"out, as words are missing: {each}."
        )
    return lines


def _pairs(study: Study) -> list[tuple[Direction, Dataset]]:
    """Every direction and dataset in which words are mapped: its target measures the dataset."""
    return [
        (direction, dataset)
        for direction in (Direction(s, t, study.config.folder) for s, t in study.config.direction)
        for dataset in study.datasets.values()
        if words_of(study.cells, direction, dataset.name)
        and _measures(study, direction.target, dataset)
    ]


def _measures(study: Study, model: str, dataset: Dataset) -> bool:
    return data_loading.measures(study.tasks[study.suite.models[model].task], dataset)


def _map(study: Study, node: Node) -> None:
    waiting = [(pair, unmapped(study, node["name"], *pair)) for pair in _pairs(study)]
    waiting = [(pair, cells) for pair, cells in waiting if cells]
    if not waiting:
        return
    method: Transfer = build_part(node, f"benchmark.methods.{node['name']}")
    total = sum(len(cells) for _, cells in waiting)
    with study.bars.stage(f"map by {method.name}", total) as advance:
        for (direction, dataset), cells in waiting:
            map_words(study, method, direction, dataset, cells, advance)


def _measure(study: Study) -> None:
    """Measures what has no rows yet, of one target and dataset after the other."""
    done = measured(study.config.folder)
    for name in dict.fromkeys(target for _, target in study.config.direction):
        model = study.suite.models[name]
        for dataset in study.datasets.values():
            if not _measures(study, name, dataset):
                continue
            todo = list(_evaluations(study, name, dataset, done))
            if total := sum(len(waiting) for _, waiting in todo):
                held_out = study.tasks[model.task].held_out(model, dataset)
                with study.bars.stage(f"evaluate {name} ({dataset.name})", total) as advance:
                    for evaluation, waiting in todo:
                        evaluate(evaluation, sorted(waiting), advance, study.stopping, held_out)


def _evaluations(
    study: Study, target: str, dataset: Dataset, done: Set[EvalSpec]
) -> Iterator[tuple[Evaluation, Set[EvalSpec]]]:
    """What is left to measure of a dataset in a model: own words, baselines, then each method's."""
    mine = [cell for cell in study.cells if cell.dataset == dataset.name]
    own = eval_specs(mine, target, [], [], study.config.evaluation.baselines)
    yield evaluation_of(study, target, dataset, maps={}), set(own) - done
    for direction, of_pair in _pairs(study):
        if (direction.target, of_pair.name) != (target, dataset.name):
            continue
        cells = words_of(mine, direction, dataset.name)
        for method in study.config.benchmark.methods:
            space = study.suite.models[target].text
            mapped = direction.as_mapped(method, dataset.name, space)
            store = direction.store(method)
            maps = {(direction.source, method): mapped}
            evaluation = evaluation_of(study, target, dataset, maps, store=store)
            yield evaluation, {EvalSpec.of_word(cell, target, method) for cell in cells} - done
        for name in CHEAPEST:
            waiting = {EvalSpec.of_word(cell, target, name) for cell in cells} - done
            fitted = _cheapest(study, name, direction, dataset) if waiting else None
            if fitted is not None:
                maps = {(direction.source, name): fitted}
                yield evaluation_of(study, target, dataset, maps), waiting


def _cheapest(study: Study, name: str, direction: Direction, dataset: Dataset) -> FittedMap | None:
    """What stands for the prompts of words; None where the target cannot read it."""
    count, concepts = study.config.benchmark.calibration_prompts, list(dataset.concepts.values())
    explanation = Cheapest(name, count, concepts, study.readings)
    if not explanation.measures(study.suite.models[direction.target].text):
        return None
    fitted = study.fit(explanation, dataset, direction.source, direction.target)
    assert isinstance(fitted.map, Typed | Mapped)
    return replace(fitted, prompts=fitted.map.prompts)


def _conclude(study: Study, left_out: Sequence[str], console: Console) -> None:
    config, delta = study.config, study.cells[0].delta
    metrics = headline_metrics(study.tasks)
    frame = board_rows(results.finish(config.folder), study.cells, metrics)
    methods = list(config.benchmark.methods)
    pairs = [(direction, dataset.name) for direction, dataset in _pairs(study)]
    estimates = {method: retention(frame, method, delta) for method in (*methods, *CHEAPEST)}
    board = Board(
        estimates=estimates,
        seconds={method: times(method, pairs, study.cells) for method in methods},
        frame=frame,
        tasks={name: config.model.task_of(name) for name in config.trained},
        title=f"{_SPLITS[config.benchmark.split]} of {', '.join(study.datasets)}; "
        f"{config.model.name} models"
        + (f", {kind_of_words(delta)}" if delta != UNCONSTRAINED else ""),
        notes=[*notes(study, frame), *left_out],
        delta=delta,
    )
    pictures = draw(board, (config.folder / PAGE).with_suffix(""))
    for page in dict.fromkeys(p for p in (config.folder / PAGE, config.benchmark.page) if p):
        for picture in pictures:
            copy = page.with_suffix(picture.suffix)
            if copy != picture:
                write_atomically(copy, partial(shutil.copyfile, picture))
        write_text(page, markdown(board, f"{page.stem}.png"))
    if config.benchmark.density is not None:
        draw_density(config.benchmark.density, config.folder / "density", delta)
    for method in board.ranked:
        console.print(f"{method:24} keeps {board.overall(method)}", highlight=False)
    console.print(f"leaderboard: {config.folder / PAGE}", soft_wrap=True)


def headline_metrics(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Task -> the metric that retention is measured in; of a user's own task its first."""
    return {name: task.metrics[0] for name, task in tasks.items()} | HEADLINE


def board_rows(
    frame: pd.DataFrame, cells: Sequence[Cell], metrics: Mapping[str, str]
) -> pd.DataFrame:
    """The results that the board is of.

    Args:
        frame: of the study; it may hold concepts of the other split, too.
        cells: whose concepts count.
        metrics: task -> the metric that counts; beside it those of BY_IMAGES do.
    """
    asked = {(cell.dataset, cell.concept) for cell in cells}
    of_split = [pair in asked for pair in zip(frame.dataset, frame.concept, strict=True)]
    counts = [frame["metric"] == frame["target_task"].map(each) for each in (metrics, BY_IMAGES)]
    return frame[np.array(of_split) & (counts[0] | counts[1])]
