"""Servers that are of no use to wandb."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANGS = 0  # in place of a status


@contextmanager
def refusing() -> Iterator[str]:
    """The address of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def answering(front: int, runs: int) -> Iterator[str]:
    """The address of a server with these statuses on its front page, and where runs are opened."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(front)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(runs)

        def _answer(self, status: int) -> None:
            if status == HANGS:
                time.sleep(3600)
            text = json.dumps({"errors": [{"message": "no"}]}).encode()
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
