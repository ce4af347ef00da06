"""A real HTTP server on loopback whose answers to chat requests come from a function of the test."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]
"""HTTP status, and JSON or bytes."""
MODELS = {"object": "list", "data": [{"id": "oracle", "object": "model"}]}


def completion(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion with a message, or with a text as the message's content."""
    message = {"role": "assistant", "content": message} if isinstance(message, str) else message
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        **more,
    }


class OddServer(ThreadingHTTPServer):
    """`bodies` holds all chat requests; `asked` counts requests by their last message."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Callable[[dict[str, Any]], Reply], models: Reply) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.models, self.lock = reply, models, threading.Lock()
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def asked(self) -> Counter[str]:
        return Counter(body["messages"][-1]["content"] for body in self.bodies)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._send(*self.server.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
        self._send(*self.server.reply(body))

    def _send(self, status: int, value: Any) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def odd_server(
    reply: Callable[[dict[str, Any]], Reply], models: Reply = (200, MODELS)
) -> Iterator[OddServer]:
    """A server on a free port for the duration of the block."""
    server = OddServer(reply, models)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
