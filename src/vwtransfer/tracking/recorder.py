"""The process that talks to wandb: `python -m vwtransfer.tracking.recorder`.

It reads calls (pickled: the name of a method of `Recorder`, and its arguments) from its standard
input until that ends, and then says in one line of JSON what became of them. Whatever wandb, the
network or the server do happens here, so that the work they report on neither fails nor waits: a
process in which wandb hangs never ends by itself. What wandb itself says goes to stderr.
"""

import contextlib
import json
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from vwtransfer.tracking.server import one_line, unusable

KILLED = 1
ONLINE = ("online", "run")  # two names of one of wandb's modes
INIT_S = 10.0  # how long the server may take to open a run
FLUSH_S = 5.0  # what a kill of everything at once can cost
ROOM = 2**16  # bytes
GENTLY = 5
ALWAYS = {  # settings of every run
    "resume": "allow",
    "reinit": "create_new",
    "init_timeout": INIT_S,
    "finish_timeout_raises": True,
    "silent": True,
    "console": "off",
    "disable_git": True,  # provenance.json has the commit and all versions
    "disable_code": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": FLUSH_S,
}


class Recorder:
    """Opens runs when there is something to log, and logs into them.

    Attributes:
        mode: online or offline, and `why`; None before wandb could be asked.
        url: of the first run, where it is online.
    """

    def __init__(self) -> None:
        self.mode: str | None = None
        self.why = self.url = ""
        self.exit_code = KILLED
        self.opened: dict[str, Any] = {}
        self.steps: dict[str, int] = {}

    def start(
        self,
        folder: str,
        mode: str,
        began: float,
        axes: Mapping[str, str],
        runs: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    ) -> None:
        """The first call.

        Args:
            folder: of the study; wandb's files go to its wandb/.
            mode: as in the config.
            began: time (seconds since 1970) from which steps count.
            axes: pattern of names -> the name that is their x axis.
            runs: what further calls name a run by -> its config, and its settings.
        """
        import wandb

        self.wandb, self.folder, self.began = wandb, folder, began
        self.axes, self.runs = axes, runs
        settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
        if mode == "offline" or (mode == "auto" and settings.mode not in ONLINE):
            self.why = "as configured"
        else:
            self.why = unusable()
        self.mode = "offline" if self.why else "online"

    def log(self, key: str, values: Mapping[str, Any], moment: float) -> None:
        """Values of one moment: numbers, lists of arguments of wandb.Image, those of wandb.Table.

        wandb's step is the milliseconds since `began`, each given once: a job that was killed goes
        on in a file of its own, and what it logs must come after what stands in the former.
        """
        step = max(round(1000 * (moment - self.began)), self.steps.get(key, -1) + 1)
        self.steps[key] = step
        row = {name: self._media(value) for name, value in values.items()}
        self._run(key).log(row, step=step, commit=True)  # else a kill loses the last one

    def summarize(self, key: str, values: Mapping[str, float]) -> None:
        """Values that stand for a whole run."""
        self._run(key).summary.update(dict(values))

    def save(self, key: str, kind: str, paths: Mapping[str, str]) -> None:
        """An artifact: name inside -> path of the file, which is never written again."""
        run = self._run(key)
        artifact = self.wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for inside, path in paths.items():
            artifact.add_file(path, name=inside, policy="immutable")
        run.log_artifact(artifact)

    def end(self, exit_code: int) -> None:
        """The last call; 0 where all is done. Without it the work was killed."""
        self.exit_code = exit_code

    def close(self) -> None:
        """Finishes all runs; waits for uploads as long as their settings say.

        Raises:
            OSError: the disk is full, on which wandb would wait in vain.
            TimeoutError: not all is uploaded.
        """
        with tempfile.TemporaryFile(dir=f"{self.folder}/wandb") as probe:
            probe.write(bytes(ROOM))
        for run in self.opened.values():
            run.finish(exit_code=self.exit_code)
        self._forget()

    def _run(self, key: str) -> Any:
        if key not in self.opened:
            try:
                self.opened[key] = self._open(key)
            except Exception as error:
                if self.mode != "online":
                    raise
                _log(traceback.format_exc())
                self.mode, self.why = "offline", f"the server opens no run: {one_line(error)}"
                self._forget()  # else the run's id stays taken
                self.opened[key] = self._open(key)
        return self.opened[key]

    def _open(self, key: str) -> Any:
        config, settings = self.runs[key]
        settings = self.wandb.Settings(**ALWAYS, **settings, mode=self.mode)
        run = self.wandb.init(dir=self.folder, config=dict(config), settings=settings)
        if self.mode == "online":
            self.url = self.url or run.url
        for pattern, axis in self.axes.items():
            run.define_metric(axis)
            run.define_metric(pattern, step_metric=axis)
        return run

    def _forget(self) -> None:
        self.opened.clear()
        with contextlib.suppress(Exception):
            self.wandb.teardown(exit_code=0)

    def _media(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.wandb.Image(**each) for each in value]
        return self.wandb.Table(**value) if isinstance(value, dict) else value


def record(stream: BinaryIO) -> Mapping[str, Any]:
    """Does what the calls in a stream say until it ends.

    Returns:
        mode, why, url: of the `Recorder`.
        lost: how many calls were, and the first reason.
    """
    recorder, lost, reason = Recorder(), 0, ""
    for method, *arguments in _calls(stream):
        try:
            getattr(recorder, method)(*arguments)
        except Exception as error:
            _log(traceback.format_exc())
            lost, reason = lost + 1, reason or one_line(error)
    try:
        recorder.close()
    except Exception as error:
        _log(traceback.format_exc())
        reason = reason or one_line(error)
    said = {"mode": recorder.mode, "why": recorder.why, "url": recorder.url}
    return {**said, "lost": lost, "reason": reason}


def _calls(stream: BinaryIO) -> Iterator[Any]:
    """What comes until the stream ends, be it in the middle of a call."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(stream)


def _log(text: str) -> None:
    """Writes to the log, which may lie on the very disk that is full."""
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%FT%T')} process {os.getpid()} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Records what comes in; the work has the processor first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are for the work; here the stream's end counts
    os.nice(GENTLY)
    outcome = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _log("starts")
    print(json.dumps(record(sys.stdin.buffer)), file=outcome, flush=True)
    _log(f"ends; processor time {sum(os.times()[:4]):.2f} s")
    os._exit(0)  # at a regular exit wandb's telemetry waits for a server that does not answer


if __name__ == "__main__":
    main()
