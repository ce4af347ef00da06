"""Where questions and rationales come from: own tasks, columns, the teacher, filters."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from skipthink_ray.config.base import Address, Config, PositiveInt, Share


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError unless it is a regular expression with exactly one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(
            f"it has {groups} groups; use one group for the answer, as in 'Result: (.+)', "
            "and (?:...) for others"
        )
    return pattern


class OwnTaskConfig(Config):
    """A task that is not built in. Set its files and columns in `rationales`."""

    answer_type: Literal["number", "choice", "yes_no", "string", "set"] = "string"
    """How answers are compared: as numbers, option letters, yes or no, texts, or comma-separated sets."""
    pattern: Annotated[str, AfterValidator(check_pattern)] | None = None
    """Regular expression whose one group is the answer, applied to answers and to the teacher's text.
    None uses the whole text."""
    num_chunks: PositiveInt | None = None
    """Chunks per rationale (M); `cwt.num_chunks` overrides it. None: the mean number of steps."""
    instruction: str | None = None
    """Instruction to the teacher, before the question. None uses a sentence that fits the answer type."""


class ColumnsConfig(Config):
    """Column names of the input. Only question, answer and rationale are required."""

    question: str = "question"
    """Column with the question (q)."""
    answer: str = "answer"
    """Column with the gold answer (y)."""
    rationale: str = "rationale"
    """Column with the teacher's rationale (r)."""
    teacher_answer: str = "teacher_answer"
    """Column with the teacher's own answer. If it exists, rows in which this answer is wrong are dropped."""
    id: str = "id"
    """Column with a unique id. If it does not exist, ids are `row-<number>`."""
    split: str = "split"
    """Column with train, test, or dev (also validation, valid, val). If it does not exist, the task's
    published split applies, else a random `test_share` of the questions is the test set."""


class TeacherConfig(Config):
    """Who writes the rationales, and how it is prompted. Other values, except of `rationale`, mean new
    requests, which may cost money."""

    kind: Literal["given", "endpoint", "transformers", "vllm"] = "given"
    """given: the input has rationales (a file's, or the toy oracle's);
    endpoint: any OpenAI-compatible server; transformers: a pool of actors on the cluster;
    vllm: vLLM through ray.data.llm, if installed."""
    model: str = ""
    """The model: its name at the endpoint, or a hub id or folder."""
    prompt: Literal["zero_shot", "few_shot", "few_shot_gold"] = "few_shot_gold"
    """zero_shot: chain of thought; few_shot: after exemplars;
    few_shot_gold: after exemplars, with the right answer given before the rationale (the paper)."""
    samples: PositiveInt = 1
    """Rationales per question (diverse reasoning). More than one needs a temperature above 0."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature; 0 is greedy."""
    max_tokens: PositiveInt = 512
    """Length limit of a response in tokens, thinking included. Responses that reach it are dropped."""
    rationale: Literal["final", "thinking", "both"] = "final"
    """Which part of a response is the rationale (r). final: the final text; thinking: the thinking before it;
    both: thinking and final text. The answer is always read from the final text.
    A change of this key causes no new requests."""


class FiltersConfig(Config):
    """Which usable rows to drop. Dropped rows are kept aside and counted, each with a reason."""

    duplicates: bool = True
    """Drop a training row with the same normalised question and rationale as an earlier one."""
    leak_similarity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """Drop a training row whose question has the same numbers and names as a dev or test question, if the
    Jaccard similarity of their word triples is at least this. 1 drops only questions equal after
    normalisation."""
    refusals: bool = True
    """Drop a rationale that declines to answer ("I'm sorry, but I cannot ...")."""


class RationalesConfig(Config):
    """Stage 1: where questions and rationales come from, and which rows are kept."""

    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of toy questions and of a drawn split. None: `seed`. Set it to compare seeds on the same rows."""
    source: Literal["toy", "file", "dataset"] = "toy"
    """toy: generated questions with an oracle teacher; file: JSON Lines, a JSON array or Parquet;
    dataset: loaded with `datasets.load_dataset`."""
    path: Address | None = None
    """file: path, folder or glob. dataset: hub id or local folder."""
    dataset_config: str | None = None
    """dataset: name of its configuration."""
    columns: ColumnsConfig = ColumnsConfig()
    train_questions: PositiveInt = 4000
    """toy: number of training questions."""
    test_questions: PositiveInt = 200
    """toy: number of test questions, disjoint from the training questions."""
    difficulty: Annotated[int, Field(ge=1, le=3)] = 1
    """toy: 1 (easiest) to 3; higher levels have larger numbers, more steps and distractors."""
    test_share: Share = 0.3
    """Share of rows held out for testing if the input has no split."""
    dev_share: Share = 0.0
    """Share of the training questions to hold out as dev, besides those that the input has. A hash of the
    question chooses them, so they do not depend on the seed."""
    max_bad_share: Share = 0.05
    """The stage fails if more than this share of input rows is unusable (malformed, empty, or not UTF-8)."""
    max_chars: PositiveInt = 50_000
    """Rows whose question and rationale together have more characters than this are dropped."""
    teacher: TeacherConfig = TeacherConfig()
    filters: FiltersConfig = FiltersConfig()


class EndpointConfig(Config):
    """How the teacher is reached. Nothing here changes its prompts."""

    url: Address = "http://127.0.0.1:8000/v1"
    """endpoint: base URL of an OpenAI-compatible server."""
    key_variable: str = "OPENAI_API_KEY"
    """endpoint: name of the environment variable with the API key. If it is unset, no key is sent."""
    concurrency: PositiveInt = 32
    """endpoint: maximum number of requests in flight."""
    timeout_s: Annotated[float, Field(gt=0.0)] = 120.0
    """endpoint: seconds before one attempt times out. It is then retried, as after status 429 and 5xx."""
    deadline_s: Annotated[float, Field(gt=0.0)] = 600.0
    """endpoint: seconds for all attempts at one question. If a server answers nothing for this long,
    all remaining questions are given up."""
    batch_size: PositiveInt = 16
    """transformers, vllm: number of questions answered together."""
    price_input: Annotated[float, Field(ge=0.0)] = 0.0
    """Price per million prompt tokens, for the estimate of `--dry-run` and the cost in the report."""
    price_output: Annotated[float, Field(ge=0.0)] = 0.0
    """Price per million generated tokens."""
