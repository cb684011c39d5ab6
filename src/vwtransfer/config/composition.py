"""Where conf/ is, and how it is put together outside the entry point."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from vwtransfer.config import Config
from vwtransfer.config.command_line import as_typed
from vwtransfer.config.named_models import with_named_models
from vwtransfer.config.own_modules import use_own_modules
from vwtransfer.config.photo_folders import anchors_for, concepts_in
from vwtransfer.config.schema import convert
from vwtransfer.config.validation import checked, validated
from vwtransfer.errors import UserError, nearest


def config_folder() -> Path:
    """conf/ of the installed wheel, or of the clone this runs from."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def package_folder(module: str) -> str:
    """The folder of an installed package; in YAML ${package:NAME}.

    Raises:
        UserError: there is no such package.
    """
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"${{package:{module}}}: there is no package {module}.")
    return str(Path(spec.submodule_search_locations[0]))


def _expanded(path: Any) -> str:
    return str(Path(str(path)).expanduser())


def _concepts_in(root: Any, anchor: Any) -> dict[str, str]:
    return concepts_in(Path(_expanded(convert(str, root, "dataset.folder.root"))), anchor)


def _anchors_for(concepts: DictConfig, chosen: Any) -> list[str]:
    return anchors_for({str(key): name for key, name in concepts.items()}, chosen)


def _dataset_named(name: Any) -> DictConfig | None:
    """The config of a dataset; None for a folder of images.

    Raises:
        UserError: there is neither a folder nor a dataset of this name.
    """
    if name is None or Path(_expanded(convert(str, name, "dataset.folder.negatives"))).is_dir():
        return None
    files = {path.stem: path for path in (config_folder() / "dataset").glob("*.yaml")}
    del files["folder"]
    if name not in files:
        raise UserError(
            f"dataset.folder.negatives={name}: neither a folder nor a dataset. "
            f"{nearest(name, files)}"
        )
    node = OmegaConf.load(files[name])
    assert isinstance(node, DictConfig)
    return node


RESOLVERS: Mapping[str, Callable[..., Any]] = {
    "package": package_folder,
    "concepts_in": _concepts_in,
    "expanded": _expanded,
    "variable": lambda name, default: os.environ.get(name) or default,  # one set to nothing, too
    "anchors_for": _anchors_for,
    "dataset_named": _dataset_named,
}


def prepare() -> None:
    """Registers the resolvers that composing needs."""
    for name, resolve in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolve, replace=True)


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config:
    """The study that `vwtransfer OVERRIDES` would run, for scripts and notebooks.

    Args:
        overrides: as on the command line.
        config_dir: a folder with config groups of one's own.

    Raises:
        UserError: see `validation.validated`. Errors in composing are Hydra's.
    """
    return validated(composed(overrides, config_dir))


def composed(overrides: Sequence[str] = (), config_dir: Path | None = None) -> DictConfig:
    """The config before it is checked; see `compose`."""
    prepare()
    own = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        folders = [*([config_dir] if config_dir else []), config_folder()]
        typed = as_typed(with_named_models(overrides, folders), config_folder())
        return hydra_compose("config", overrides=[*own, *typed])


def plain(config: Config) -> dict[str, Any]:
    """The config as it travels to other machines: plain values, the same from any folder."""
    return {**config.composed, "outputs": str(config.outputs.resolve())}


def from_plain(values: Mapping[str, Any]) -> Config:
    """The config that `plain` was made of, with what its classes are imported from."""
    config = checked(values)
    use_own_modules(config)
    return config
