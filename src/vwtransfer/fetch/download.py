"""Files over HTTP, several at once: whole, checked and under their names, or not there at all."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx2

from vwtransfer import __version__
from vwtransfer.config.fetching import FetchConfig
from vwtransfer.errors import UserError, quoted
from vwtransfer.fetch.answers import first_byte, refuse_status, validator
from vwtransfer.fetch.items import AgainError, Arrived, Gone, GoneError, Item, inspected
from vwtransfer.files import put_in_place

REDIRECTS = 5  # in a row, at most


class _StoppedError(Exception):
    """Another file failed, or a person stopped it all."""


class Downloads:
    """Downloads through one client; proxies are those of the environment (HTTPS_PROXY, ...).

    Args:
        settings: how; see `config.fetching.FetchConfig`.
    """

    def __init__(self, settings: FetchConfig) -> None:
        for pair in settings.mirrors:
            if len(pair) != 2 or not pair[1].startswith(("http://", "https://")):
                raise UserError(
                    f"fetch.mirrors={list(map(list, settings.mirrors))}: must be pairs of how an "
                    "address begins and the http:// or https:// address that stands there instead."
                )
        self.settings = settings
        self._client = httpx2.Client(
            follow_redirects=True,
            max_redirects=REDIRECTS,
            timeout=settings.timeout_s,
            headers={"User-Agent": f"vwtransfer/{__version__}", "Accept-Encoding": "identity"},
            limits=httpx2.Limits(max_connections=settings.parallel),
        )
        self._stop = threading.Event()
        self._not_before = 0.0  # a server that asks one connection to wait means all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def mirrored(self, address: str) -> str:
        """The address that is asked in place of this one."""
        pairs = sorted(self.settings.mirrors, key=lambda pair: -len(pair[0]))
        for start, instead in pairs:
            if address.startswith(start):
                return instead + address[len(start) :]
        return address

    def size(self, address: str) -> int | None:
        """Bytes of what lies there, as the server says without sending it; None: it does not."""
        with suppress(httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            answer = self._client.head(self.mirrored(address))
            if answer.status_code == 200:
                return int(answer.headers["Content-Length"])
        return None

    def sizes(self, addresses: Iterable[str]) -> list[int | None]:
        """As `size`, of several at once."""
        with ThreadPoolExecutor(self.settings.parallel) as pool:
            return list(pool.map(self.size, addresses))

    def get(
        self, items: Iterable[Item], advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[Item, Arrived | Gone]]:
        """Brings files and gives each as it comes.

        What was received of a file before, by this process or one that was killed, is not asked
        for again, if the server says that the file is the same.

        Args:
            items: the files.
            advance: is told of further bytes, from any thread.

        Raises:
            UserError: a file cannot be brought now; what was received is kept for the next time.
            OSError: it cannot be written.
        """
        self._stop.clear()
        pool = ThreadPoolExecutor(self.settings.parallel, thread_name_prefix="fetch")
        try:
            under_way = {pool.submit(self._bring, item, advance): item for item in items}
            for future in as_completed(under_way):
                try:
                    yield under_way[future], future.result()
                except GoneError as error:
                    yield under_way[future], Gone(str(error))
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _bring(self, item: Item, advance: Callable[[int], None]) -> Arrived:
        part = item.path.with_name(f".{item.path.name}.part")
        failures, furthest, told, wrong = 0, _held(part), 0, list[str]()

        def reach(byte: int) -> None:
            nonlocal told
            if byte > told:
                advance(byte - told)
                told = byte

        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    self._receive(item, part, reach)
                    found, fault = inspected(part, item)
                    if fault is None:
                        reach(found.size)
                        put_in_place(part, item.path)
                        _notes(part).unlink(missing_ok=True)
                        return found
                    part.unlink()
                    if found.sha256 in wrong:
                        raise self._hopeless(item, fault)
                    wrong.append(found.sha256)
                    failures, furthest = len(wrong) - 1, 0
                    raise AgainError(fault)
                except (AgainError, httpx2.TransportError) as error:
                    reached = _held(part)
                    failures = 0 if reached > furthest else failures + 1
                    furthest = max(furthest, reached)
                    self._wait(item, error, failures)
        except (httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
            raise UserError(f"{item.address}: {quoted(error)}.") from error

    def _hopeless(self, item: Item, fault: str) -> Exception:
        """The same wrong bytes came twice."""
        if item.digest is None and item.size is None:
            return GoneError(fault)
        return UserError(
            f"{self.mirrored(item.address)}: {fault}, twice. Choose another server with "
            "fetch.mirrors; what is published stands in the config's group fetch."
        )

    def _receive(self, item: Item, part: Path, reach: Callable[[int], None]) -> None:
        """Goes on with what is there of the file, until the server has sent all of it."""
        held, headers = _kept(part, item)
        if held and held == item.size and item.digest is not None:
            return
        self._pause(self._not_before - time.monotonic())
        address = self.mirrored(item.address)
        with self._client.stream("GET", address, headers=headers) as answer:
            if answer.status_code == 416:
                part.unlink(missing_ok=True)
                raise AgainError("the server has less of it than was received")
            refuse_status(answer, item, address)
            if address.startswith("https:") and answer.url.scheme != "https":
                raise UserError(f"{address}: leads to {answer.url}, which is not encrypted.")
            first = first_byte(answer)
            if first not in (0, held):
                raise AgainError("the server sent another part of the file")
            length = answer.headers.get("Content-Length")
            total = first + int(length) if length else None
            _refuse_size(item, address, total or 0)
            if not first:
                notes = {"address": item.address, "validator": validator(answer)}
                _notes(part).write_text(json.dumps(notes), encoding="utf-8")
            with part.open("ab" if first else "wb") as file:
                for piece in answer.iter_raw():
                    if self._stop.is_set():
                        raise _StoppedError
                    file.write(piece)
                    _refuse_size(item, address, file.tell())
                    reach(file.tell())
        if total is not None and _held(part) < total:
            raise AgainError("the connection was cut")

    def _wait(self, item: Item, error: Exception, failures: int) -> None:
        """Waits before the next attempt, or gives up."""
        settings, reason = self.settings, quoted(error) or type(error).__name__
        where = self.mirrored(item.address)
        if isinstance(error, httpx2.UnsupportedProtocol):
            raise UserError(f"{where}: {reason} Addresses are http:// or https://.") from error
        asked = error.wait if isinstance(error, AgainError) else 0.0
        if asked > settings.max_wait_s:
            raise UserError(
                f"{where}: the server asks to wait {asked:.0f} s, more than "
                f"fetch.max_wait_s={settings.max_wait_s:g}. The same command goes on later."
            ) from error
        if failures >= settings.attempts:
            raise UserError(
                f"{where}: {reason}, {failures} times in a row. What was received is kept: the "
                "same command goes on. (Behind a proxy set HTTPS_PROXY and HTTP_PROXY; another "
                "server: fetch.mirrors.)"
            ) from error
        if asked:
            self._not_before = max(self._not_before, time.monotonic() + asked)
        backoff = settings.backoff_s * 2 ** max(failures - 1, 0) * random.uniform(0.5, 1)
        self._pause(max(asked, min(backoff, settings.max_wait_s)))

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(max(seconds, 0)):
            raise _StoppedError


def _notes(part: Path) -> Path:
    """What was known of the file when its first bytes came."""
    return part.with_suffix(".part.json")


def _kept(part: Path, item: Item) -> tuple[int, dict[str, str]]:
    """Bytes of the file that are there, and the headers that ask for the rest of it."""
    held, notes = _held(part), _read_notes(part)
    known = notes.get("validator") if notes.get("address") == item.address else None
    if not held or (not known and item.digest is None):
        return 0, {}  # nothing would tell whether both halves are of the same file
    return held, {"Range": f"bytes={held}-", **({"If-Range": known} if known else {})}


def _read_notes(part: Path) -> dict[str, Any]:
    try:
        found = json.loads(_notes(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _held(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _refuse_size(item: Item, address: str, size: int) -> None:
    if size > item.most:
        raise UserError(
            f"{address}: has more than {item.most:,} bytes, which are the most allowed."
        )
