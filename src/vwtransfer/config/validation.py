"""The door: a composed config is refused in one line, or becomes a `Config`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from vwtransfer.config import (
    SCHEMAS,
    BenchmarkConfig,
    CacheConfig,
    ClusterConfig,
    Config,
    Count,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
    Node,
    StatusConfig,
    SubmitConfig,
    TrainerConfig,
    Training,
    WandbConfig,
    WordFormat,
    selection,
)
from vwtransfer.config.schema import Bounds, build, convert
from vwtransfer.datasets.config import SCHEMAS as DATASETS
from vwtransfer.errors import UserError, nearest

_KEYS = (
    *("action", "name", "outputs", "kept", "seed", "device", "threads", "progress", "debug"),
    *("task", "direction", "concept", "anchor", "delta", "extra"),
    *("dataset", "model", "trainer", "evaluation", "transfer", "benchmark", "wandb"),
    *("word", "images", "format", "cache"),
    *("cluster", "submit", "status"),
)
_SUITE = ("name", "support", "judge", "safety")  # what a suite of models has beside its tasks
_FILE_SAFE = re.compile(r"\w[\w.+-]*")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def validated(composed: DictConfig) -> Config:
    """The typed config of a composed one.

    Raises:
        UserError: names the first key that is unknown or missing, has the wrong type, or asks for
            something impossible, with its value and the nearest valid ones.
    """
    values = _plain(composed)
    for key in values:
        if key not in _KEYS:
            raise UserError(f"{key}: unknown key. {nearest(key, _KEYS)}")
    for key in _KEYS:
        if key not in values:
            raise UserError(f"{key}: is missing.")
    model = _model(values["model"])
    datasets = _datasets(values["dataset"])
    tasks = selection.tasks(values["task"], list(model.tasks))
    directions = selection.directions(values["direction"], tasks, list(model.tasks))
    if model.judge is None and "generation" in (*tasks, *(target for _, target in directions)):
        raise UserError(
            "model.judge=null: generations cannot be measured without a judge. "
            "Choose one with model/judge=NAME, or leave generation out of task and direction."
        )
    return Config(
        action=convert(str, values["action"], "action"),
        name=_file_safe(values["name"], "name"),
        outputs=convert(Path, values["outputs"], "outputs"),
        kept=convert(Path, values["kept"], "kept"),
        seed=convert(Annotated[int, Bounds(least=0)], values["seed"], "seed"),
        device=_device(values["device"]),
        threads=convert(Count | None, values["threads"], "threads"),
        task=tasks,
        direction=directions,
        products=selection.products(values, datasets),
        dataset=datasets,
        model=model,
        trainer=_trainer(values["trainer"], model.tasks),
        evaluation=build(EvaluationConfig, values["evaluation"], "evaluation"),
        transfer=_transfer(values["transfer"], "transfer"),
        benchmark=_benchmark(values["benchmark"]),
        wandb=_wandb(values["wandb"]),
        word=convert(Path | None, values["word"], "word"),
        images=_paths(values["images"]),
        format=convert(WordFormat, values["format"], "format"),
        cluster=build(ClusterConfig, values["cluster"], "cluster"),
        submit=build(SubmitConfig, values["submit"], "submit"),
        status=build(StatusConfig, values["status"], "status"),
        cache=build(CacheConfig, values["cache"], "cache"),
        progress=convert(bool, values["progress"], "progress"),
        debug=convert(bool, values["debug"], "debug"),
        composed=values,
    )


def _plain(composed: DictConfig) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}: is missing; give it a value.") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _paths(value: Any) -> tuple[Path, ...]:
    """One path, a list of them, or none."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    return tuple(convert(Path, path, "images") for path in given)


def _device(value: Any) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise UserError(f"device={value}: must be auto, cpu, cuda or cuda:N.")
    return value


def _file_safe(value: Any, key: str) -> str:
    """A text that can be the name of a file or folder on any system."""
    if not isinstance(value, str) or not _FILE_SAFE.fullmatch(value):
        raise UserError(
            f"{key}={value}: must be a name of letters, digits, '.', '+', '-' and '_' "
            "that starts with a letter or digit (it names files)."
        )
    return value


def _model(value: Any) -> ModelConfig:
    if not isinstance(value, Mapping):
        raise UserError(f"model={value}: must have the keys {', '.join(_SUITE)} and the tasks.")
    for name in _SUITE:
        if name not in value:
            raise UserError(f"model.{name}: is missing.")
    parts = {str(k): v for k, v in value.items() if k not in _SUITE}
    for role, node in parts.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            known = [k for k, v in parts.items() if isinstance(v, Mapping) and "_target_" in v]
            raise UserError(
                f"model.{role}: neither a key of a suite of models nor a task "
                f"(a task has a _target_). {nearest(role, [*_SUITE, *known])}"
            )
    support = convert(Path | None, value["support"], "model.support")
    if support is not None and not support.is_file():
        raise UserError(f"model.support={support}: no such file.")
    tasks = {
        _file_safe(role, "model"): _task(node, f"model.{role}") for role, node in parts.items()
    }
    beside = {
        role: None if value[role] is None else _component(value[role], f"model.{role}")
        for role in ("judge", "safety")
    }
    return ModelConfig(_file_safe(value["name"], "model.name"), support, tasks, **beside)


def _task(node: Node, key: str) -> Node:
    checked = _component(node, key)
    training = build(Training, checked.get("training"), f"{key}.training")
    share = checked.get("target_share")
    if share is not None and not 0 < round(share * training.batch_size) < training.batch_size:
        raise UserError(
            f"{key}.target_share={share}: leaves a batch of {training.batch_size} without images "
            f"of the target or of others; change it or {key}.training.batch_size."
        )
    return checked


def _component(node: Any, key: str) -> Node:
    """A node that is instantiated: its `_target_` can be found and, if ours, its keys are right."""
    if not isinstance(node, Mapping):
        raise UserError(f"{key}={node}: must be a mapping with a _target_.")
    target = node.get("_target_")
    _check_target(target, f"{key}._target_")
    schema = SCHEMAS.get(str(target)) or DATASETS.get(str(target))
    if schema:
        build(schema, {k: v for k, v in node.items() if k != "_target_"}, key)
    return {str(k): v for k, v in node.items()}


def _check_target(target: Any, key: str) -> None:
    """Looks for the module of a `_target_` without importing it: that may take seconds."""
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{key}={target}: must be a class as package.module.Class.")
    *modules, _ = target.split(".")
    spec: ModuleSpec | None = find_spec(modules[0]) if modules[0] else None
    found = ""
    for name in modules:
        found = f"{found}.{name}".lstrip(".")
        if found != modules[0]:
            assert spec is not None
            if spec.submodule_search_locations is None:
                return  # an attribute of a module, such as a class whose method is the target
            spec = PathFinder.find_spec(found, spec.submodule_search_locations)
        if spec is None:
            if name.islower():
                raise UserError(f"{key}={target}: there is no module {found}.")
            return


def _datasets(value: Any) -> dict[str, DatasetConfig]:
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"dataset={value}: none is chosen; choose with dataset=NAME.")
    return {str(name): _dataset(str(name), node) for name, node in value.items()}


def _dataset(name: str, node: Any) -> DatasetConfig:
    key = f"dataset.{name}"
    checked = _component(node, key)
    fields = [field for field in DatasetConfig.__dataclass_fields__ if field != "node"]
    known = {field: checked[field] for field in fields if field in checked}
    dataset = build(DatasetConfig, {**known, "node": checked}, key)
    if dataset.name != name:
        raise UserError(f"{key}.name={dataset.name}: must be {name}, as the key it stands under.")
    _file_safe(name, f"{key}.name")
    for concept in dataset.concepts:
        _file_safe(concept, f"{key}.concepts")
    for anchor in dataset.anchors:
        _file_safe(anchor, f"{key}.anchors")
    if not dataset.concepts:
        raise UserError(f"{key}.concepts: there are none.")
    if not dataset.anchors:
        raise UserError(f"{key}.anchors: there are none.")
    twice = {anchor for anchor in dataset.anchors if dataset.anchors.count(anchor) > 1}
    if twice:
        raise UserError(f"{key}.anchors: {', '.join(sorted(twice))} stands there twice.")
    return dataset


def _trainer(value: Any, tasks: Collection[str]) -> TrainerConfig:
    trainer = build(TrainerConfig, value, "trainer")
    if len(trainer.betas) != 2:
        raise UserError(f"trainer.betas={list(trainer.betas)}: must be two numbers.")
    other = trainer.jointly_with
    if other is not None and other not in tasks:
        raise UserError(f"trainer.jointly_with={other}: {nearest(other, tasks)}")
    return trainer


def _wandb(value: Any) -> WandbConfig:
    wandb = build(WandbConfig, value, "wandb")
    _file_safe(wandb.project, "wandb.project")
    return wandb


def _transfer(value: Any, key: str) -> Node:
    checked = _component(value, key)
    if checked.get("name") is None:
        raise UserError(f"{key}.name: is missing; results are filed under it.")
    _file_safe(checked["name"], f"{key}.name")
    return checked


def _benchmark(value: Any) -> BenchmarkConfig:
    benchmark = build(BenchmarkConfig, value, "benchmark")
    methods = {}
    for name, node in benchmark.methods.items():
        methods[name] = _transfer(node, f"benchmark.methods.{name}")
        if methods[name]["name"] != name:
            raise UserError(
                f"benchmark.methods.{name}.name={methods[name]['name']}: must be {name}, as the "
                "key it stands under."
            )
    return replace(benchmark, methods=methods)
