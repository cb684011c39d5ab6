"""Whether wandb's server answers, asked before wandb is: it tries again for minutes."""

import os
import queue
import threading
import urllib.error
import urllib.request
from http import HTTPStatus

from vwtransfer.errors import UserError

REACH_S = 5.0  # how long the server may take to answer at all
SILENT = "does not answer"
KEY_FROM = "https://wandb.ai/authorize"


def trouble(url: str) -> str:
    """Why a server is of no use, within `REACH_S`, looking up its name included; else empty."""
    found: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=REACH_S).close()
            found.put("")
        except urllib.error.HTTPError as error:  # such as "not found", which is an answer too
            found.put(
                f"answers {error.code}" if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
            )
        except (OSError, ValueError):
            found.put(SILENT)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return found.get(timeout=REACH_S)
    except queue.Empty:
        return SILENT


def reached(action: str) -> None:
    """There is an API key, and a server that answers, for what a person asks for by hand.

    WANDB_MODE, which is for jobs, no longer holds in this process.

    Raises:
        UserError: one is missing for `action`.
    """
    import wandb

    os.environ.pop("WANDB_MODE", None)
    settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
    try:
        has_key = wandb.login(prompt=False, verify=False)
    except Exception as error:
        raise UserError(f"action={action}: wandb says: {error}") from error
    if not has_key:
        raise UserError(
            f"action={action}: there is no API key. Take one from {KEY_FROM} and: wandb login"
        )
    if useless := trouble(settings.base_url):  # wandb would try for long, and may never end
        raise UserError(f"action={action}: {settings.base_url} {useless}.")
