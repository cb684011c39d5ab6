"""action=wandb_sync: uploads a study's offline runs, with `wandb beta sync`.

That refuses a whole folder for one file that a killed job left without a run in it, and leaves out
what a job wrote when it was started again if the former file ends in the middle of a record. Here
such ends are cut off first. A file is a log of records in LevelDB's format, after a header.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.tracking.server import reached

AT_ONCE = 8  # runs
QUIET_S = 60.0  # a job at work writes every 15 s or, where it has nothing to say, whole records
HEADER, BLOCK, CHUNK_HEADER = 7, 2**15, 7  # bytes
WHOLE, LAST = 1, 4  # a chunk that is a record, and one that ends a record


def sync(config: Config) -> None:
    """Uploads the runs that no job writes to any more and that were not uploaded before.

    Raises:
        UserError: there is no offline run, no API key or no server, or not all was uploaded.
    """
    folder = config.folder / "wandb"
    logs = sorted(folder.glob("offline-run-*/*.wandb"))
    if not logs:
        raise UserError(f"action=wandb_sync: there are no offline runs in {folder}")
    reached("wandb_sync")
    rest = [log for log in logs if not _marker(log).exists()]
    quiet = [log for log in rest if time.time() - log.stat().st_mtime > QUIET_S]
    wanted = [log for log in quiet if mended(log)]
    if wanted:
        command = [sys.executable, "-m", "wandb", "beta", "sync", "-n", str(AT_ONCE)]
        subprocess.run([*command, *wanted], check=False)  # its status says nothing
    left = [log for log in wanted if not _marker(log).exists()]
    print(
        f"uploaded: {len(wanted) - len(left)} of {len(logs)} files of runs;"
        f" {len(logs) - len(rest)} were before,"
        f" {len(rest) - len(quiet)} were written to in the last minute,"
        f" {len(quiet) - len(wanted)} have nothing in them"
    )
    if left:
        raise UserError(f"action=wandb_sync: {len(left)} were not uploaded, the first is {left[0]}")


def _marker(log: Path) -> Path:
    """What wandb puts beside a file that it uploaded."""
    return log.with_name(f"{log.name}.synced")


def mended(log: Path) -> bool:
    """Whether there is a run in a file, from which the part of a record at its end is cut off.

    Args:
        log: of a run that no process writes to any more.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content = log.read_bytes()
    whole, holds_run = HEADER, False
    for end, record in _records(content):
        whole, holds_run = end, holds_run or Record.FromString(record).HasField("run")
    if holds_run and whole < len(content):
        os.truncate(log, whole)
    return holds_run


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Every whole record from the first on, and where it ends."""
    at, record = HEADER, b""
    while True:
        if BLOCK - at % BLOCK < CHUNK_HEADER:  # a block ends in zeros where no chunk has room
            at += BLOCK - at % BLOCK
        begin = at + CHUNK_HEADER
        header = content[at:begin]
        at = begin + int.from_bytes(header[4:6], "little")
        if len(header) < CHUNK_HEADER or at > len(content):
            return
        record += content[begin:at]
        if header[6] in (WHOLE, LAST):
            yield at, record
            record = b""
