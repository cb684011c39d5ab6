"""The process that talks to wandb: `python -m vwtransfer.tracking.recorder`.

It reads messages (pickled, see `messages`) from its standard input until that ends, and then says
in one line of JSON what became of them. Whatever wandb, the network or the server do happens here,
so that the work they report on neither fails nor waits. What wandb itself says goes to stderr.
"""

import contextlib
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import singledispatchmethod
from typing import Any, BinaryIO

from vwtransfer.tracking.messages import (
    Closing,
    Files,
    Message,
    Opening,
    Picture,
    Row,
    Run,
    Summary,
    Table,
)
from vwtransfer.tracking.server import trouble

KILLED = 1
OPEN_AT_ONCE = 64  # runs; with granularity=word there may be thousands
INIT_S = 10.0  # how long the server may take to open a run
FLUSH_S = 5.0  # what a kill of everything at once can cost
ROOM = 2**16  # bytes
GENTLY = 5
LOSSLESS_SIDE = 256  # pixels; larger pictures go as JPEG, a tenth of the size


class Recorder:
    """Opens runs as they are needed and logs into them."""

    def __init__(self, opening: Opening) -> None:
        import wandb

        self.wandb = wandb
        self.opening = opening
        self.mode, self.why = _mode(opening, wandb)
        self.known: dict[str, Run] = {}
        self.open: OrderedDict[str, Any] = OrderedDict()
        self.steps: dict[str, int] = {}
        self.url = ""
        self.exit_code = KILLED

    @singledispatchmethod
    def take(self, message: Message) -> None:
        """Does what a message says."""
        raise TypeError(f"not a message: {message!r}")

    @take.register
    def _(self, message: Run) -> None:
        self.known[message.key] = message

    @take.register
    def _(self, message: Row) -> None:
        values = {name: self._as_wandb_has_it(value) for name, value in message.values.items()}
        run = self._run(message.run)
        run.log(values, step=self._step(message), commit=True)

    @take.register
    def _(self, message: Summary) -> None:
        self._run(message.run).summary.update(dict(message.values))

    @take.register
    def _(self, message: Files) -> None:
        artifact = self.wandb.Artifact(message.name, type=message.kind)
        for name, path in message.paths.items():
            artifact.add_file(path, name=name, policy="immutable")
        self._run(message.run).log_artifact(artifact)

    @take.register
    def _(self, message: Closing) -> None:
        self.exit_code = message.exit_code

    def close(self) -> None:
        """Finishes all runs; waits for uploads as long as the opening said.

        Raises:
            OSError: the disk is full, on which wandb would wait in vain.
            TimeoutError: not all is uploaded.
        """
        with tempfile.TemporaryFile(dir=self.opening.folder + "/wandb") as probe:
            probe.write(bytes(ROOM))
        while self.open:
            _, run = self.open.popitem()
            run.finish(exit_code=self.exit_code)
        with contextlib.suppress(Exception):
            self.wandb.teardown(exit_code=0)

    def _step(self, row: Row) -> int:
        """Milliseconds since the study was first tracked, each given once.

        A job that was killed goes on where it was, in a file of its own: what it logs must come
        after what stands there, whatever the number of its training step.
        """
        now = round(1000 * (row.time - self.opening.began))
        self.steps[row.run] = max(now, self.steps.get(row.run, -1) + 1)
        return self.steps[row.run]

    def _run(self, key: str) -> Any:
        if key not in self.open:
            if len(self.open) == OPEN_AT_ONCE:
                _, oldest = self.open.popitem(last=False)
                with contextlib.suppress(TimeoutError):  # a slow server; the file has it all
                    oldest.finish(exit_code=0)  # it is opened again when it has more to say
            self.open[key] = self._opened(self.known[key])
        self.open.move_to_end(key)
        return self.open[key]

    def _opened(self, run: Run) -> Any:
        try:
            opened = self.wandb.init(
                dir=self.opening.folder, config=dict(run.config), settings=self._settings(run)
            )
        except Exception as error:
            if self.mode != "online":
                raise
            _log(traceback.format_exc())
            self.mode, self.why = "offline", f"the server opens no run: {_one_line(error)}"
            self.open.clear()
            with contextlib.suppress(Exception):
                self.wandb.teardown(exit_code=0)  # else the failed run's id stays taken
            return self._opened(run)
        if self.mode == "online":
            self.url = self.url or opened.url
        for pattern, axis in run.axes.items():
            opened.define_metric(axis)
            opened.define_metric(pattern, step_metric=axis)
        return opened

    def _settings(self, run: Run) -> Any:
        return self.wandb.Settings(
            mode=self.mode,
            project=self.opening.project,
            entity=self.opening.entity,
            run_id=run.id,
            run_name=run.name,
            run_group=run.group,
            run_job_type=run.job_type,
            run_tags=run.tags,
            resume="allow",
            reinit="create_new",
            init_timeout=INIT_S,
            finish_timeout=self.opening.patience if self.mode == "online" else 0,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            disable_git=True,  # provenance.json has the commit and all versions
            disable_code=True,
            x_save_requirements=False,
            x_disable_stats=not run.system,
            x_stats_pid=self.opening.process,
            x_transaction_log_flush_interval=FLUSH_S,
        )

    def _as_wandb_has_it(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._as_wandb_has_it(each) for each in value]
        if isinstance(value, Table):
            return self.wandb.Table(columns=list(value.columns), data=[list(r) for r in value.rows])
        if isinstance(value, Picture):
            kind = "png" if max(value.image.size) <= LOSSLESS_SIDE else "jpg"
            return self.wandb.Image(
                value.image, caption=value.caption, boxes=_boxes(value), file_type=kind
            )
        return value


def _boxes(picture: Picture) -> dict[str, Any] | None:
    """The boxes of a picture as wandb draws them."""
    if picture.boxes is None:
        return None
    found = {}
    for kind, boxes in picture.boxes.items():
        data = []
        for box in boxes:
            x0, y0, x1, y1 = box.corners
            entry: dict[str, Any] = {
                "position": {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1},
                "domain": "pixel",
                "class_id": 0,
                "box_caption": picture.label if box.score is None else f"{box.score:.2f}",
            }
            if box.score is not None:
                entry["scores"] = {"score": box.score}
            data.append(entry)
        found[kind] = {"box_data": data, "class_labels": {0: picture.label}}
    return found


def _mode(opening: Opening, wandb: Any) -> tuple[str, str]:
    """Online or offline, and why: there is a key and the server answers, or not. Never asks."""
    settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
    if opening.mode == "offline" or (opening.mode == "auto" and settings.mode != "online"):
        return "offline", "as configured"
    try:
        # not verified, nor announced: both wait minutes for a server that does not answer
        if not wandb.login(prompt=False, verify=False):
            return "offline", "there is no API key"
    except Exception as error:  # a key that cannot be one
        return "offline", _one_line(error)
    if useless := trouble(settings.base_url):
        return "offline", f"{settings.base_url} {useless}"
    return "online", "there is an API key"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _log(text: str) -> None:
    """Writes to the log, which may lie on the very disk that is full."""
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%FT%T')} process {os.getpid()} {text}", file=sys.stderr, flush=True)


def _messages(stream: BinaryIO) -> Iterator[Any]:
    """What comes until the stream ends, be it in the middle of a message."""
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return


def record(stream: BinaryIO) -> Mapping[str, Any]:
    """Reads messages until the stream ends; says what became of them.

    Returns:
        mode: online or offline, and why, or None where wandb cannot be used at all.
        url: of the first run, where it is online.
        lost: how many messages were, and the first reason.
    """
    recorder, lost, reason = None, 0, ""
    for message in _messages(stream):
        try:
            if isinstance(message, Opening):
                recorder = Recorder(message)
            elif recorder is None:
                lost += 1
            else:
                recorder.take(message)
        except Exception as error:
            _log(traceback.format_exc())
            lost, reason = lost + 1, reason or _one_line(error)
    try:
        if recorder is not None:
            recorder.close()
    except Exception as error:
        _log(traceback.format_exc())
        reason = reason or _one_line(error)
    answer = {"mode": None, "why": "", "url": ""}
    if recorder is not None:
        answer = {"mode": recorder.mode, "why": recorder.why, "url": recorder.url}
    return {**answer, "lost": lost, "reason": reason}


def main() -> None:
    """Records what comes in; the work has the processor first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are for the work; here the stream's end counts
    os.nice(GENTLY)
    outcome = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _log("starts")
    print(json.dumps(record(sys.stdin.buffer)), file=outcome, flush=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    _log(f"ends; processor time {sum(each.ru_utime + each.ru_stime for each in used):.2f} s")
    os._exit(0)  # at a regular exit wandb's telemetry waits for a server that does not answer


if __name__ == "__main__":
    main()
