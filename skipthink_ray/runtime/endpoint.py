"""A teacher behind an OpenAI-compatible server: bounded concurrency, retries, a deadline, and nothing left without a word.

The openai client speaks the protocol. The retries are ours: the client gives up where Retry-After is longer than two
minutes, forgets what the server said, and counts a time-out from byte to byte. Tried again: 408, 409, 429, 5xx, broken
connections, time-outs, and a few times what is no chat completion. The key comes from the environment and is never logged.
"""

import asyncio
import os
import time
from collections.abc import Callable
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from itertools import count
from random import random
from typing import Any

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.models.teacher import Keep, Request, Written

UNREADABLE_ATTEMPTS = 3
"""Answers that make no sense are asked for again so many times in all."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
PROBE_S = 5.0
SAME_FOR_ALL = (401, 403, 404)
"""What a server says to every question if it says it to one."""


class Unanswered(Exception):
    """Why a question has no answer."""


class Endpoint:
    """Asks a server many questions at once, from one thread."""

    def __init__(self, teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
        self.teacher, self.endpoint = teacher, endpoint
        self.loop = asyncio.new_event_loop()
        self.client = _client(endpoint)
        self.limit = asyncio.Semaphore(endpoint.concurrency)
        self.silent_s, self.heard = 0.0, time.monotonic()
        self.given_up = ""

    def answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        """Ask all; `keep` is called, in a thread, with every answer as it comes. Returns why, by key, for those without one."""
        self.heard = time.monotonic() - self.silent_s  # what lay between two calls is no silence of the server
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
        last = ["no attempt ended"]
        try:
            async with asyncio.timeout(self.endpoint.deadline_s):
                return await self._try(request, last)
        except TimeoutError as error:
            raise Unanswered(f"no answer within endpoint.deadline_s = {self.endpoint.deadline_s:g}; last: {last[0]}") from error

    async def _try(self, request: Request, last: list[str]) -> Written:
        """Until it is answered, or one more attempt would not help; `last` holds what the last attempt came to."""
        unreadable = 0
        for attempt in count():
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * (1 - 0.25 * random())
            try:
                async with asyncio.timeout(self.endpoint.timeout_s):
                    return _read(await self._ask(request))
            except TimeoutError:
                last[0] = f"no answer within endpoint.timeout_s = {self.endpoint.timeout_s:g}"
            except openai.APIStatusError as error:
                last[0] = f"HTTP {error.status_code}: {str(error.message)[:300]}"
                if error.status_code in SAME_FOR_ALL:
                    self.given_up = f"{last[0]} (is {self.endpoint.key_variable} set on every node?)"
                if not _may_pass(error):
                    raise Unanswered(last[0]) from error
                pause_s = _retry_after_s(error) or pause_s
            except openai.APIConnectionError as error:
                last[0] = f"no connection: {error.__cause__ or error}"
            except (ValueError, RecursionError, openai.APIResponseValidationError) as error:  # no JSON, or no chat completion
                last[0] = f"unreadable answer: {str(error)[:300]}"
                unreadable += 1
                if unreadable == UNREADABLE_ATTEMPTS:
                    raise Unanswered(last[0]) from error
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    async def _ask(self, request: Request) -> Any:
        return await self.client.chat.completions.create(
            model=self.teacher.model,
            messages=request.messages,  # type: ignore[arg-type]
            temperature=self.teacher.temperature,
            max_tokens=self.teacher.max_tokens,
            seed=request.sample if self.teacher.temperature else openai.omit,
            extra_headers=_without_key(self.endpoint),
        )


def probe(teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
    """ValueError within seconds, before any question is asked, where the endpoint cannot be used: address, key, model, settings."""
    _client(endpoint)  # the address and the key can be sent at all
    listed = _checked(lambda: asyncio.run(_models(endpoint)), teacher, endpoint, []) or []
    _checked(lambda: asyncio.run(_greet(teacher, endpoint)), teacher, endpoint, listed)


def _checked(call: Callable[[], Any], teacher: TeacherConfig, endpoint: EndpointConfig, listed: list[str]) -> Any:
    """What a call returns; None where the server is only busy. ValueError where no question will be answered."""
    where, key = f"endpoint.url: {endpoint.url}", endpoint.key_variable
    try:
        return call()
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        said = "is refused" if os.environ.get(key) else "is not set"
        raise ValueError(f"{where} answers HTTP {error.status_code}, and the key in the environment variable {key} {said}") from error
    except openai.APIStatusError as error:
        if error.request.method == "POST" and error.status_code in (400, 404, 405, 422):  # the greeting
            near = get_close_matches(teacher.model, listed, n=1)
            has = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(sorted(listed)[:10])}" if listed else ""
            raise ValueError(
                f"{where} refuses rationales.teacher.model '{teacher.model}' or its settings: HTTP {error.status_code}: "
                f"{str(error.message)[:200]}{has} (the address mostly ends in /v1)"
            ) from error
        return None  # not every server lists its models, and a busy one will be tried again
    except openai.APIConnectionError as error:
        why = str(error.__cause__ or error) or "no connection"
        raise ValueError(f"{where} does not answer: {why}; start the server, or mend the address") from error
    except TimeoutError:
        return None  # it may be loading the model: the questions will tell
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is no OpenAI-compatible server ({type(error).__name__}); the address mostly ends in /v1") from error


async def _models(endpoint: EndpointConfig) -> list[str]:
    async with asyncio.timeout(PROBE_S):
        return [model.id for model in (await _client(endpoint).models.list(extra_headers=_without_key(endpoint))).data]


async def _greet(teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
    """One token under the settings of the questions: some models take no temperature, or call max_tokens otherwise."""
    async with asyncio.timeout(PROBE_S):
        await _client(endpoint).chat.completions.create(
            model=teacher.model,
            messages=[{"role": "user", "content": "Hello"}],
            temperature=teacher.temperature,
            max_tokens=1,
            extra_headers=_without_key(endpoint),
        )


def _client(endpoint: EndpointConfig) -> AsyncOpenAI:
    """ValueError, which never shows the key, for an address or key that cannot be sent."""
    key = _key(endpoint)
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"endpoint.key_variable: the key in {endpoint.key_variable} holds characters that cannot be sent") from None
    try:
        return AsyncOpenAI(base_url=endpoint.url, api_key=key or "none", max_retries=0)
    except Exception as error:  # whatever the client's HTTP library makes of a malformed URL
        raise ValueError(f"endpoint.url: '{endpoint.url}' is no address: {error}") from error


def _key(endpoint: EndpointConfig) -> str:
    return os.environ.get(endpoint.key_variable, "").strip()


def _without_key(endpoint: EndpointConfig) -> dict[str, str | openai.Omit] | None:
    """Headers of a request where there is no key to send."""
    return None if _key(endpoint) else {"Authorization": openai.Omit()}


def _may_pass(error: openai.APIStatusError) -> bool:
    """Whether the same request may succeed later."""
    return (error.status_code in (408, 409, 429) and error.code != "insufficient_quota") or error.status_code >= 500


def _retry_after_s(error: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait, written as a number or as a date; None where it does not."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _read(completion: Any) -> Written:
    """ValueError where the answer is no chat completion with a text: the client does not check what it parses."""
    if not isinstance(completion, BaseModel):
        raise ValueError(f"no chat completion: {str(completion)[:120]!a}")
    checked = ChatCompletion.model_validate(completion.model_dump(warnings=False))
    if not checked.choices:
        raise ValueError("a chat completion without a choice")
    choice, usage = checked.choices[0], checked.usage
    text = (choice.message.content or "").strip()
    text.encode()  # half a character cannot be stored
    refused = choice.finish_reason == "content_filter" or bool(choice.message.refusal)
    if not text and not refused:
        raise ValueError("an empty text")
    return Written(
        text=text or choice.message.refusal or "",
        finish="refused" if refused else "length" if choice.finish_reason == "length" else "stop",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        tokens=usage.completion_tokens if usage else 0,
    )
