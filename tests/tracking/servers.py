"""Servers on this machine, and such as are of no use to wandb."""

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

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        status = front if method == "GET" else runs
        if status == HANGS:
            time.sleep(3600)
        return status, {"errors": [{"message": "no"}]}

    return serving(answer)


@contextmanager
def serving(answer: Callable[[str, str, bytes], tuple[int, Any]]) -> Iterator[str]:
    """The address of a server that answers method, path and body with a status and JSON."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, found = answer(self.command, self.path, body)
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer

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
