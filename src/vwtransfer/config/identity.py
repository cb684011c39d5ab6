"""What a result depends on, and what two studies under one name may not differ in.

Which cells a job trains, and with what resources, is no part of it: the jobs of a sweep share one
folder, on whatever machine they run. Nor is what a model is called, or
which others stand beside it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from vwtransfer.config import Config, TrainerConfig
from vwtransfer.config.datasets import SCHEMAS

PACKAGE = str(Path(__file__).parents[1])
# What is only measured or kept with, or changes no number at all.
_NOT_THE_TRAINER = ("checkpoint_every", "max_words_in_flight")
_OFF = {each.name: each.default for each in fields(TrainerConfig) if each.default is not MISSING}
_NOT_THE_DATASET = ("anchors",)
# Where photos lie is no part of what they are: a study's folder keeps a manifest of them.
_NOT_THE_PHOTOS = ("root", "negatives", "boxes", "manifest", "allow_unverified")
NOT_THE_TRANSFER = ("folder", "beside")
_HOW_IT_RUNS = ("attention", "compiled", "channels_last", "memory_savers", "pairs_at_once")
NOT_THE_MODEL = ("name", *_HOW_IT_RUNS)
_CHANGES_THE_MODEL = ("without_t5",)  # of its memory_savers


def identity(config: Config) -> dict[str, Any]:
    """The parts of a config that one name stands for, part by part.

    A later job may bring further parts (another model, dataset or transfer method), but not other
    values of a part that is there.
    """
    values = portable(config.composed)
    models = {
        f"model.{name}": model_part(node)
        for name, node in values["model"].items()
        if isinstance(node, Mapping)
    }
    datasets = {f"dataset.{name}": dataset_part(part) for name, part in values["dataset"].items()}
    exclude = config.transfer.exclude
    return {
        "seed": values["seed"],
        **models,
        **datasets,
        "trainer": trainer_part(values["trainer"]),
        "evaluation": _evaluation(config),
        **{
            f"transfer.{method['name']}": without(method, NOT_THE_TRANSFER) | {"exclude": exclude}
            for method in (
                values["transfer"],
                *values["transfer"].get("beside", {}).values(),
                *values["benchmark"]["methods"].values(),
            )
        },
        **_through(values),
    }


def _evaluation(config: Config) -> dict[str, Any]:
    """What all words of a study are measured by, beside their task's own metrics."""
    metrics = sorted(config.evaluation.metrics)
    prompts = {"fidelity_prompts": list(config.model.fidelity_prompts)}
    return ({"metrics": metrics} if metrics else {}) | (prompts if "clip_t" in metrics else {})


def digest(value: Any) -> str:
    """A short stable hash of plain values."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(former: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in the parts that both have: "trainer.num_vectors was 4, now 2"."""
    return [
        line
        for part in now
        if part in former
        for line in _differences(former[part], now[part], part)
    ]


def _differences(former: Any, now: Any, key: str) -> list[str]:
    if not isinstance(former, Mapping) or not isinstance(now, Mapping):
        return [] if former == now else [f"{key} was {_shown(former)}, now {_shown(now)}"]
    lines = []
    for name in dict.fromkeys([*former, *now]):
        inside = f"{key}.{name}"
        if name not in now:
            lines.append(f"{inside} was {_shown(former[name])}, now there is none")
        elif name not in former:
            lines.append(f"{inside} was not there, now {_shown(now[name])}")
        else:
            lines += _differences(former[name], now[name], inside)
    return lines


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"')


def _through(values: Mapping[str, Any]) -> dict[str, Any]:
    """The transfer that words are trained through, where they are: the study's one."""
    jointly = values["trainer"].get("joint_model")
    return {"jointly": without(values["transfer"], NOT_THE_TRANSFER)} if jointly else {}


def dataset_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """What of a dataset's keys says which images it has."""
    photos = _NOT_THE_PHOTOS if part["_target_"] in SCHEMAS else ()
    kept = without(part, _NOT_THE_DATASET + photos)
    if kept.get("distractors"):
        kept["distractors"] = dataset_part(kept["distractors"])
    return kept


def model_part(node: Mapping[str, Any], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What of a model's keys says which model it is, less what is `left_out`."""
    kept = without(node, NOT_THE_MODEL + left_out)
    if changes := [each for each in node.get("memory_savers", ()) if each in _CHANGES_THE_MODEL]:
        kept["memory_savers"] = changes
    return kept


def trainer_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """What is off is left out: a word is what it was before there was such a thing."""
    off = tuple(key for key, value in _OFF.items() if part.get(key, value) == value)
    return without(part, _NOT_THE_TRAINER + off)


def without(part: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """A part of a config without some of its keys."""
    return {key: value for key, value in part.items() if key not in keys}


def portable(value: Any) -> Any:
    """`value` with equal numbers, and paths into this package, written in one way everywhere."""
    if isinstance(value, Mapping):
        return {key: portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [portable(each) for each in value]
    if isinstance(value, str):
        return value.replace(PACKAGE, "<vwtransfer>")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
