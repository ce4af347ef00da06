"""Where questions and rationales come from: tasks of one's own, columns, the teacher, filters."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from skipthink_ray.config.base import Address, Config, PositiveInt, Share


def check_pattern(pattern: str) -> str:
    """The pattern itself. ValueError where it is no regular expression with exactly one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(
            f"it has {groups} groups; put brackets around the answer alone, as in 'Result: (.+)', others as (?:...)"
        )
    return pattern


class OwnTaskConfig(Config):
    """A task that is not among the benchmarks. Its files and columns are named in `rationales`."""

    answer_type: Literal["number", "choice", "yes_no", "string", "set"] = "string"
    """Decides when two answers agree: as numbers, letters of options, yes or no, texts, or sets of items between commas."""
    pattern: Annotated[str, AfterValidator(check_pattern)] | None = None
    """Regular expression with one group, the answer, wherever it matches an answer or a teacher's text; None takes the whole."""
    num_chunks: PositiveInt | None = None
    """Chunks per rationale (M) unless `chunks.num_chunks` says so; None takes the mean number of steps."""
    instruction: str | None = None
    """What a teacher is told before the question; None takes a sentence that fits the answer type."""


class ColumnsConfig(Config):
    """Which columns of the input hold what. Only question, answer and rationale are required."""

    question: str = "question"
    """Column with the question (q)."""
    answer: str = "answer"
    """Column with the gold answer (y)."""
    rationale: str = "rationale"
    """Column with the teacher's rationale (r)."""
    teacher_answer: str = "teacher_answer"
    """Column with the teacher's own conclusion; where present, a row whose conclusion is wrong is dropped."""
    id: str = "id"
    """Column with a unique id; where absent, `row-<number>` is used."""
    split: str = "split"
    """Column with train or test; where absent, `test_share` of the rows is drawn by seed."""


class TeacherConfig(Config):
    """Who writes the rationales, and what it is asked. Another value here, but for `rationale`, is another answer, to be
    asked (and paid) for."""

    kind: Literal["given", "endpoint", "transformers", "vllm"] = "given"
    """given: the input has rationales (a file's own, or the toy oracle's); endpoint: any OpenAI-compatible server;
    transformers: a pool of actors on the cluster; vllm: vLLM through ray.data.llm, where it is installed."""
    model: str = ""
    """Name of the model at the endpoint, or its hub id or folder."""
    prompt: Literal["zero_shot", "few_shot", "few_shot_gold"] = "few_shot_gold"
    """zero_shot: chain of thought; few_shot: after exemplars; few_shot_gold: with the right answer given first (the paper)."""
    samples: PositiveInt = 1
    """Rationales asked for per question (diverse reasoning); more than one needs a temperature."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature; 0 is greedy."""
    max_tokens: PositiveInt = 512
    """Length limit of an answer, thinking included; one that reaches it is dropped as cut off."""
    rationale: Literal["final", "thinking", "both"] = "final"
    """The part of an answer that is the rationale (r). final: its final text; thinking: what a reasoning teacher thought
    before it; both. The conclusion is read from the final text. Changing it asks nothing again."""


class FiltersConfig(Config):
    """Which usable rows are dropped all the same; each is counted with its reason and kept aside."""

    duplicates: bool = True
    """Drop a training row whose question and rationale, normalised, an earlier one has."""
    leak_similarity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """Drop a training row whose question has the numbers and names of a test question and shares at least this part of
    their word triples (Jaccard); 1 drops normalised equals alone."""
    refusals: bool = True
    """Drop a rationale that declines to answer ("I'm sorry, but I cannot ...")."""


class RationalesConfig(Config):
    """Stage 1: where questions and rationales come from, and which rows are kept."""

    source: Literal["toy", "file", "dataset"] = "toy"
    """toy: generated with an oracle teacher; file: JSON Lines or Parquet; dataset: `datasets.load_dataset`."""
    path: Address | None = None
    """file: path, folder or glob. dataset: hub id or local folder."""
    dataset_config: str | None = None
    """dataset: its configuration name."""
    columns: ColumnsConfig = ColumnsConfig()
    train_questions: PositiveInt = 4000
    """toy: number of training questions."""
    test_questions: PositiveInt = 200
    """toy: number of test questions, disjoint from the training questions."""
    difficulty: Annotated[int, Field(ge=1, le=3)] = 1
    """toy: 1 easiest to 3; larger numbers, more steps, distractors in the question."""
    test_share: Share = 0.3
    """Share of rows held out for test where the input has no split."""
    max_bad_share: Share = 0.05
    """The stage fails if more than this share of the input rows is unusable (malformed, empty, not UTF-8)."""
    max_chars: PositiveInt = 50_000
    """A row whose question and rationale are longer than this many characters together is dropped."""
    teacher: TeacherConfig = TeacherConfig()
    filters: FiltersConfig = FiltersConfig()


class EndpointConfig(Config):
    """How a teacher is reached. Nothing here changes what it is asked."""

    url: Address = "http://127.0.0.1:8000/v1"
    """endpoint: base URL of an OpenAI-compatible server."""
    key_variable: str = "OPENAI_API_KEY"
    """endpoint: the environment variable that holds the key; where it is unset no key is sent."""
    concurrency: PositiveInt = 32
    """endpoint: requests in flight."""
    timeout_s: Annotated[float, Field(gt=0.0)] = 120.0
    """endpoint: seconds that one attempt may take; it is then tried again, as after 429 and 5xx."""
    deadline_s: Annotated[float, Field(gt=0.0)] = 600.0
    """endpoint: seconds that one question may take with all attempts, and how long a server may give no answer at all
    before all questions that remain are given up."""
    batch_size: PositiveInt = 16
    """transformers, vllm: questions generated together."""
    price_input: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million prompt tokens, for the estimate of `--dry-run` and the sum in the report."""
    price_output: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million generated tokens."""
