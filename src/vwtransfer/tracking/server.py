"""Whether wandb's server can be used, asked before wandb is: it tries again for minutes."""

import os
import threading
import urllib.error
import urllib.request
from http import HTTPStatus

from vwtransfer.errors import UserError

REACH_S = 5.0  # how long the server may take to answer at all
NO_KEY = "there is no API key"


def unusable() -> str:
    """Why nothing can be sent to wandb's server; empty where it can. Never asks a person."""
    import wandb

    try:
        # not verified: that waits minutes for a server that does not answer
        if not wandb.login(prompt=False, verify=False):
            return NO_KEY
    except Exception as error:  # a key that cannot be one
        return one_line(error)
    url = wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url
    useless = trouble(url)
    return f"{url} {useless}" if useless else ""


def trouble(url: str) -> str:
    """Why a server is of no use, within `REACH_S`, looking up its name included; else empty."""
    found = ["does not answer"]

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=REACH_S).close()
            found.append("")
        except urllib.error.HTTPError as error:  # such as "not found", which is an answer too
            failed = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            found.append(f"answers {error.code}" if failed else "")
        except (OSError, ValueError):
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACH_S)
    return found[-1]


def reached(action: str) -> None:
    """There is an API key, and a server that answers, for what a person asks for by hand.

    WANDB_MODE, which is for jobs, no longer holds in this process.

    Raises:
        UserError: one is missing for `action`.
    """
    os.environ.pop("WANDB_MODE", None)
    if why := unusable():
        mend = (
            ". Take one from https://wandb.ai/authorize and: wandb login" if why == NO_KEY else ""
        )
        raise UserError(f"action={action}: {why}{mend}")


def one_line(error: Exception) -> str:
    """An exception, for a sentence."""
    return " ".join(f"{type(error).__name__}: {error}".split())
