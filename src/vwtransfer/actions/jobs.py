"""action=submit, resume, retry and work: jobs that report to wandb while they work."""

from vwtransfer import tracking
from vwtransfer.cluster import submit as submission
from vwtransfer.cluster import worker
from vwtransfer.config import Config


def submit(config: Config) -> None:
    """Has what is missing done by jobs; see `cluster.submit`."""
    submission.submit(config, tracking.opened)


def retry(config: Config) -> None:
    """Has what has failed done again by jobs; see `cluster.submit`."""
    submission.retry(config, tracking.opened)


def work(config: Config) -> None:
    """Does here what no other process does; see `cluster.worker`."""
    worker.work(config, tracking.opened)
