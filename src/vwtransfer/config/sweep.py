"""A sweep (-m) is checked job by job before its first job starts."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from vwtransfer.config import Config, provenance
from vwtransfer.config.error_messages import Refused
from vwtransfer.config.identity import differences, identity
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError


class Check(Callback):
    """Hydra calls this before a sweep; conf/config.yaml names it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuses a sweep of which any job would be refused."""
        first_in: dict[Path, dict[str, Any]] = {}
        try:
            for job in _jobs(config):
                parts = identity(job)
                first = first_in.setdefault(job.folder, parts)
                _check_one_identity(job, differences(first, parts))
                if first is parts:
                    provenance.check(job)
        except Exception as error:
            raise Refused(error) from error  # Hydra only warns of a callback's exceptions


def _jobs(config: DictConfig) -> Iterator[Config]:
    loader = GlobalHydra.instance().config_loader()
    for overrides in product(*_choices(config, loader)):
        composed = loader.load_sweep_config(config, list(overrides))
        yield validated(
            OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        )


def _choices(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The overrides each key takes in a sweep, as Hydra's own sweeper expands them."""
    given = OmegaConf.to_container(config.hydra, resolve=False)  # ${seed} is each job's own
    assert isinstance(given, dict)
    params = given["sweeper"].get("params") or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *given["overrides"]["task"]]
    choices = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(arguments):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        if not choices.get(key, True):
            raise UserError(
                f"{override.input_line}: gives no value, so that no job would start. (glob chooses "
                "among the files of a group, as in 'transfer=glob(ridge*)'.)"
            )
    return list(choices.values())


def _check_one_identity(job: Config, found: list[str]) -> None:
    if found:
        raise UserError(
            f"name={job.name}: two jobs of this sweep share {job.folder}, but {found[0]}. "
            "Give each its own, as in 'name=study_${seed}'."
        )
