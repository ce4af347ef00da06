"""A teacher behind an OpenAI-compatible server.

Concurrency is bounded, failed requests are retried until a deadline, and each one gets a recorded outcome.

The openai client speaks the protocol. teacher/replies.py reads the replies, because the client's models are
stricter than real servers. The retries are our own, because the client gives up if Retry-After exceeds two
minutes, drops the server's message, and measures its time-out from byte to byte. We retry 408, 409, 429, 5xx,
broken connections and time-outs, and a few times replies that are not chat completions. If a server refuses a
request, teacher/forms.py changes its form. The key comes from the environment. It is never logged, and hidden
in the server's messages.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import count
from random import random
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.teacher.forms import Form, adapt, fields
from skipthink_ray.teacher.replies import read_failure, read_reply
from skipthink_ray.teacher.requests import Keep, Request, Written
from skipthink_ray.teacher.server_errors import ServerError, without_key

UNREADABLE_ATTEMPTS = 3
"""Maximum attempts for a question whose answers are unreadable."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
WORDLESS_ATTEMPTS = 3
"""After this many HTTP 500 replies without any answer so far, the system role may be the cause."""
SAME_FOR_ALL = (401, 402)
"""HTTP statuses that hold for every question, not only for the one that got it."""
PERHAPS_SAME_FOR_ALL, DENIALS = (403, 404), 3
"""These hold for every question if this many questions get them before any is answered."""
log = logging.getLogger(__name__)


class Unanswered(Exception):
    """A question stays without an answer; the message gives the reason."""


class Endpoint:
    """Sends many questions to a server concurrently, from one thread."""

    def __init__(
        self, teacher: TeacherConfig, endpoint: EndpointConfig, say: Callable[[str], None] = log.warning
    ) -> None:
        """`say` receives each change of form that the server needs, once."""
        self.teacher, self.endpoint, self.say = teacher, endpoint, say
        self.loop = asyncio.new_event_loop()
        self.client = open_client(endpoint)
        self.form, self.told, self.answered, self.denials = Form(), set[str](), False, 0
        self.limit = asyncio.Semaphore(endpoint.concurrency)
        self.silent_s, self.heard = 0.0, time.monotonic()
        self.given_up = ""

    def answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        """Send all requests. Returns the reason for every request without an answer, by key.

        `keep` is called with each answer as soon as it arrives, in a thread.
        """
        self.heard = time.monotonic() - self.silent_s  # the time between two calls does not count as silence
        try:
            return self.loop.run_until_complete(self._answer_all(requests, keep))
        finally:
            self.silent_s = time.monotonic() - self.heard

    async def _answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        failed: dict[str, str] = {}

        async def answer(request: Request) -> None:
            async with self.limit:
                try:
                    written = await self._answer(request)
                except Unanswered as error:
                    failed[request.key] = str(error)
                else:
                    self.heard = time.monotonic()
                    await asyncio.to_thread(keep, request, written)

        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(answer(request))
        return failed

    async def _answer(self, request: Request) -> Written:
        silent_s = time.monotonic() - self.heard
        if silent_s > self.endpoint.deadline_s and not self.given_up:
            self.given_up = f"{self.endpoint.url} has not answered anything for {silent_s:.0f} s"
        if self.given_up:
            raise Unanswered(f"given up: {self.given_up}")
        last = ["no attempt has finished"]
        try:
            async with asyncio.timeout(self.endpoint.deadline_s):
                return await self._try(request, last)
        except TimeoutError as error:
            raise Unanswered(
                f"no answer within endpoint.deadline_s = {self.endpoint.deadline_s:g}; last: {last[0]}"
            ) from error

    async def _try(self, request: Request, last: list[str]) -> Written:
        """Try until there is an answer or another attempt would not help.

        `last` holds the last attempt's outcome.
        """
        form, changes, unclear = self.form, list[str](), 0
        for attempt in count():
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * (1 - 0.25 * random())
            try:
                async with asyncio.timeout(self.endpoint.timeout_s):
                    written = await send(self.client, self.teacher, self.endpoint, request, form)
                self._learn(form, changes)
                return written
            except TimeoutError:
                last[0] = (
                    f"no answer within endpoint.timeout_s = {self.endpoint.timeout_s:g}; "
                    "raise it if the teacher writes long answers"
                )
            except ServerError as error:
                last[0] = error.said
                if error.refuses:
                    return Written(error.words, "refused", 0, 0)
                if other := adapt(form, self.teacher, request, self._explained(error, attempt)):
                    form, change = other
                    changes.append(change)
                    continue
                pause_s = self._pause_s(error, pause_s)
                unclear += error.again is None
            except openai.APIConnectionError as error:
                last[0] = f"no connection: {no_connection(error, self.endpoint)}"
            except (ValueError, RecursionError) as error:  # invalid JSON, or not a chat completion
                last[0] = f"unreadable answer: {str(error)[:300]}"
                unclear += 1
            if unclear == UNREADABLE_ATTEMPTS:
                raise Unanswered(last[0])
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    def _explained(self, error: ServerError, attempt: int) -> ServerError:
        """Some chat templates fail on an unknown role with a bare HTTP 500 for every question."""
        wordless = error.status == 500 and attempt + 1 >= WORDLESS_ATTEMPTS and not self.answered
        return replace(error, field="role") if wordless else error

    def _pause_s(self, error: ServerError, pause_s: float) -> float:
        """Seconds until the next attempt: `pause_s`, or more if the server asks for it.

        Raises Unanswered if another attempt would not help.
        """
        self.denials += error.status in PERHAPS_SAME_FOR_ALL
        denied = self.denials >= DENIALS and error.status in PERHAPS_SAME_FOR_ALL and not self.answered
        if denied or error.status in SAME_FOR_ALL:
            self.given_up = f"{error.said} (is {self.endpoint.key_variable} set on every node?)"
        if error.again is False:
            raise Unanswered(error.said)
        return max(pause_s, error.pause_s or 0)  # some servers always ask for a pause of 0 s

    def _learn(self, form: Form, changes: list[str]) -> None:
        """Use the form that got an answer for the questions that follow."""
        self.answered = True
        if changes:
            self.form = form if form.for_all else replace(form, limit=self.form.limit, for_all=True)
        for change in changes:
            if change not in self.told:
                self.told.add(change)
                self.say(change)


async def send(
    client: AsyncOpenAI,
    teacher: TeacherConfig,
    endpoint: EndpointConfig,
    request: Request,
    form: Form,
    limit: int | None = None,
) -> Written:
    """Send a request once.

    Raises ServerError if the server refuses it, ValueError if the reply is not an answer, and the client's
    errors if there is no connection.
    """
    body = fields(form, teacher, request, limit)
    try:
        reply = await client.chat.completions.with_raw_response.create(
            model=teacher.model,
            messages=[],
            extra_body=body,
            extra_headers=None if key_of(endpoint) else {"Authorization": openai.Omit()},
        )
        return read_reply(reply.http_response.content, body.get(form.limit_field or ""), key_of(endpoint))
    except openai.APIStatusError as error:
        failure = read_failure(error.status_code, error.response.content, key_of(endpoint))
        raise replace(
            failure, pause_s=_retry_after_s(error.response.headers.get("retry-after", ""))
        ) from None


def open_client(endpoint: EndpointConfig) -> AsyncOpenAI:
    """Raises ValueError for an address or key that cannot be sent. The message never shows the key."""
    key = key_of(endpoint)
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"endpoint.key_variable: the key in {endpoint.key_variable} holds characters that cannot be sent"
        ) from None
    if key and not is_private(endpoint.url):
        raise ValueError(
            f"endpoint.url: {endpoint.url} is not encrypted, so others could read the key in "
            f"{endpoint.key_variable}; use https, or name an unset variable with --endpoint.key-variable"
        )
    address = endpoint.url.rstrip("/").removesuffix("/chat/completions")
    try:
        return AsyncOpenAI(base_url=address, api_key=key or "none", max_retries=0)
    except Exception as error:  # the client's HTTP library raises various errors for a malformed URL
        raise ValueError(f"endpoint.url: '{endpoint.url}' is not a valid address: {error}") from error


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent: with https, or within this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return parts.scheme != "http" or is_loopback


def key_of(endpoint: EndpointConfig) -> str:
    return os.environ.get(endpoint.key_variable, "").strip()


def no_connection(error: openai.APIConnectionError, endpoint: EndpointConfig) -> str:
    """The reason for a failed connection, without the API key, which the server may have sent back."""
    return without_key(str(error.__cause__ or error), key_of(endpoint)) or "no connection"


def _retry_after_s(value: str) -> float | None:
    """Seconds to wait, from a Retry-After header with a number or a date; None if it has neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
