"""The models that action=convert names: source=sd15 target=/data/my_model.safetensors.

A name is that of a config in conf/model/, a hub id, a folder, or one file with a whole model. For
the latter three it is found out which config describes them, and they get a copy of it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vwtransfer.config.models import TASKS
from vwtransfer.errors import UserError, nearest, quoted
from vwtransfer.files import file_safe

ACTION = "convert"
KEYS = ("source", "target")
METHOD, BETWEEN_GENERATORS = "readout_matching", "combined_matching"  # where nobody chooses

OF_PIPELINE: Mapping[str, tuple[str, str]] = {
    "StableDiffusionPipeline": ("generation", "sd15"),
    "StableDiffusionXLPipeline": ("generation", "sdxl"),
    "StableDiffusion3Pipeline": ("generation", "sd35_medium"),
    "FluxPipeline": ("generation", "flux1_dev"),
}
"""Class of a checkpoint's pipeline -> task and config of a model of this class."""
OF_TYPE: Mapping[str, tuple[str, str]] = {
    "owlv2": ("detection", "owlv2_base"),
    "grounding-dino": ("detection", "grounding_dino_base"),
    "mm-grounding-dino": ("detection", "mm_grounding_dino_base"),
    "siglip": ("classification", "siglip2_base"),
}
"""The same of `model_type` in a checkpoint's config.json."""
OPEN_CLIP = ("classification", "laion_clip_b32")
LAYOUTS: Mapping[str, tuple[str, str]] = {
    "conditioner.embedders.1.model.": ("generation", "sdxl"),
    "cond_stage_model.model.": ("generation", "sd21"),
    "cond_stage_model.transformer.": ("generation", "sd15"),
}
"""How a tensor of a text encoder is called in a file with a whole model -> the same."""
_INDEXES = ("model_index.json", "open_clip_config.json", "config.json")


def with_named_models(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The arguments of the command line, with the configs of the models that they name.

    Args:
        arguments: as they were typed.
        folders: laid out as conf/ is; the first in which a model is found counts.

    Raises:
        UserError: source or target names nothing that there is.
    """
    given = {key.lstrip("+"): value for key, _, value in (a.partition("=") for a in arguments)}
    if given.get("action") != ACTION:
        return list(arguments)
    wanted: dict[str, list[str]] = {}
    for key in KEYS:
        name = given.get(key, "null")
        if name != "null":
            task, model = _config_of(key, name, folders)
            wanted.setdefault(task, []).append(model)
    groups = {f"model/{task}": list(dict.fromkeys(models)) for task, models in wanted.items()}
    added = [f"{group}=[{','.join(m)}]" for group, m in groups.items() if group not in given]
    method = BETWEEN_GENERATORS if set(wanted) == {"generation"} else METHOD
    chosen = [] if "transfer" in given else [f"transfer={method}"]
    return [*arguments, *added, *chosen]


def with_copies(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a composed config, in which checkpoints that are named are models.

    Raises:
        UserError: see `with_named_models`.
    """
    models, named = dict(values["model"]), {}
    if values.get("action") != ACTION:
        return dict(values)
    for key in KEYS:
        name = values.get(key)
        if not isinstance(name, str) or name in models:
            continue
        _, base = _checkpoint_config(key, name)
        if base not in models:
            raise UserError(f"{key}={name}: is of {base}'s kind, which is not among the models.")
        own = file_safe(Path(name).stem if Path(name).exists() else name.rpartition("/")[2])
        while own in models or own in TASKS:
            own = f"{own}_{key}"
        whole = {"name": own, "checkpoint": name, "revision": None, "support": None}
        models[own], named[key] = {**models[base], **whole}, own
    return {**values, "model": models, **named}


def _config_of(key: str, name: str, folders: Sequence[Path]) -> tuple[str, str]:
    """Task and name of the config that describes a model."""
    files = {
        path.stem: path
        for folder in reversed(folders)
        for task in TASKS
        for path in sorted((folder / "model" / task).glob("*.yaml"))
        if f"\nname: {path.stem}\n" in path.read_text(encoding="utf-8")
    }
    if name in files:
        return files[name].parent.name, name
    if "/" not in name and not Path(name).exists():
        raise UserError(f"{key}={name}: no such model, file or folder. {nearest(name, files)}")
    return _checkpoint_config(key, name)


def _checkpoint_config(key: str, name: str) -> tuple[str, str]:
    """Task and name of a config for a checkpoint: a file, a folder or a hub id."""
    path = Path(name).expanduser()
    if path.is_file():
        return _of_file(key, path)
    found = {index: _index(key, name, index) for index in _INDEXES}
    if (pipeline := found["model_index.json"]) is not None:
        kind, known = pipeline.get("_class_name"), OF_PIPELINE
    elif found["open_clip_config.json"] is not None:
        return OPEN_CLIP
    elif (config := found["config.json"]) is not None:
        kind, known = config.get("model_type"), OF_TYPE
    else:
        raise UserError(
            f"{key}={name}: is no file or folder with a model, and of a repository of this name on "
            f"the hub none of {', '.join(_INDEXES)} is on this machine or can be fetched."
        )
    if kind not in known:
        raise UserError(
            f"{key}={name}: is a {quoted(kind, 60)}, none of those whose text encoders are read: "
            f"{', '.join(known)}."
        )
    return known[str(kind)]


def _index(key: str, name: str, index: str) -> dict[str, Any] | None:
    """A JSON file of a folder or of a hub's repository; None where there is none."""
    path: Path | None = Path(name).expanduser() / index
    assert path is not None
    if not path.parent.is_dir():
        path = _fetched(name, index)
    if path is None or not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{key}={name}: its {index} is damaged ({quoted(error)}).") from error
    return told if isinstance(told, dict) else None


def _fetched(name: str, index: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(name, index))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None


def _of_file(key: str, path: Path) -> tuple[str, str]:
    """By the names of the tensors, of which the header alone is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{key}={path}: is not a whole safetensors file ({quoted(error)}). Other files with "
            "a whole model, such as .ckpt, are not read: they may hold code."
        ) from error
    for start, config in LAYOUTS.items():
        if any(each.startswith(start) for each in names):
            return config
    raise UserError(
        f"{key}={path}: holds no text encoder in the layout of Stable Diffusion 1.5, 2.1 or SDXL "
        f"({len(names)} tensors, such as {quoted(names[0], 80) if names else 'none'}). Name the "
        "model's folder or hub id."
    )
