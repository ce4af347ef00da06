"""A teacher behind an OpenAI-compatible server: bounded concurrency, retries, a deadline, and nothing left without a word.

The openai client tries again after 429, 5xx, time-outs and broken connections, with growing pauses, and honours
Retry-After; here that is bounded by a deadline, and answers that are not what the protocol promises are tried again too.
The key comes from the environment and is never logged.
"""

import asyncio
import json
import os
import time
from difflib import get_close_matches
from typing import Any

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.models.teacher import Keep, Request, Written

ATTEMPTS = 1_000
"""Attempts of the client at one question; the deadline ends them earlier."""
UNREADABLE_ATTEMPTS = 3
"""Answers that make no sense are asked for again so many times in all."""
PROBE_S = 5.0


class Unanswered(Exception):
    """Why a question has no answer."""


class Endpoint:
    """Asks a server many questions at once, from one thread."""

    def __init__(self, teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
        self.teacher, self.endpoint = teacher, endpoint
        self.loop = asyncio.new_event_loop()
        self.client = _client(endpoint, endpoint.timeout_s, ATTEMPTS)
        self.limit = asyncio.Semaphore(endpoint.concurrency)
        self.heard = time.monotonic()  # when the server last answered anything of use

    def answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        """Ask all; `keep` is called with every answer as it comes. Returns why, by key, for those that got none."""
        self.heard = time.monotonic()
        return self.loop.run_until_complete(self._answer_all(requests, keep))

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
                    keep(request, written)

        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(answer(request))
        return failed

    async def _answer(self, request: Request) -> Written:
        silent_s = time.monotonic() - self.heard
        if silent_s > self.endpoint.deadline_s:
            raise Unanswered(f"given up: {self.endpoint.url} has not answered anything for {silent_s:.0f} s")
        last = "no attempt ended"
        try:
            async with asyncio.timeout(self.endpoint.deadline_s):
                for attempt in range(UNREADABLE_ATTEMPTS):
                    await asyncio.sleep(2.0**attempt - 1)
                    try:
                        return _read(await self._ask(request))
                    except (ValueError, openai.APIResponseValidationError) as error:  # not JSON, or not a chat completion
                        last = f"unreadable answer: {error}"
        except TimeoutError as error:
            raise Unanswered(f"no answer within endpoint.deadline_s = {self.endpoint.deadline_s:g}; {last}") from error
        except openai.APIStatusError as error:
            raise Unanswered(f"HTTP {error.status_code}: {str(error.message)[:300]}") from error
        except openai.APIConnectionError as error:
            raise Unanswered(f"no connection: {error.__cause__ or error}") from error
        raise Unanswered(last)

    async def _ask(self, request: Request) -> Any:
        return await self.client.chat.completions.create(
            model=self.teacher.model,
            messages=request.messages,  # type: ignore[arg-type]
            temperature=self.teacher.temperature,
            max_tokens=self.teacher.max_tokens,
            seed=request.sample if self.teacher.temperature else openai.omit,
        )


def probe(teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
    """ValueError within seconds, before any question is asked, where the endpoint cannot be used."""
    where = f"endpoint.url: {endpoint.url}"
    key = endpoint.key_variable
    try:
        listed = asyncio.run(_models(endpoint))
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        said = "is refused" if os.environ.get(key) else "is not set"
        raise ValueError(f"{where} answers HTTP {error.status_code}, and the key in the environment variable {key} {said}") from error
    except openai.APIStatusError:
        return  # it answers; not every server lists its models, and a busy one will be tried again
    except (openai.APIConnectionError, TimeoutError) as error:
        why = error.__cause__ or error
        raise ValueError(f"{where} does not answer: {str(why) or 'time-out'}; start the server, or mend the address") from error
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is no OpenAI-compatible server ({type(error).__name__}); the address mostly ends in /v1") from error
    if listed and teacher.model not in listed:
        _check_unlisted(teacher, endpoint, listed)


def _check_unlisted(teacher: TeacherConfig, endpoint: EndpointConfig, listed: list[str]) -> None:
    """ValueError where a model that the server does not list is refused; some servers load what they do not list."""
    try:
        asyncio.run(_greet(teacher, endpoint))
    except (openai.NotFoundError, openai.BadRequestError) as error:
        near = get_close_matches(teacher.model, listed, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(listed)[:10])}"
        raise ValueError(f"rationales.teacher.model: {endpoint.url} has no model '{teacher.model}'; {hint}") from error
    except (openai.APIError, TimeoutError, ValueError):
        return  # it knows the model, and may be loading it: the questions will tell


async def _greet(teacher: TeacherConfig, endpoint: EndpointConfig) -> None:
    async with asyncio.timeout(PROBE_S):
        await _client(endpoint, PROBE_S, 0).chat.completions.create(
            model=teacher.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1
        )


async def _models(endpoint: EndpointConfig) -> list[str]:
    async with asyncio.timeout(PROBE_S):
        return [model.id for model in (await _client(endpoint, PROBE_S, 0).models.list()).data]


def _client(endpoint: EndpointConfig, timeout_s: float, attempts: int) -> AsyncOpenAI:
    key = os.environ.get(endpoint.key_variable) or "none"  # servers without keys ignore it
    try:
        return AsyncOpenAI(base_url=endpoint.url, api_key=key, timeout=timeout_s, max_retries=attempts)
    except Exception as error:  # whatever the client's HTTP library makes of a malformed URL
        raise ValueError(f"endpoint.url: '{endpoint.url}' is no address: {error}") from error


def _read(completion: Any) -> Written:
    """ValueError where the answer is no chat completion with a text."""
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise ValueError(f"no chat completion: {json.dumps(str(completion)[:120])}")
    choice, usage = completion.choices[0], completion.usage
    message = choice.message
    text = ((message.content if message else None) or "").strip()
    refused = choice.finish_reason == "content_filter" or bool(message and message.refusal)
    if not text and not refused:
        raise ValueError("an empty text")
    return Written(
        text=text or str(message.refusal),
        finish="refused" if refused else "length" if choice.finish_reason == "length" else "stop",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        tokens=usage.completion_tokens if usage else 0,
    )
