"""action=run: trains words, transfers them, measures all of it, and draws what came out."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from vwtransfer import results, tracking
from vwtransfer.actions.first_word import FirstWord
from vwtransfer.analysis.word_pictures import write_targets
from vwtransfer.cluster.archive import restore
from vwtransfer.config import Config, provenance
from vwtransfer.errors import UserError
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec
from vwtransfer.files import write_text
from vwtransfer.interrupts import deferred
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build
from vwtransfer.progress import stages, terminal
from vwtransfer.results.summary import WIDTH, print_summary, write_summary
from vwtransfer.study import Study, data_loading, measure_words, measured, train_words
from vwtransfer.study.early_checks import check_fidelity_prompts, check_folder_anchors
from vwtransfer.tasks import measurable
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.words.cells import cells
from vwtransfer.words.store import Failure, WordStore


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
    tasks = tasks_of(config, suite)
    console = terminal(WIDTH)
    if line := restore(config):
        console.print(line, highlight=False, soft_wrap=True)
    _print_left_out(
        [
            *data_loading.left_out(suite.models, tasks, datasets),
            *data_loading.left_out_images(datasets),
        ],
        console,
    )
    todo = [
        cell
        for cell in cells(config)
        if data_loading.trains(suite.models[cell.model], datasets[cell.dataset])
    ]
    check_folder_anchors(config, suite.models, todo)
    check_fidelity_prompts(config, suite.models)
    store = WordStore(config.folder / "words")
    with tracking.opened(config, todo, store) as tracker:
        with deferred() as stopping, stages(console, config.progress) as bars:
            study = Study(config, suite, datasets, todo, store, bars, stopping, tracker)
            try:
                train_words(study, FirstWord(study, console))
                measure_words(study, measured(config.folder), config.folder)
                if config.evaluation.save_images:
                    for dataset in datasets.values():
                        write_targets(config.folder, dataset)
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt(_saved(study)) from interrupt
        complaint = _conclude(study, console)
    if tracker.outcome:
        console.print(tracker.outcome, highlight=False, soft_wrap=True)
    if complaint:
        raise UserError(complaint)


def _print_left_out(found: Sequence[data_loading.LeftOut], console: Console) -> None:
    """All that the study does without, in one table."""
    table = Table("dataset", "left out", "why", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for each in found:
        table.add_row(each.dataset, each.what, each.why)
    if found:
        console.print(table, style="yellow")


def _saved(study: Study) -> str:
    """What stands after Ctrl-C, and how to go on."""
    finished = sum(cell in study.store for cell in study.cells)
    return (
        f"stopped; {finished} of {len(study.cells)} words are finished and everything measured is "
        f"saved under {study.config.folder}. The same command goes on from there."
    )


def _conclude(study: Study, console: Console) -> str:
    """Results in one table, pictures, and the summary a person reads first.

    Returns:
        What kept the report from being written; empty where nothing did.
    """
    folder = study.config.folder
    failures = [failure for cell in study.cells if (failure := study.store.failure(cell))]
    remarks = [
        *map(str, data_loading.left_out(study.suite.models, study.tasks, study.datasets)),
        *data_loading.shortages(study.datasets),
    ]
    if not failures and not any((folder / "results").glob("*.parquet")):
        write_text(folder / "summary.txt", "\n".join(["nothing was measured", *remarks]) + "\n")
        console.print(f"nothing was measured; words: {folder / 'words'}", soft_wrap=True)
        study.tracker.conclude(None)
        return ""
    frame = results.finish(folder, _without_value(study, failures))
    study.tracker.conclude(frame)
    write_summary(frame, folder / "summary.txt", study.cells, remarks)
    print_summary(frame, console, study.cells)
    complaint = _write_report(study.config, console) if study.config.report else ""
    _report_failures(study, failures, console)
    console.print(f"results, words and figures: {folder}", soft_wrap=True)
    return complaint


def _write_report(config: Config, console: Console) -> str:
    """Figures and the report; a fault in drawing them loses no result, and is returned."""
    from vwtransfer.report import write_report  # its libraries take seconds that no job needs

    try:
        path = write_report(config.folder, full=config.report == "full")
        console.print(f"report: {path}", soft_wrap=True)
        return ""
    except Exception as error:
        return (
            f"the report could not be written ({type(error).__name__}: {error}); all results are "
            f"saved. To try again: {config.command} action=report"
        )


def _without_value(study: Study, failures: Sequence[Failure]) -> list[results.Record]:
    """The rows of words that failed: what would have been measured, without a value."""
    records = []
    models = study.suite.models
    for cell in (failure.cell for failure in failures):
        targets = [target for source, target in study.config.direction if source == cell.model]
        methods = study.config.transfer.methods
        mapped = [(target, method) for target in targets for method in methods]
        for name, method in ((cell.model, NO_TRANSFER), *mapped):
            spec = EvalSpec.of_word(cell, name, method)
            task = study.tasks[models[name].task]
            for metric in measurable(task, study.datasets[cell.dataset]):
                row = results.Record(
                    experiment=study.config.name,
                    **asdict(spec),
                    source_task=models[cell.model].task,
                    target_task=models[name].task,
                    metric=metric,
                    value=math.nan,
                    num_images=0,
                    eval_seconds=math.nan,
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
        f"{len(failures)} of {len(study.cells)} words failed, such as {first.cell.key} "
        f"at step {first.step}: {first.reason}. All are in {path}. To try them again: find "
        f"{shlex.quote(str(study.config.folder / 'words'))} -name '*.failed.json' -delete, and "
        "run the same command.",
        style="red",
        soft_wrap=True,
    )
