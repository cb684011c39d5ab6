"""The door: a composed config is refused in one line, or becomes a `Config`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from vwtransfer.config import (
    BenchmarkConfig,
    Config,
    DatasetConfig,
    ModelConfig,
    TrainerConfig,
    TransferConfig,
    WandbConfig,
    selection,
)
from vwtransfer.config.datasets import SCHEMAS as DATASETS
from vwtransfer.config.evaluation import EvaluationConfig, check_metrics
from vwtransfer.config.models import SCHEMAS as MODELS
from vwtransfer.config.models import TASKS, Node, Prompt, Training
from vwtransfer.config.named_models import with_copies
from vwtransfer.config.own_modules import found_module, use_own_modules
from vwtransfer.config.schema import build, convert, unknown_key
from vwtransfer.config.task_values import with_task_values
from vwtransfer.errors import UserError, nearest
from vwtransfer.files import LONGEST_NAME, is_name

_HINTS = get_type_hints(Config, include_extras=True)
_GRID = ("concept", "anchor", "delta", "extra_grids")  # keys that the products are made of
_KEYS = (*(name for name in _HINTS if name not in ("products", "composed")), *_GRID)
_SUITE = ("name", "judge", "safety")  # what a suite has beside its models
_MAY_HAVE = ("dino", "fidelity_prompts")
_CHOOSE = {key: f" Choose one with {key}=NAME." for key in ("cluster", "wandb", "fetch")}
_HOME = re.compile(r"~[\w.-]*(/|$)")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def validated(composed: DictConfig) -> Config:
    """The typed config of a composed one, whose classes can be imported from now on.

    Raises:
        UserError: names the first key that is unknown or missing, has the wrong type, or asks for
            something impossible, with its value and the nearest valid ones.
    """
    config = checked(with_copies(_plain(composed)))
    use_own_modules(config)
    return config


def checked(values: Mapping[str, Any]) -> Config:
    """The typed config of plain values, as a study keeps them: nothing is resolved or imported.

    Raises:
        UserError: as `validated`.
    """
    for key in values:
        if key not in _KEYS:
            raise unknown_key(key, _KEYS)
    for key in _KEYS:
        if key not in values and not hasattr(Config, key):  # a default stands in the class
            raise UserError(f"{key}: is missing.{_CHOOSE.get(key, '')}")
    model = _model(values["model"])
    datasets = _datasets(values["dataset"])
    tasks = selection.tasks(values["task"], model.tasks)
    directions = selection.directions(values["direction"], tasks, model)
    if model.judge is None and "generation" in {*tasks, *(model.task_of(b) for _, b in directions)}:
        raise UserError(
            "model.judge=null: generations cannot be measured without a judge. "
            "Choose one with model/judge=NAME, or leave generation out of task and direction."
        )
    evaluation = build(EvaluationConfig, values["evaluation"], "evaluation")
    check_metrics(evaluation.metrics, model.fidelity_prompts, model.dino)
    made: dict[str, Any] = {
        "name": _file_safe(values["name"], "name"),
        "device": _device(values["device"]),
        "task": tasks,
        "direction": directions,
        "products": selection.products(values, datasets),
        "dataset": datasets,
        "model": model,
        "trainer": _trainer(values["trainer"], model.models),
        "evaluation": evaluation,
        "transfer": _transfer_config(values["transfer"]),
        "benchmark": _benchmark(values["benchmark"]),
        "wandb": _wandb(values["wandb"]),
        "source": _model_name(values["source"], "source", model.models),
        "target": _model_name(values["target"], "target", model.models),
        "word": _paths(values["word"], "word"),
        "images": _paths(values["images"], "images"),
        "composed": dict(values),
    }
    rest = [name for name in _HINTS if name in values and name not in made]
    return Config(**made, **{name: convert(_HINTS[name], values[name], name) for name in rest})


def _plain(composed: DictConfig) -> dict[str, Any]:
    try:
        composed = with_task_values(composed)
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}: is missing; give it a value.") from error
    assert isinstance(values, dict)
    return {str(key): _expanded(value, str(key)) for key, value in values.items()}


def _expanded(value: Any, key: str) -> Any:
    """`value`, in which the paths that begin with ~ or ~user are whole."""
    if isinstance(value, dict):
        return {name: _expanded(each, f"{key}.{name}") for name, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, f"{key}[{i}]") for i, each in enumerate(value)]
    if not isinstance(value, str) or not _HOME.match(value):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError as error:
        raise UserError(f"{key}={value}: there is no such home folder; write it out.") from error


def _model_name(value: Any, key: str, models: Collection[str]) -> str | None:
    """The name of one of the study's models, or none."""
    name: str | None = convert(str | None, value, key)
    if name is not None and name not in models:
        raise UserError(f"{key}={name}: no such model. {nearest(name, models)}")
    return name


def _paths(value: Any, key: str) -> tuple[Path, ...]:
    """One path, a list of them, or none."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    return tuple(convert(Path, path, key) for path in given)


def _device(value: Any) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise UserError(f"device={value}: must be auto, cpu, cuda or cuda:N.")
    return value


def _file_safe(value: Any, key: str) -> str:
    """A text that can be the name of a file or folder on any system."""
    if not is_name(convert(str, value, key)):
        raise UserError(
            f"{key}={str(value)[:LONGEST_NAME]}: must be a name of letters, digits, '.', '+', '-' "
            f"and '_' that starts with a letter or digit, of at most {LONGEST_NAME} bytes (it "
            "names files)."
        )
    return value


def _model(value: Any) -> ModelConfig:
    if not isinstance(value, Mapping):
        raise UserError(f"model={value}: must have the keys {', '.join(_SUITE)} and the models.")
    for name in _SUITE:
        if name not in value:
            raise UserError(f"model.{name}: is missing. Choose a suite with model=NAME.")
    parts = {str(k): v for k, v in value.items() if k not in _SUITE + _MAY_HAVE}
    for name, node in parts.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            if isinstance(node, Mapping) and "name" in node:
                raise UserError(
                    f"model.{name}: has no _target_. A file on top of another model's begins with "
                    "'defaults: [OTHER@_here_]'."
                )
            known = [k for k, v in parts.items() if isinstance(v, Mapping) and "_target_" in v]
            raise unknown_key(f"model.{name}", [*_SUITE, *_MAY_HAVE, *known])
    models = {_file_safe(name, "model"): _named(name, node) for name, node in parts.items()}
    if not models:
        raise UserError("model: none is chosen, as in model=tiny or model/generation=sd15.")
    beside = {
        role: None if value.get(role) is None else _component(value[role], f"model.{role}")
        for role in ("judge", "safety", "dino")
    }
    key = "model.fidelity_prompts"
    prompts = convert(tuple[Prompt, ...], value.get("fidelity_prompts", []), key)
    name = _file_safe(value["name"], "model.name")
    return ModelConfig(name, models, **beside, fidelity_prompts=prompts)


def _named(name: str, node: Node) -> Node:
    """A model that words are trained in."""
    key = f"model.{name}"
    checked = _component(node, key)
    if checked.get("name") != name:
        raise UserError(f"{key}.name={checked.get('name')}: must be {name}, as its key.")
    if name in TASKS:
        raise UserError(f"{key}: {name} is a task's name; give the model another.")
    _file_safe(checked.get("task"), f"{key}.task")
    training = build(Training, checked.get("training"), f"{key}.training")
    share = checked.get("target_share")
    if share is not None and not 0 < round(share * training.batch_size) < training.batch_size:
        raise UserError(
            f"{key}.target_share={share}: leaves a batch of {training.batch_size} without images "
            f"of the target or of others; change it or {key}.training.batch_size."
        )
    support = convert(Path | None, checked.get("support"), f"{key}.support")
    if support is not None and not support.is_file():
        raise UserError(f"{key}.support={support}: no such file.")
    return checked


def _component(node: Any, key: str) -> Node:
    """A node that is instantiated: its `_target_` can be found and, if ours, its keys are right."""
    if not isinstance(node, Mapping):
        raise UserError(f"{key}={node}: must be a mapping with a _target_.")
    target = node.get("_target_")
    _check_target(target, f"{key}._target_")
    schema = MODELS.get(str(target)) or DATASETS.get(str(target))
    if schema:
        build(schema, {k: v for k, v in node.items() if k != "_target_"}, key)
    return {str(k): v for k, v in node.items()}


def _check_target(target: Any, key: str) -> None:
    """Looks for the module of a `_target_` without importing it: that may take seconds."""
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{key}={target}: must be a class as package.module.Class.")
    *modules, _ = target.split(".")
    spec = found_module(modules[0]) if modules[0] else None
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


def _trainer(value: Any, models: Collection[str]) -> TrainerConfig:
    trainer = build(TrainerConfig, value, "trainer")
    if len(trainer.betas) != 2:
        raise UserError(f"trainer.betas={list(trainer.betas)}: must be two numbers.")
    other = trainer.joint_model
    if other is not None and other not in models:
        raise UserError(f"trainer.joint_model={other}: {nearest(other, models)}")
    if other and trainer.stop:
        raise UserError(
            f"trainer.stop={trainer.stop}: does not go with trainer.joint_model, whose loss is of "
            "two models' images. Leave one of them out."
        )
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


def _transfer_config(value: Any) -> TransferConfig:
    if not isinstance(value, Mapping) or "_target_" not in value:
        raise UserError(
            "transfer: none is chosen; choose with transfer=NAME. (Where direction=none, it is not "
            "used.)"
        )
    node = _transfer(_method(value), "transfer")
    beside = _methods(value.get("beside", {}), "transfer.beside")
    beside.pop(str(node["name"]), None)
    exclude = value.get("exclude", "description")
    return build(TransferConfig, {"node": node, "exclude": exclude, "beside": beside}, "transfer")


def _method(value: Mapping[str, Any]) -> Node:
    """What is the method's own of `transfer`: the rest is the study's."""
    return {str(key): each for key, each in value.items() if key not in ("exclude", "beside")}


def _methods(value: Any, key: str) -> dict[str, Node]:
    """Transfer methods, each under its name."""
    if not isinstance(value, Mapping):
        raise UserError(f"{key}={value}: must be a mapping of methods; type transfer=[ONE,OTHER].")
    methods = {}
    for name, node in value.items():
        if not isinstance(node, Mapping):
            raise UserError(f"{key}.{name}={node}: must be a mapping with a _target_.")
        methods[str(name)] = _transfer(_method(node), f"{key}.{name}")
        if methods[name]["name"] != name:
            raise UserError(
                f"{key}.{name}.name={methods[name]['name']}: must be {name}, as the key it stands "
                "under."
            )
    return methods


def _benchmark(value: Any) -> BenchmarkConfig:
    benchmark = build(BenchmarkConfig, value, "benchmark")
    return replace(benchmark, methods=_methods(benchmark.methods, "benchmark.methods"))
