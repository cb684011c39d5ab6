"""Servers that wandb is sent to: of no use, or taking whatever comes."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANGS = 0  # in place of a status


@contextmanager
def refusing() -> Iterator[str]:
    """The address of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def answering(front: int, runs: int) -> AbstractContextManager[str]:
    """The address of a server with these statuses on its front page, and where runs are opened."""

    def answer(sent: Any) -> tuple[int, Any]:
        status = front if sent is None else runs
        if status == HANGS:
            time.sleep(3600)
        return status, {"errors": [{"message": "no"}]}

    return _serving(answer)


def taking(views: list[dict[str, Any]]) -> AbstractContextManager[str]:
    """The address of a server where my-lab may do anything; the views it is sent."""

    def answer(sent: Any) -> tuple[int, Any]:
        if sent and "upsertView" in sent.get("query", ""):
            views.append(sent["variables"])
            view = {"id": "1", "name": sent["variables"]["name"]}
            return 200, {"data": {"upsertView": {"view": view, "inserted": True}}}
        viewer = {"id": "2", "entity": "my-lab", "username": "me", "flags": "{}"}
        return 200, {"data": {"viewer": {**viewer, "teams": {"edges": []}}}}

    return _serving(answer)


@contextmanager
def _serving(answer: Callable[[Any], tuple[int, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(json.loads(text) if self.path == "/graphql" else {})

        def _answer(self, sent: Any) -> None:
            status, found = answer(sent)
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_request(self, *values: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
