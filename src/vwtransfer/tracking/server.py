"""Whether wandb's server answers, asked before wandb is: it tries again for minutes."""

import queue
import threading
import urllib.error
import urllib.request
from http import HTTPStatus

REACH_S = 5.0  # how long the server may take to answer at all
SILENT = "does not answer"


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
