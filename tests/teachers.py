"""A real HTTP teacher for tests: an OpenAI-compatible loopback server that knows the answers and can
misbehave.

A tag in the question sets its behaviour: `[429]`, `[garbage]`, ... It counts its requests.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "oracle"


def _completion(**parts: Any) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "The answer is 5."},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    whole = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps({**whole, **parts}).encode()


def _message(message: Any) -> bytes:
    return _completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])


ODD = {
    "odd-half-character": _message({"role": "assistant", "content": "a \ud83d b"}),
    "odd-choices": _completion(choices="oops"),
    "odd-null-choice": _completion(choices=[None]),
    "odd-depth": b"[" * 200_000,
    "odd-list": b"[1, 2]",
    "odd-null": b"null",
}
"""JSON or almost JSON, but not a chat completion."""


class Teacher(ThreadingHTTPServer):
    """`asked` counts requests by question; `answered` counts complete, right answers sent."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.headers_seen: list[dict[str, str]] = []
        self.delay_s, self.most_at_once, self.now, self.lock = delay_s, 0, 0, threading.Lock()
        self.dead = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Teacher

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        if not self.path.startswith("/v1/"):
            return self._send(404, {"error": {"message": "no such path"}})
        return self._send(
            200,
            {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "test"}]},
        )

    def do_POST(self) -> None:
        teacher = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        if not self.path.startswith("/v1/"):
            return self._send(404, {"error": {"message": "no such path"}})
        if body["model"] != MODEL:
            return self._send(404, {"error": {"message": f"no model {body['model']}"}})
        if question == "Hello":
            return self._send_bytes(200, self._answer("1 1", body), "application/json")
        return self._count(teacher, question, body)

    def _count(self, teacher: Teacher, question: str, body: dict[str, Any]) -> None:
        with teacher.lock:
            teacher.asked[question] += 1
            teacher.headers_seen.append(dict(self.headers))
            times = teacher.asked[question]
            teacher.now += 1
            teacher.most_at_once = max(teacher.most_at_once, teacher.now)
        try:
            time.sleep(teacher.delay_s)
            self._misbehave(question, times, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with teacher.lock:
                teacher.now -= 1

    def _misbehave(self, question: str, times: int, body: dict[str, Any]) -> None:
        found = re.search(r"\[([a-z0-9-]+)\]", question)
        kind = found[1] if found else ""
        if self.server.dead or kind == "dead":
            self.close_connection = True
            self.connection.close()
        elif kind == "silence":
            time.sleep(30)
        elif kind == "bad-request":
            self._send(400, {"error": {"message": "too long a prompt"}})
        elif kind == "quota":
            self._send(429, {"error": {"message": "no money left", "code": "insufficient_quota"}})
        elif kind == "429" and times < 3:
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
        elif kind == "429-at-once" and times < 4:
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0"})
        elif kind == "500" and times < 2:
            self._send(500, {"error": {"message": "oops"}})
        elif kind == "garbage" or (kind == "garbage-once" and times < 2):
            self._send_bytes(200, b"<html>busy</html>", "text/html")
        elif kind == "drips":
            self._drip()
        elif kind in ODD:
            self._send_bytes(200, ODD[kind], "application/json")
        elif kind == "broken-json":
            self._send_bytes(200, b'{"choices": [{"mess', "application/json")
        elif kind == "half" and times < 2:
            self._send_bytes(200, self._answer(question, body), "application/json", claim=10_000)
            self.close_connection = True
        else:
            self._send_bytes(200, self._answer(question, body), "application/json")
            with self.server.lock:
                self.server.answered[question] += 1

    def _drip(self) -> None:
        """Send a byte now and then, so that no single read takes long."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.3)

    def _answer(self, question: str, body: dict[str, Any]) -> bytes:
        numbers = [int(number) for number in re.findall(r"\d+", question.split("[")[0])][:2]
        total = sum(numbers)
        sums = f"{numbers[0]} + {numbers[1]} = {total}"
        text = f"There are {numbers[0]} and {numbers[1]} more. {sums}.\nThe answer is {total}."
        finish = "stop"
        if "[wrong]" in question:
            text = "It is hard to say.\nThe answer is 100000."
        if "[refuse]" in question:
            text = "I'm sorry, but I cannot help with that."
        if "[long]" in question:
            text, finish = text[:20], "length"
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
        return json.dumps(answer).encode()

    def _send(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(value).encode(), "application/json", headers=headers)

    def _send_bytes(
        self,
        status: int,
        content: bytes,
        kind: str,
        claim: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(claim or len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve(delay_s: float = 0.0) -> Iterator[Teacher]:
    """A teacher on a free loopback port for the duration of the block."""
    teacher = Teacher(delay_s)
    thread = threading.Thread(target=teacher.serve_forever, daemon=True)
    thread.start()
    try:
        yield teacher
    finally:
        teacher.shutdown()
        teacher.server_close()
