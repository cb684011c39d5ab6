"""action=figures: all that the paper's figures need models for, then the figures and the report.

Works on those of the words that the config names which are trained, in every model of the study.
What it leaves is described in `word_tables` and `word_pictures`.

Shapes: N words, K vectors per word, D width of a model's embedding space.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor

from vwtransfer.analysis.word_pictures import Measuring, write_pictures, write_targets
from vwtransfer.analysis.word_tables import group_of, write_tables
from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.evaluation.evaluator import load_beside
from vwtransfer.evaluation.specs import NO_TRANSFER, EvalSpec, eval_specs
from vwtransfer.interrupts import deferred
from vwtransfer.models import Model
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build
from vwtransfer.progress import stages, stop_where_asked, terminal
from vwtransfer.report import write_report
from vwtransfer.report.figures import from_models
from vwtransfer.report.study_reader import read_study
from vwtransfer.study import Study, data_loading
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
    trained = [cell for cell in planned if cell in store]
    if not trained:
        raise UserError(
            f"action=figures: none of the {len(planned)} words of this config is trained in "
            f"{store.folder}. Train them with the same command without action=figures, or choose "
            "others with name, dataset, task, concept, anchor and delta."
        )
    suite = build(config, device)
    datasets = data_loading.opened(config)
    console = terminal()
    with deferred() as stopping, stages(console, config.progress) as bars:
        study = Study(config, suite, datasets, trained, store, bars, stopping)
        proceed = partial(stop_where_asked, stopping)
        for dataset in datasets.values():
            write_targets(config.folder, dataset)
        for model, groups in _words(study):
            with bars.stage(f"activations in {model.name}", len(groups)) as advance:
                for group, words_NKD in groups:
                    write_tables(config.folder, model, group, words_NKD)
                    advance(1)
                    proceed()
            task = study.tasks[model.task]
            words = [
                (spec, vectors_KD)
                for group, words_NKD in groups
                if data_loading.measures(task, datasets[group[0].dataset])
                for spec, vectors_KD in zip(group, words_NKD, strict=True)
            ]
            write_pictures(config.folder, Measuring(model, task, datasets), words, bars, proceed)
        todo = from_models(read_study(config.folder))
        with bars.stage("figures", len(todo)) as advance:
            for draw in todo:
                draw()
                advance(1)
                proceed()
    report = write_report(config.folder, full=config.report == "full")
    console.print(f"figures: {config.folder / 'figures'}; report: {report}", soft_wrap=True)


def _words(study: Study) -> Iterator[tuple[Model, Groups]]:
    """Each model with the words that are looked at in it."""
    trained_in = {cell.model for cell in study.cells}
    for name, model in study.suite.models.items():
        directions = study.config.direction
        sources = [s for s, target in directions if target == name and s in trained_in]
        found = sorted(
            eval_specs(study.cells, name, sources, list(study.methods), ()), key=group_of
        )
        groups: Groups = []
        for (dataset, source, method), own in groupby(
            found, key=attrgetter("dataset", "source_model", "transfer")
        ):
            fitted = None
            if method != NO_TRANSFER:
                fitted = study.fit(study.methods[method], study.datasets[dataset], source, name).map
            for _, members in groupby(own, key=group_of):
                group = list(members)
                space = study.suite.models[source].text
                words = [load_beside(study.store, spec.cell, space) for spec in group]
                words_NKD = torch.stack([word.vectors_KD for word in words])
                if fitted is not None:
                    words_NKD = fitted(words_NKD, [spec.anchor for spec in group]).cpu()
                groups.append((group, words_NKD))
        yield model, groups
