"""Whether an endpoint can be used, found out within seconds, before any question is asked.

One greeting under the settings of the questions. Refused is only what no question could be answered by: no connection, a
refused key, an unknown model or path, settings that the server takes in no form. What may pass, and what only the
questions can tell, is left to them. The list of models is asked for a hint, never to decide.
"""

import asyncio
import os
from difflib import get_close_matches
from itertools import count

import openai

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.models.teacher import Request
from skipthink_ray.runtime.endpoint import key_of, open_client, send
from skipthink_ray.runtime.forms import STATUSES, Form, adapt
from skipthink_ray.runtime.replies import ServerError

PROBE_S = 5.0
PAUSE_S, ATTEMPTS = 0.5, 3
"""What makes no sense is asked for again, so many times in all."""
GREETING = ({"role": "user", "content": "Hello"},)
REFUSED = (400, 402, 404, 405, 413, 422)
_NOT_THE_QUESTIONS = ("context length", "context window", "maximum context")
"""A greeting with exemplars may be too long when a question is not."""


def probe(
    teacher: TeacherConfig, endpoint: EndpointConfig, greeting: tuple[dict[str, str], ...] = GREETING
) -> None:
    """ValueError within seconds if no question can be answered: address, key, model, settings. `greeting`: chat messages."""
    open_client(endpoint)  # the address and the key can be sent at all
    if error := asyncio.run(_greet(teacher, endpoint, Request(greeting, 0, ""))):
        raise ValueError(error)


async def _greet(teacher: TeacherConfig, endpoint: EndpointConfig, request: Request) -> str | None:
    """What is wrong for every question; None if nothing is known to be."""
    form, limit = Form(), 1
    for attempt in count(1):
        try:
            async with asyncio.timeout(PROBE_S), open_client(endpoint) as client:
                await send(client, teacher, endpoint, request, form, limit)
            return None
        except TimeoutError:
            return None  # it may be loading the model: the questions will tell
        except openai.APIConnectionError as error:
            why = str(error.__cause__ or error) or "no connection"
            return (
                f"endpoint.url: {endpoint.url} does not answer: {why}; start the server, or mend the address"
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
                limit = None  # some servers refuse so small a limit; the questions have another
                continue
            if other:
                form = other[0]
                continue
            if error.again is False or attempt >= ATTEMPTS:
                return await _refusal(error, teacher, endpoint)
        except (ValueError, RecursionError) as error:
            if "no chat completion" not in str(error):
                return None  # an answer without a text, to a greeting of one token
            if attempt >= ATTEMPTS:
                return f"endpoint.url: {endpoint.url} is no OpenAI-compatible server ({error}); the address mostly ends in /v1"
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
    has = (
        f"; did you mean '{near[0]}'?"
        if near
        else f"; it has {', '.join(sorted(listed)[:10])}"
        if listed
        else ""
    )
    return f"{where} refuses rationales.teacher.model '{teacher.model}' or its settings: {error.said}{has} (the address mostly ends in /v1)"


async def _models(endpoint: EndpointConfig) -> list[str]:
    """Names of the server's models; none if it does not list them in the usual way."""
    headers = None if key_of(endpoint) else {"Authorization": openai.Omit()}
    try:
        async with asyncio.timeout(PROBE_S), open_client(endpoint) as client:
            reply = await client.models.with_raw_response.list(extra_headers=headers)
        value = reply.http_response.json()
    except (openai.OpenAIError, TimeoutError, ValueError, RecursionError):
        return []
    listed = value.get("data", value.get("models")) if isinstance(value, dict) else value
    listed = listed if isinstance(listed, list) else []
    names = [model.get("id", model.get("name")) if isinstance(model, dict) else model for model in listed]
    return [name for name in names if isinstance(name, str)]
