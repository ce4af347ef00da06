"""Checks within seconds whether an endpoint can be used, before any question is sent.

The check sends one greeting with the settings of the questions. It fails only for faults that affect every
question: no connection, a refused key, an unknown model or path, or settings that the server accepts in no
form. Errors that may be temporary, or that depend on the question, do not fail it. The server's list of
models only improves the error message.
"""

import asyncio
import os
from difflib import get_close_matches
from itertools import count

import openai

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.teacher.endpoint import key_of, no_connection, open_client, send
from skipthink_ray.teacher.forms import STATUSES, Form, adapt
from skipthink_ray.teacher.requests import Request
from skipthink_ray.teacher.server_errors import ServerError, without_key

PROBE_S = 5.0
PAUSE_S, ATTEMPTS = 0.5, 3
"""Pause between attempts, and the maximum number of attempts if the replies are unreadable."""
GREETING = ({"role": "user", "content": "Hello"},)
REFUSED = (400, 402, 404, 405, 413, 422)
_NOT_THE_QUESTIONS = ("context length", "context window", "maximum context")
"""Errors about the length of the greeting. Its exemplars may be too long even if a question fits."""


def probe(
    teacher: TeacherConfig, endpoint: EndpointConfig, greeting: tuple[dict[str, str], ...] = GREETING
) -> None:
    """Raises ValueError within seconds if the address, key, model or settings rule out every answer.

    `greeting`: the chat messages to send.
    """
    open_client(endpoint)  # raises if the address or the key cannot be sent
    if error := asyncio.run(_greet(teacher, endpoint, Request(greeting, 0, ""))):
        raise ValueError(error)


async def _greet(teacher: TeacherConfig, endpoint: EndpointConfig, request: Request) -> str | None:
    """The fault that affects every question; None if there is none so far."""
    form, limit = Form(), 1
    for attempt in count(1):
        try:
            async with asyncio.timeout(PROBE_S), open_client(endpoint) as client:
                await send(client, teacher, endpoint, request, form, limit)
            return None
        except TimeoutError:
            return None  # the server may still be loading the model
        except openai.APIConnectionError as error:
            why = no_connection(error, endpoint)
            return (
                f"endpoint.url: {endpoint.url} does not answer: {why}; start the server, or fix the address"
            )
        except ServerError as error:
            if (
                error.again
                or error.refuses
                or any(words in error.words.lower() for words in _NOT_THE_QUESTIONS)
            ):
                return None
            other = adapt(form, teacher, request, error)
            if (
                limit
                and error.status in STATUSES
                and (other is None or other[0].limit_field != form.limit_field)
            ):
                limit = None  # some servers refuse a limit of 1; the questions use a larger one
                continue
            if other:
                form = other[0]
                continue
            if error.again is False or attempt >= ATTEMPTS:
                return await _refusal(error, teacher, endpoint)
        except (ValueError, RecursionError) as error:
            if "not a chat completion" not in str(error):
                return None  # the greeting allows one token, so the answer may lack a text
            if attempt >= ATTEMPTS:
                return (
                    f"endpoint.url: {endpoint.url} is not an OpenAI-compatible server ({error}); "
                    "the address usually ends in /v1"
                )
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable")


async def _refusal(error: ServerError, teacher: TeacherConfig, endpoint: EndpointConfig) -> str | None:
    where, key = f"endpoint.url: {endpoint.url}", endpoint.key_variable
    if error.status in (401, 403):
        said = "is refused" if os.environ.get(key) else "is not set"
        return f"{where} answers {error.said}, and the key in the environment variable {key} {said}"
    if error.status and error.status not in REFUSED:
        return None
    listed = await _models(endpoint)
    near = get_close_matches(teacher.model, listed, n=1)
    hint = f"; it has {', '.join(sorted(listed)[:10])}" if listed else ""
    if near:
        hint = f"; did you mean '{near[0]}'?"
    return (
        f"{where} refuses rationales.teacher.model '{teacher.model}' or its settings: {error.said}{hint} "
        "(the address usually ends in /v1)"
    )


async def _models(endpoint: EndpointConfig) -> list[str]:
    """Names of the server's models; empty if it does not list them in the usual way."""
    headers = None if key_of(endpoint) else {"Authorization": openai.Omit()}
    try:
        async with asyncio.timeout(PROBE_S), open_client(endpoint) as client:
            reply = await client.models.with_raw_response.list(extra_headers=headers)
        value = without_key(reply.http_response.json(), key_of(endpoint))
    except (openai.OpenAIError, TimeoutError, ValueError, RecursionError):
        return []
    listed = value.get("data", value.get("models")) if isinstance(value, dict) else value
    listed = listed if isinstance(listed, list) else []
    names = [model.get("id", model.get("name")) if isinstance(model, dict) else model for model in listed]
    return [name for name in names if isinstance(name, str)]
