"""action=figures: all that the paper's figures need models for, then the figures and the report.

Works on those of the words that the config names which are trained, in every model of the study.
What it leaves is described in `word_tables` and `word_pictures`.

Shapes: N words, K vectors per word, D embedding width.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby

import torch
from rich.console import Console
from torch import Tensor

from vwtransfer.analysis.word_pictures import write_pictures, write_targets
from vwtransfer.analysis.word_tables import group_of, write_tables
from vwtransfer.config import Config
from vwtransfer.datasets import Dataset, descriptions_of
from vwtransfer.errors import UserError
from vwtransfer.evaluation.specs import EvalSpec, queries
from vwtransfer.interrupts import deferred
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.progress import stages
from vwtransfer.report import write_report
from vwtransfer.report.figures import from_models
from vwtransfer.report.study_reader import read_study
from vwtransfer.study import data_loading
from vwtransfer.tasks import Task
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore

Groups = list[tuple[list[EvalSpec], Tensor]]
"""Words of one dataset, delta and origin, with their vectors [N, K, D] in a model's space."""


def run(config: Config) -> None:
    """Makes what is not there yet; see the module's docstring.

    Raises:
        UserError: none of the words is trained, or input cannot be used.
        KeyboardInterrupt: Ctrl-C; what was made is kept.
    """
    device = torch_device(config.device)
    use_threads(config.threads)
    store = WordStore(config.folder / "words")
    planned = cells(config)
    if not any(cell in store for cell in planned):
        raise UserError(
            f"action=figures: none of the {len(planned)} words of this config is trained in "
            f"{store.folder}. Train them with the same command without action=figures, or choose "
            "others with name, dataset, task, concept, anchor and delta."
        )
    suite = build(config, device)
    datasets = data_loading.opened(config)
    console = Console()
    with deferred() as stopping, stages(console, config.progress) as bars:
        proceed = _stopper(stopping)
        for dataset in datasets.values():
            write_targets(config.folder, dataset)
        for task, groups in _words(config, suite, store, datasets):
            with bars.stage(f"activations in {task.name}", len(groups)) as advance:
                for group, vectors_NKD in groups:
                    write_tables(config.folder, task, suite.support, group, vectors_NKD)
                    advance(1)
                    proceed()
            words = [
                (query, vectors_KD)
                for group, vectors_NKD in groups
                if data_loading.measures(task, datasets[group[0].dataset])
                for query, vectors_KD in zip(group, vectors_NKD, strict=True)
            ]
            write_pictures(config.folder, datasets, task, words, bars, proceed)
        todo = from_models(read_study(config.folder))
        with bars.stage("figures", len(todo)) as advance:
            for draw in todo:
                draw()
                advance(1)
                proceed()
    report = write_report(config.folder)
    console.print(f"figures: {config.folder / 'figures'}; report: {report}", soft_wrap=True)


def _words(
    config: Config, suite: Suite, store: WordStore, datasets: Mapping[str, Dataset]
) -> Iterator[tuple[Task, Groups]]:
    """Each model with the words that are looked at in it."""
    trained = [cell for cell in cells(config) if cell in store]
    sources = {cell.task for cell in trained}
    method = build_part(config.transfer, "transfer")
    for name, task in suite.tasks.items():
        here = [s for s, target in config.direction if target == name and s in sources]
        found = sorted(queries(trained, name, here, method.name, baselines=()), key=group_of)
        groups = []
        for (dataset, source), own in groupby(found, key=lambda q: (q.dataset, q.trained_for)):
            if source in here:
                excluded = descriptions_of(datasets[dataset])
                carry = method.fit(suite.tasks[source].text, task.text, suite.support, excluded)
            for _, members in groupby(own, key=group_of):
                group = list(members)
                vectors_NKD = torch.stack([store.load(query.cell).vectors_KD for query in group])
                groups.append((group, carry(vectors_NKD) if source in here else vectors_NKD))
        yield task, groups


def _stopper(stopping: Callable[[], bool]) -> Callable[[], None]:
    def proceed() -> None:
        if stopping():
            raise KeyboardInterrupt("stopped. What was made is kept; the same command goes on.")

    return proceed
