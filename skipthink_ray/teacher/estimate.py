"""What asking a teacher would take: requests, tokens and cost."""

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data import sources, toy
from skipthink_ray.data.cleaning import parse_row
from skipthink_ray.tasks import task_of
from skipthink_ray.teacher import asking
from skipthink_ray.teacher.ledger import Ledger, ledger_folder

CHARACTERS_PER_TOKEN = 4
"""A rough value for English text, used to estimate tokens before asking the teacher."""


def estimate(config: PipelineConfig) -> str:
    """Rationales, tokens and cost of asking the teacher, as a line of text. Sends no request."""
    teacher, endpoint = config.rationales.teacher, config.endpoint
    ledger = Ledger(ledger_folder(config)) if ledger_folder(config).exists() else ()
    raw_rows = toy.rows_here(config) if config.rationales.source == "toy" else sources.read_here(config)
    task, seen, answered, characters = task_of(config), set(), 0, 0
    for _, request in asking.expand((parse_row(raw, config, task) for raw in raw_rows), config):
        if request is None or request.key in seen:
            continue
        seen.add(request.key)
        if request.key in ledger:
            answered += 1
        else:
            characters += sum(len(message["content"]) for message in request.messages)
    to_ask, prompt_tokens = len(seen) - answered, characters // CHARACTERS_PER_TOKEN
    tokens = to_ask * teacher.max_tokens
    cost = (prompt_tokens * endpoint.price_input + tokens * endpoint.price_output) / 1e6
    text = (
        f"teacher     {to_ask} rationales to ask of {teacher.kind} '{teacher.model}', "
        f"{answered} answered before; about {prompt_tokens:,} prompt tokens "
        f"({CHARACTERS_PER_TOKEN} characters each) and at most {tokens:,} generated"
    )
    if endpoint.price_input or endpoint.price_output:
        prices = f"{endpoint.price_input:g} and {endpoint.price_output:g} per million"
        text += f"; about {cost:,.2f} at most, at {prices}"
    return text
