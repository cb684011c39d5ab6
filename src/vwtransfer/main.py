"""The entry point: composes the config, checks it and hands it to what is to be done."""

import gc
import io
import os
import select
import sys
import traceback
from importlib import import_module
from typing import NamedTuple

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vwtransfer.config import Config, provenance
from vwtransfer.config.command_line import as_typed, own_folder
from vwtransfer.config.composition import config_folder, prepare
from vwtransfer.config.error_messages import Refused, explained, report, traceback_wanted
from vwtransfer.config.named_models import with_named_models
from vwtransfer.config.renamed import new_choice
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError, nearest
from vwtransfer.files import keep_inside


class Action(NamedTuple):
    """What can be done with a config.

    Attributes:
        function: "module:function" of a Config; imported when it is asked for.
        writes: whether it adds to the study's folder, which must then be the study's own.
        shows: whether a terminal is shown the composed config first.
    """

    function: str
    writes: bool
    shows: bool = False


ACTIONS = {
    "run": Action("vwtransfer.actions.run:run", writes=True, shows=True),
    "photos": Action("vwtransfer.actions.photos:photos", writes=True, shows=True),
    "figures": Action("vwtransfer.actions.figures:run", writes=True, shows=True),
    "report": Action("vwtransfer.report:run", writes=False),
    "table": Action("vwtransfer.results:table", writes=True),
    "apply": Action("vwtransfer.actions.apply:apply", writes=False),
    "export": Action("vwtransfer.actions.export:export", writes=False),
    "convert": Action("vwtransfer.actions.convert:convert", writes=False),
    "check": Action("vwtransfer.actions.check:check", writes=False),
    "fetch": Action("vwtransfer.actions.fetch:fetch", writes=False),
    "benchmark": Action("vwtransfer.leaderboard.benchmark:run", writes=True, shows=True),
    "plan": Action("vwtransfer.cluster.plan:plan", writes=True),
    "submit": Action("vwtransfer.cluster.submit:submit", writes=True),
    "resume": Action("vwtransfer.cluster.submit:submit", writes=True),
    "retry": Action("vwtransfer.cluster.submit:retry", writes=True),
    "status": Action("vwtransfer.cluster.status:status", writes=False),
    "cancel": Action("vwtransfer.cluster.submit:cancel", writes=False),
    "work": Action("vwtransfer.cluster.worker:work", writes=True),
    "bundle": Action("vwtransfer.bundle:run", writes=False),
    "archive": Action("vwtransfer.cluster.archive:archive", writes=True),
    "dashboard": Action("vwtransfer.tracking.dashboard:make", writes=False),
    "wandb_sync": Action("vwtransfer.tracking.wandb_sync:sync", writes=False),
    "propose_boxes": Action("vwtransfer.actions.propose_boxes:run", writes=False),
}


def main() -> None:
    """Runs `vwtransfer` with the arguments of the command line.

    The exit status is 0 when all is done, 2 when the input was refused (one line on stderr), 130
    after Ctrl-C and 1 after a fault of the code.
    """
    gc.set_threshold(50_000)  # looking through what imports leave for good was a tenth of a start
    _print_all_letters()
    arguments = sys.argv[1:]
    with_traceback = traceback_wanted(arguments)
    # a thread that waits must not spin: where another process has its core, a step takes ten times
    # as long; read when torch's OpenMP is loaded, which is later
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, instead of being printed by Hydra
    os.environ["PYTHONSAFEPATH"] = "1"  # processes started from here put no folder first, either
    prepare()
    try:
        folders = [each for each in (own_folder(arguments), config_folder()) if each]
        sys.argv[1:] = as_typed(with_named_models(arguments, folders), config_folder())
        hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(
            _composed
        )()
    except KeyboardInterrupt as stop:
        report(
            str(stop)
            or "interrupted. What was finished is kept; the same command goes on from there."
        )
        sys.exit(130)
    except (Refused, Exception) as raised:
        error = raised.error if isinstance(raised, Refused) else raised
        if isinstance(error, BrokenPipeError) and not _is_read():
            sys.exit(1)
        line = explained(error, arguments)
        if line is None or with_traceback:
            traceback.print_exception(error)
        if line is not None:
            report(line)
        sys.exit(1 if line is None else 2)


def _print_all_letters() -> None:
    """A name that the terminal's encoding does not have is printed by its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_read() -> bool:
    """Whether anybody still takes what is printed: `vwtransfer --help | head` does not."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), select.POLLOUT)
    if any(event & select.POLLERR for _, event in watch.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _composed(composed: DictConfig) -> None:
    try:
        dispatch(validated(composed))
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra says which job it was
        raise Refused(error) from error


def dispatch(config: Config) -> None:
    """Does what `config.action` says.

    Raises:
        UserError: there is no such action, or the study's folder belongs to another config.
    """
    if config.action not in ACTIONS:
        if new := new_choice("action", config.action):
            raise UserError(f"action={config.action}: is called {new} now.")
        raise UserError(
            f"action={config.action}: no such action. {nearest(config.action, ACTIONS)}"
        )
    action = ACTIONS[config.action]
    keep_inside(config.folder)
    if action.writes:
        provenance.check(config)
    if action.shows and sys.stdout.isatty():
        _show(config)
    module, function = action.function.split(":")
    getattr(import_module(module), function)(config)


def _show(config: Config) -> None:
    from rich.console import Console
    from rich.syntax import Syntax

    text = yaml.safe_dump(config.composed, sort_keys=False)
    Console().print(Syntax(text, "yaml", background_color="default"))
