"""submitit's local executor: processes of this machine that outlive the terminal.

    python -m vwtransfer.cluster.local <outputs>/<name>/cluster/submissions/<id>

starts those of a submission; `submit` runs it in a session of its own.
"""

import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import submitit

from vwtransfer.cluster.claims import process_of
from vwtransfer.files import damaged, read_json, write_json


def start(folder: Path) -> None:
    """Starts a process for each job of the submission, and records which they are."""
    # it is what `submit` has just written
    order = pickle.loads((folder / "order.pickle").read_bytes())
    executor = submitit.LocalExecutor(folder / "jobs", max_num_timeout=order["max_num_timeout"])
    controllers = []
    for number, job in enumerate(order["jobs"]):
        gpus = [order["gpus"][number % len(order["gpus"])]] if order["gpus"] else []
        executor.update_parameters(
            timeout_min=order["minutes"],
            signal_delay_s=order["signal_delay_s"],
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
            setup=order["setup"],
        )
        pid = int(executor.submit(job).job_id)
        controllers.append({"pid": pid, "began": psutil.Process(pid).create_time()})
        write_json(folder / "controllers.json", controllers)


def alive_controllers(path: Path) -> list[psutil.Process]:
    """The processes of a record that still run on this machine.

    Raises:
        UserError: it is damaged.
    """
    records = read_json(path)
    try:
        found = [process_of(int(record["pid"]), float(record["began"])) for record in records]
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise damaged(path, "it names no processes") from error
    return [process for process in found if process is not None]


def cancel(path: Path) -> int:
    """Has the processes of a record save and stop.

    Returns:
        How many there were; another user's are not asked.
    """
    count = 0
    for process in alive_controllers(path):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)  # the controller passes it on
            count += 1
    return count


if __name__ == "__main__":
    start(Path(sys.argv[1]))
