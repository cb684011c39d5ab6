"""A server on loopback that hands out a folder, and fails as real ones do."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

STALL = 1.0  # seconds; the tests' clients wait for less
SLOW = 0.05  # seconds


class Site:
    """What is served, and how.

    Attributes:
        root: the folder.
        address: of the server, ending in a slash.
        faults: path -> what its next requests meet, one after the other; the last stays if it is
            "404" or "damaged".
        asked: (method, path, Range header or "") of each request.
        pages: path -> the file that is sent for it, where that is not the path's own.
        headers: that each answer has.
        ranges: whether parts of files are sent.
        most_at_once: requests that were answered at the same time, at most.
    """

    def __init__(self, root: Path, address: str) -> None:
        self.root, self.address = root, address
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.pages: dict[str, Path] = {}
        self.headers: dict[str, str] = {}
        self.ranges = True
        self.most_at_once = 0
        self.now = 0
        self.lock = threading.Lock()

    def fault(self, path: str) -> str:
        left = self.faults.get(path) or [""]
        return left[0] if left[0] in ("404", "damaged") else left.pop(0)

    def count(self, path: str) -> int:
        """How often a file was asked for."""
        return sum(method == "GET" and asked == path for method, asked, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        site = self.site
        path = unquote(urlsplit(self.path).path).lstrip("/")  # of a proxy's whole address too
        with site.lock:
            site.asked.append((self.command, path, self.headers.get("Range", "")))
            site.now += 1
            site.most_at_once = max(site.most_at_once, site.now)
            fault = site.fault(path) if body else ""
        try:
            self._file(site.pages.get(path, site.root / path), fault, body)
        finally:
            with site.lock:
                site.now -= 1

    def _file(self, file: Path, fault: str, body: bool) -> None:
        code, *rest = fault.split(" ", 1)
        if fault.startswith("to "):
            self._refuse(302, {"Location": rest[0]})
        elif code in ("429", "503"):
            self._refuse(int(code), {"Retry-After": rest[0]} if rest else {})
        elif code.isdigit() or not file.is_file():
            self._refuse(int(code or 404), {})
        else:
            self._send(file.read_bytes(), fault, body)

    def _refuse(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**self.site.headers, **headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, data: bytes, fault: str, body: bool) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        first, end = self._span(data, tag)
        part = data[first:end]
        if fault.startswith("damaged"):
            part = b"<html>no photo</html>" if fault == "damaged" else bytes(len(part))
        partial = len(part) < len(data)
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
        for name, value in {**self.site.headers, "ETag": tag}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if not body:
            return
        if fault.startswith("cut"):
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
        elif fault in ("stall", "hang"):
            self.wfile.write(part[: len(part) // 2] if fault == "stall" else b"")
            self.wfile.flush()
            time.sleep(STALL)
            self.close_connection = True
        else:
            time.sleep(SLOW if fault == "slow" else 0)
            self.wfile.write(part)

    def _span(self, data: bytes, tag: str) -> tuple[int, int]:
        asked = self.headers.get("Range", "")
        if not asked or not self.site.ranges or self.headers.get("If-Range", tag) != tag:
            return 0, len(data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else len(data)


def as_hub(site: Site, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Has the hub's client ask this server, and keep what it brings in a folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", site.address.rstrip("/"))
    template = site.address + "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@contextmanager
def served(root: Path) -> Iterator[Site]:
    """Serves a folder while it is used."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.site = site = Site(root, f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
