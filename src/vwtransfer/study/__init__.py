"""action=run: trains words, transfers them, measures all of it, and draws what came out."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from rich.console import Console

from vwtransfer import results, tracking
from vwtransfer.analysis.word_pictures import write_targets
from vwtransfer.cluster.archive import restore
from vwtransfer.config import Config, provenance
from vwtransfer.config.identity import word_identity
from vwtransfer.datasets import Dataset, descriptions_of
from vwtransfer.errors import UserError
from vwtransfer.evaluation.diagnostics import Diagnostics, VocabularyStats
from vwtransfer.evaluation.evaluator import Evaluation, evaluate
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec, queries
from vwtransfer.files import write_json, write_text
from vwtransfer.interrupts import deferred
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.progress import Stages, stages
from vwtransfer.results.summary import WIDTH, print_summary, write_summary
from vwtransfer.study import data_loading
from vwtransfer.tasks import Objective
from vwtransfer.tracking import NullTracker, Tracker
from vwtransfer.training.joint import Joint
from vwtransfer.training.trainer import Job, train
from vwtransfer.transfer import Map
from vwtransfer.words.cells import Cell, cells
from vwtransfer.words.store import Failure, WordStore


@dataclass(frozen=True)
class Study:
    """All that a run works with."""

    config: Config
    suite: Suite
    datasets: Mapping[str, Dataset]
    cells: Sequence[Cell]
    store: WordStore
    bars: Stages
    stopping: Callable[[], bool]
    tracker: Tracker = field(default_factory=NullTracker)

    @cached_property
    def causes(self) -> dict[str, dict[str, Diagnostics]]:
        """Dataset -> task -> what may explain that its words are lost on the way."""
        tasks, support = self.suite.tasks, self.suite.support
        around = {name: VocabularyStats(task, support) for name, task in tasks.items()}
        return {
            dataset.name: {name: Diagnostics(around[name], self.store, dataset) for name in tasks}
            for dataset in self.datasets.values()
        }


def run(config: Config) -> None:
    """Does what the config says, or what of it is not yet done.

    Raises:
        UserError: input that cannot be used; see the message.
        KeyboardInterrupt: Ctrl-C; the message says what was saved.
    """
    device = torch_device(config.device)
    provenance.save(config)
    use_threads(config.threads)
    suite = build(config, device)
    suite.check_anchors(cells(config))
    datasets = data_loading.opened(config)
    console = _console()
    if line := restore(config):
        console.print(line, highlight=False, soft_wrap=True)
    for line in data_loading.left_out(suite.tasks, datasets):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    todo = [
        cell
        for cell in cells(config)
        if data_loading.trains(suite.tasks[cell.task], datasets[cell.dataset])
    ]
    store = WordStore(config.folder / "words")
    with tracking.opened(config, todo, store) as tracker:
        with deferred() as stopping, stages(console, config.progress) as bars:
            study = Study(config, suite, datasets, todo, store, bars, stopping, tracker)
            try:
                train_words(study)
                measure_words(study, measured(config.folder), config.folder)
                if config.evaluation.keep_images:
                    for dataset in datasets.values():
                        write_targets(config.folder, dataset)
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt(_saved(study)) from interrupt
        _conclude(study, console)
    if tracker.outcome:
        console.print(tracker.outcome, highlight=False, soft_wrap=True)


def _console() -> Console:
    """The terminal; a file or a pipe is given the width that tables need."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def train_words(study: Study) -> None:
    """Trains the words of the study that are not there yet."""
    for dataset in study.datasets.values():
        for name, task in study.suite.tasks.items():
            mine = [c for c in study.cells if (c.dataset, c.task) == (dataset.name, name)]
            waiting = [c for c in mine if c not in study.store and not study.store.failure(c)]
            if not waiting:
                continue
            job = Job(
                task=_lesson(study, name, dataset),
                dataset=dataset,
                cells=mine,
                support_SD=study.suite.support_rows(name),
                settings=study.config.trainer,
                store=study.store,
                folder=study.config.folder / "checkpoints",
                config_of=lambda cell: word_identity(study.config, cell),
                tracker=study.tracker,
            )
            title = f"train {name} ({dataset.name})"
            with study.bars.stage(title, len(waiting) * task.training.steps) as advance:
                train(job, advance, study.stopping)


def _lesson(study: Study, name: str, dataset: Dataset) -> Objective:
    """What words of a task are trained for: the task alone, unless another model is to see them.

    Raises:
        UserError: the other model cannot be trained in on this dataset, or there is no map to it.
    """
    task, other = study.suite.tasks[name], study.config.trainer.jointly_with
    if other is None or other == name:
        return task
    if not data_loading.trains(study.suite.tasks[other], dataset):
        raise UserError(
            f"trainer.jointly_with={other}: {dataset.name} lacks something that training for it "
            "needs; see vwtransfer action=check."
        )
    return Joint(task, study.suite.tasks[other], _map(study, dataset, name, other))


def measure_words(
    study: Study,
    done: Container[EvalSpec],
    parts: Path,
    mine: Callable[[EvalSpec], bool] = lambda query: True,
) -> None:
    """Measures the words of the study, and the baselines beside them.

    Args:
        study: whose words.
        done: what has rows already.
        parts: the folder whose results/ takes the rows.
        mine: which of the rows this process is to measure.
    """
    config = study.config
    method = config.transfer["name"]
    for name, task in study.suite.tasks.items():
        sources = [source for source, target in config.direction if target == name]
        if not sources and name not in config.task:
            continue
        for dataset in study.datasets.values():
            if not data_loading.measures(task, dataset):
                continue
            of_dataset = [c for c in study.cells if c.dataset == dataset.name]
            found = queries(of_dataset, name, sources, method, config.evaluation.baselines)
            waiting = [q for q in found if mine(q) and q not in done and _can_be_measured(study, q)]
            if not waiting:
                continue
            evaluation = Evaluation(
                experiment=config.name,
                task=task,
                dataset=dataset,
                store=study.store,
                maps={
                    source: _map(study, dataset, source, name)
                    for source in sources
                    if any(query.trained_for == source for query in waiting)
                },
                vectors=config.trainer.vectors,
                folder=config.folder,
                parts=parts,
                keep_images=config.evaluation.keep_images,
                tracker=study.tracker,
                causes=study.causes[dataset.name],
            )
            with study.bars.stage(f"evaluate {name} ({dataset.name})", len(waiting)) as advance:
                evaluate(evaluation, waiting, advance, study.stopping)


def _can_be_measured(study: Study, query: EvalSpec) -> bool:
    """A word that failed has nothing to measure."""
    return query.trained_for not in study.suite.tasks or query.cell in study.store


def measured(folder: Path) -> set[EvalSpec]:
    """What has rows under a run's folder already."""
    if not any((folder / "results").glob("*.parquet")):
        return set()
    frame = results.read(folder).dropna(subset=["value"])
    columns = list(EvalSpec.__dataclass_fields__)
    return {EvalSpec(*row) for row in frame[columns].itertuples(index=False)}


def _map(study: Study, dataset: Dataset, source: str, target: str) -> Map:
    """The transfer of a dataset's words from one task's model into another's.

    Its fit knows of no other dataset of the study, so that a word is carried the same whichever
    others are there; it is reported in transfer/.
    """
    folder = study.config.folder / "transfer"
    method = build_part(study.config.transfer, "transfer")
    tasks = study.suite.tasks
    excluded = descriptions_of(dataset)
    fitted: Map = method.fit(tasks[source].text, tasks[target].text, study.suite.support, excluded)
    path = folder / f"{method.name}-{source}_to_{target}-{dataset.name}.json"
    write_json(path, dict(fitted.report))
    return fitted


def _saved(study: Study) -> str:
    """What stands after Ctrl-C, and how to go on."""
    finished = sum(cell in study.store for cell in study.cells)
    return (
        f"stopped; {finished} of {len(study.cells)} words are finished and everything measured is "
        f"saved under {study.config.folder}. The same command goes on from there."
    )


def _conclude(study: Study, console: Console) -> None:
    """Results in one table, pictures, and the summary a person reads first."""
    folder = study.config.folder
    failures = [failure for cell in study.cells if (failure := study.store.failure(cell))]
    remarks = [
        *data_loading.left_out(study.suite.tasks, study.datasets),
        *data_loading.shortages(study.datasets),
    ]
    if not failures and not any((folder / "results").glob("*.parquet")):
        write_text(folder / "summary.txt", "\n".join(["nothing was measured", *remarks]) + "\n")
        console.print(f"nothing was measured; words: {folder / 'words'}", soft_wrap=True)
        study.tracker.conclude(None)
        return
    frame = results.finish(folder, _without_value(study, failures))
    study.tracker.conclude(frame)
    write_summary(frame, folder / "summary.txt", study.cells, remarks)
    print_summary(frame, console, study.cells, remarks)
    _write_report(folder, console)
    _report_failures(study, failures, console)
    console.print(f"results, words and figures: {folder}", soft_wrap=True)


def _write_report(folder: Path, console: Console) -> None:
    """Figures and the report; a fault in drawing them loses no result."""
    from vwtransfer.report import write_report  # its libraries take seconds that no job needs

    try:
        console.print(f"report: {write_report(folder)}", soft_wrap=True)
    except Exception as error:
        console.print(
            f"[red]the report could not be written[/red] ({type(error).__name__}: {error}); all "
            f"results are saved. To try again: vwtransfer action=report name={folder.name} "
            f"outputs={folder.parent}",
            soft_wrap=True,
        )


def _without_value(study: Study, failures: Sequence[Failure]) -> list[results.Record]:
    """The rows of words that failed: what would have been measured, without a value."""
    records = []
    for cell in (failure.cell for failure in failures):
        targets = [target for source, target in study.config.direction if source == cell.task]
        for name in (cell.task, *targets):
            method = NO_TRANSFER if name == cell.task else study.config.transfer["name"]
            query = EvalSpec.of_word(cell, name, method)
            for metric in study.suite.tasks[name].metrics:
                row = results.Record(
                    study.config.name,
                    **asdict(query),
                    metric=metric,
                    value=math.nan,
                    examples=0,
                    seconds=math.nan,
                )
                records.append(row)
    return records


def _report_failures(study: Study, failures: Sequence[Failure], console: Console) -> None:
    path = study.config.folder / "failures.csv"
    if not failures:
        path.unlink(missing_ok=True)
        return
    lines = [f"{f.cell.key},{f.step},{f.reason}" for f in failures]
    write_text(path, "\n".join(["word,step,reason", *lines]) + "\n")
    first = failures[0]
    console.print(
        f"[red]{len(failures)} of {len(study.cells)} words failed[/red], such as {first.cell.key} "
        f"at step {first.step}: {first.reason}. All are in {path}; to try them again, delete "
        f"{study.config.folder / 'words'}/**/*.failed.json and run the same command.",
        soft_wrap=True,
    )
