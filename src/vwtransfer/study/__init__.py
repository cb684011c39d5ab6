"""Trains the words of a study and measures them; `action=run` and a cluster's job both call it."""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from vwtransfer import results
from vwtransfer.config import Config
from vwtransfer.datasets import Dataset, left_out_of
from vwtransfer.errors import UserError
from vwtransfer.evaluation.diagnostics import Diagnostics, VocabularyStats
from vwtransfer.evaluation.evaluator import Evaluation, FittedMap, evaluate
from vwtransfer.evaluation.specs import (
    CHANCE,
    NO_TRANSFER,
    WORD,
    EvalSpec,
    eval_specs,
    specs_of,
)
from vwtransfer.files import read_json, write_json
from vwtransfer.models import Model, Objective
from vwtransfer.models.suite import Suite, build_part, cache_of
from vwtransfer.models.support import support_of
from vwtransfer.progress import Stages
from vwtransfer.study import data_loading
from vwtransfer.study.callbacks import Callbacks
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.tasks import Task, measurable
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.training.joint import Joint
from vwtransfer.training.trainer import Job, train
from vwtransfer.transfer import Transfer
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

SLOWEST = "generation"  # a word of which takes longer than many of the others
LEFT_OUT = {
    "description": "descriptions",
    "strict": "descriptions or two attributes of one",
    "related": "any attribute of a concept",
}
"""`transfer.exclude` -> what supports lack, as rows say it."""


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
    tracker: Callbacks = field(default_factory=Callbacks)

    @cached_property
    def tasks(self) -> Mapping[str, Task]:
        """What is measured in the models of each task."""
        return tasks_of(self.config, self.suite)

    @cached_property
    def diagnostics(self) -> dict[str, dict[str, Diagnostics]]:
        """Dataset -> model -> what may explain that its words are lost on the way."""
        models = self.suite.models
        around = {name: VocabularyStats(model) for name, model in models.items()}
        return {
            dataset.name: {
                name: Diagnostics(around[name], self.store, dataset, self.readings)
                for name in models
            }
            for dataset in self.datasets.values()
        }

    @cached_property
    def methods(self) -> Mapping[str, Transfer]:
        """What maps words from model to model, by name."""
        nodes = self.config.transfer.methods.items()
        return {name: build_part(node, "transfer", readings=self.readings) for name, node in nodes}

    @cached_property
    def readings(self) -> KeptReadings:
        """What its models read of calibration prompts."""
        stage = partial(self.bars.stage, stopping=self.stopping)
        return KeptReadings(cache_of(self.config), stage)

    def fit(self, method: Transfer, dataset: Dataset, source: str, target: str) -> FittedMap:
        """The map of a dataset's words from one model into another.

        Its fit knows of no other dataset of the study and of no other model, so that a word is
        mapped the same whichever others are there. What the fit says of itself is written into
        transfer/, with its support and the seconds it took.

        Raises:
            UserError: it learns from words, and learned from others when this study was begun.
        """
        here, there = self.suite.models[source].text, self.suite.models[target].text
        exclude = self.config.transfer.exclude
        excluded = left_out_of(dataset, exclude)
        support = support_of(here, there)
        if excluded:
            support = support.without(excluded, LEFT_OUT[exclude])
        began = time.perf_counter()
        fitted = method.fit(here, there, support, excluded)
        seconds = time.perf_counter() - began
        path = fit_report(self.config.folder, method.name, source, target, dataset.name)
        before = read_json(path).get("words_digest") if path.exists() else None
        if before not in (None, fitted.report.get("words_digest")):
            raise UserError(
                f"{path}: when this study was begun, {method.name} learned from other words than "
                "lie in its folder now. Put these back, or choose another name: name=..."
            )
        if not path.exists():  # the second time a method may read what it kept
            about = {"support": str(support), "fit_seconds": seconds}
            write_json(path, {**fitted.report, **about})
        return FittedMap(fitted, str(support), here)


def fit_report(folder: Path, method: str, source: str, target: str, dataset: str) -> Path:
    """Where a study's folder tells of a fit: of a method, a direction and a dataset."""
    return folder / "transfer" / f"{method}-{source}_to_{target}-{dataset}.json"


def train_words(
    study: Study, on_trained: Callable[[Dataset, Model], None] = lambda dataset, model: None
) -> None:
    """Trains the words of the study that are not there yet, those of generators last.

    Args:
        study: whose words.
        on_trained: told each time that a model's words of a dataset were trained.
    """
    in_order = sorted(study.suite.models.items(), key=lambda named: named[1].task == SLOWEST)
    for dataset in study.datasets.values():
        for name, model in in_order:
            mine = [c for c in study.cells if (c.dataset, c.model) == (dataset.name, name)]
            waiting = [c for c in mine if c not in study.store and not study.store.failure(c)]
            if not waiting:
                continue
            job = Job(
                model=_objective(study, name, dataset),
                dataset=dataset,
                cells=mine,
                settings=study.config.trainer,
                store=study.store,
                folder=study.config.folder / "checkpoints",
                fingerprint=Fingerprints(study.config),
                on_step=study.tracker.step,
                on_settled=study.tracker.settled,
            )
            title = f"train {name} ({dataset.name})"
            with study.bars.stage(title, len(waiting) * model.training.steps) as advance:
                train(job, advance, study.stopping)
            on_trained(dataset, model)


def _objective(study: Study, name: str, dataset: Dataset) -> Objective:
    """What words of a model are trained for: it alone, unless another model is to see them.

    Raises:
        UserError: the other model cannot be trained in on this dataset, or there is no map to it.
    """
    model, other = study.suite.models[name], study.config.trainer.joint_model
    if other is None or other == name:
        return model
    if not data_loading.trains(study.suite.models[other], dataset):
        raise UserError(
            f"trainer.joint_model={other}: {dataset.name} lacks something that training in it "
            "needs; see vwtransfer action=check."
        )
    method = study.methods[study.config.transfer.name]
    mapped = study.fit(method, dataset, name, other).map
    return Joint(model, study.suite.models[other], mapped)


def measure_words(
    study: Study,
    done: Container[EvalSpec],
    parts: Path,
    mine: Callable[[EvalSpec], bool] = lambda spec: True,
) -> None:
    """Measures the words of the study, and the baselines beside them.

    Args:
        study: whose words.
        done: what has rows already.
        parts: the folder whose results/ takes the rows.
        mine: which of the rows this process is to measure.
    """
    config = study.config
    methods = study.methods
    for name, model in study.suite.models.items():
        task = study.tasks[model.task]
        sources = [source for source, target in config.direction if target == name]
        if not sources and name not in config.trained:
            continue
        for dataset in study.datasets.values():
            if not data_loading.measures(task, dataset):
                continue
            of_dataset = [c for c in study.cells if c.dataset == dataset.name]
            found = eval_specs(
                of_dataset,
                name,
                sources,
                list(config.transfer.methods),
                config.evaluation.baselines,
            )
            known = set(measurable(task, dataset)) & set(task.chance(len(dataset.concepts)))
            waiting = [
                spec
                for spec in found
                if mine(spec)
                and spec not in done
                and (spec.kind != WORD or spec.cell in study.store)  # of a failed one nothing is
                and (known or spec.kind != CHANCE)
            ]
            if not waiting:
                continue
            mapped = {(s.source_model, s.transfer) for s in waiting if s.transfer != NO_TRANSFER}
            maps = {
                (source, method): study.fit(methods[method], dataset, source, name)
                for source, method in sorted(mapped)
            }
            evaluation = evaluation_of(study, name, dataset, maps, parts)
            with study.bars.stage(f"evaluate {name} ({dataset.name})", len(waiting)) as advance:
                evaluate(evaluation, waiting, advance, study.stopping)


def evaluation_of(
    study: Study,
    name: str,
    dataset: Dataset,
    maps: Mapping[tuple[str, str], FittedMap],
    parts: Path | None = None,
    store: WordStore | None = None,
) -> Evaluation:
    """What measures words of a dataset in one of the study's models."""
    model = study.suite.models[name]
    return Evaluation(
        experiment=study.config.name,
        model=model,
        task=study.tasks[model.task],
        dataset=dataset,
        store=store or study.store,
        source_tasks={each: other.task for each, other in study.suite.models.items()},
        maps=maps,
        num_vectors=study.config.trainer.num_vectors,
        folder=study.config.folder,
        save_images=study.config.evaluation.save_images,
        parts=parts,
        diagnostics=study.diagnostics[dataset.name],
        on_measured=study.tracker.measured,
    )


def measured(folder: Path) -> set[EvalSpec]:
    """What has rows under a run's folder already."""
    if not any((folder / "results").glob("*.parquet")):
        return set()
    return set(specs_of(results.read(folder).dropna(subset=["value"])))
