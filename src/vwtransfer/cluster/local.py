"""submitit's local executor: processes of this machine that outlive the terminal.

    python -m vwtransfer.cluster.local <outputs>/<name>/cluster/submissions/<id>

starts those of a submission; `submit` runs it in a session of its own.
"""

import json
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import submitit

from vwtransfer.files import write_json


def start(folder: Path) -> None:
    """Starts a process for each job of the submission, and records which they are."""
    # it is what `submit` has just written
    order = pickle.loads((folder / "order.pickle").read_bytes())
    executor = submitit.LocalExecutor(folder / "jobs", max_num_timeout=order["restarts"])
    controllers = []
    for number, job in enumerate(order["jobs"]):
        gpus = [order["gpus"][number % len(order["gpus"])]] if order["gpus"] else []
        executor.update_parameters(
            timeout_min=order["minutes"],
            signal_delay_s=order["signal_seconds"],
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
            setup=order["setup"],
        )
        pid = int(executor.submit(job).job_id)
        controllers.append({"pid": pid, "began": psutil.Process(pid).create_time()})
        write_json(folder / "controllers.json", controllers)


def alive_controllers(path: Path) -> list[psutil.Process]:
    """The processes of a record that still run on this machine."""
    found = []
    for record in json.loads(path.read_text(encoding="utf-8")):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["began"]) < 1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def cancel(path: Path) -> int:
    """Has the processes of a record save and stop.

    Returns:
        How many there were.
    """
    processes = alive_controllers(path)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)  # the controller passes it on
    return len(processes)


if __name__ == "__main__":
    start(Path(sys.argv[1]))
