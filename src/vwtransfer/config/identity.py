"""What a word and a result depend on, and what two studies under one name may not differ in.

Which cells a job trains, and with what resources, is no part of it: the jobs of a sweep share one
folder, on whatever machine they run.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vwtransfer.config import Config
from vwtransfer.datasets.config import SCHEMAS
from vwtransfer.words.cells import Cell

# What is only measured or kept with, or changes no number at all.
_NOT_THE_TRAINER = ("checkpoint_every", "max_words_in_flight")
_OFF_BY_DEFAULT = ("outside_penalty", "early_penalty", "jointly_with")
_NOT_THE_DATASET = ("anchors",)
# Where photos lie is no part of what they are: a study's folder keeps a manifest of them.
_NOT_THE_PHOTOS = ("root", "negatives", "boxes", "manifest", "allow_unverified")
_NOT_THE_TRANSFER = ("folder",)
_NOT_THE_EVALUATION = ("baselines", "keep_images")
_NOT_THE_MODEL = ("attention", "compiled", "channels_last", "memory")
_ONLY_EVALUATION = ("denoising_steps", "guidance_scale", "images_per_word", "max_boxes")


def identity(config: Config) -> dict[str, Any]:
    """The parts of a config that one name stands for, part by part.

    A later job may bring further parts (another dataset, another transfer method), but not other
    values of a part that is there.
    """
    values = _portable(config.composed)
    model = {
        f"model.{role}": _without(part, _NOT_THE_MODEL) if isinstance(part, Mapping) else part
        for role, part in values["model"].items()
    }
    datasets = {f"dataset.{name}": _dataset(part) for name, part in values["dataset"].items()}
    return {
        "seed": values["seed"],
        **model,
        **datasets,
        "trainer": _trainer(values["trainer"]),
        "evaluation": _without(values["evaluation"], _NOT_THE_EVALUATION),
        **{
            f"transfer.{method['name']}": _without(method, _NOT_THE_TRANSFER)
            for method in (values["transfer"], *values["benchmark"]["methods"].values())
        },
        **_through(values),
    }


def word_identity(config: Config, cell: Cell) -> str:
    """A hash of all that a trained word depends on; the same on every machine.

    Two words with the same hash are the same word (up to rounding), whatever else their studies
    do. The contents of a checkpoint are not looked at, only its name.
    """
    parts = identity(config)
    through = {}
    other = config.trainer.jointly_with
    if other not in (None, cell.task):
        model = _without(parts[f"model.{other}"], _ONLY_EVALUATION)
        through = {"jointly": [model, parts[f"transfer.{config.transfer['name']}"]]}
    return digest(
        {
            **through,
            "cell": cell.key,
            "task": _without(parts[f"model.{cell.task}"], _ONLY_EVALUATION),
            "support": parts["model.support"],
            "dataset": parts[f"dataset.{cell.dataset}"],
            "trainer": parts["trainer"],
        }
    )


def digest(value: Any) -> str:
    """A short stable hash of plain values."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(former: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in the parts that both have: "trainer.vectors was 4, now 2"."""
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
    jointly = values["trainer"].get("jointly_with")
    return {"jointly": _without(values["transfer"], _NOT_THE_TRANSFER)} if jointly else {}


def _dataset(part: Mapping[str, Any]) -> dict[str, Any]:
    photos = _NOT_THE_PHOTOS if part["_target_"] in SCHEMAS else ()
    kept = _without(part, _NOT_THE_DATASET + photos)
    if kept.get("rivals"):
        kept["rivals"] = _dataset(kept["rivals"])
    return kept


def _trainer(part: Mapping[str, Any]) -> dict[str, Any]:
    """What is off is left out: a word is what it was before there was such a thing."""
    off = tuple(key for key in _OFF_BY_DEFAULT if not part.get(key))
    return _without(part, _NOT_THE_TRAINER + off)


def _without(part: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in keys}


def _portable(value: Any) -> Any:
    """`value` with equal numbers, and paths into this package, written in one way everywhere."""
    if isinstance(value, Mapping):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(each) for each in value]
    if isinstance(value, str):
        return value.replace(str(Path(__file__).parents[1]), "<vwtransfer>")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
