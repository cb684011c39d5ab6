"""What a server's answer means for a file that is brought."""

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx2

from vwtransfer.errors import UserError
from vwtransfer.fetch.items import AgainError, GoneError, Item

GONE = (403, 404, 410)  # S3 answers 403 for what it does not have
LATER = (408, 425, 429, 500, 502, 503, 504)


def validator(answer: httpx2.Response) -> str | None:
    """What tells that a file is the same later; a weak tag does not."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def first_byte(answer: httpx2.Response) -> int:
    """Where in the file begins what is sent."""
    if answer.status_code != 206:
        return 0
    try:
        unit, _, span = answer.headers["Content-Range"].partition(" ")
        return int(span.partition("-")[0]) if unit == "bytes" else -1
    except (KeyError, ValueError):
        return -1


def refuse_status(answer: httpx2.Response, item: Item, address: str) -> None:
    """Lets an answer with the file pass.

    Raises:
        AgainError: the server may have it later.
        GoneError: it does not have this photo.
        UserError: it does not answer as it should.
    """
    code = answer.status_code
    said = f"the server answered {code} {answer.reason_phrase}".strip()
    if code in LATER:
        raise AgainError(said, _retry_after(answer))
    if code in GONE and item.check is not None:
        raise GoneError(said)
    if code not in (200, 206):
        raise UserError(f"{address}: {said}. Another server: fetch.mirrors.")


def _retry_after(answer: httpx2.Response) -> float:
    """Seconds that the server asks to wait; 0: it does not say."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0
