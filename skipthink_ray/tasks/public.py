"""The public data set of each benchmark for the `datasets` library, and the conversion of its rows.

Hub ids, configurations, splits and columns come from documentation and public code. The data sets were never
loaded here, for lack of a network, so the tests check the mappings on small data sets of the same shape. If a
task has a listed split of Ho et al. (splits.py), questions that are not listed get the split `unlisted` and
are dropped with that reason. So a data set that only has the benchmark's name cannot pass for it.

A row function takes a row of the public data set and returns `question`, `answer` and, if there is one,
`rationale`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

BOTH = {"train": "train", "test": "test"}
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_OPTION_LETTER = re.compile(r"^\s*\(?[A-Z]\)\s*")
_BIG_BENCH_FRAME = re.compile(r"^\s*Q:\s*|\n\s*choice:.*|\s*\n?A:\s*$", re.DOTALL)


def read_word_problem(row: Row) -> Row:
    """The JSON files of MultiArith, AddSub and SingleEq, with one number as the solution."""
    return {"question": row["sQuestion"], "answer": row["lSolutions"][0]}


@dataclass(frozen=True)
class Form:
    """Columns in which a benchmark's own files have its questions and answers."""

    name: str
    """For messages."""
    needs: tuple[str, ...]
    read: Callable[[Row], Row]
    sign: Callable[[Row], bool] | None = None
    """Whether a row has this form although it has the columns question and answer too."""

    def fits(self, row: Row) -> bool:
        """Whether the row has the columns, and the sign if there is one."""
        return all(name in row for name in self.needs) and (self.sign is None or self.sign(row))


WORD_PROBLEM = Form(
    "the JSON files of arithmetic word problems", ("sQuestion", "lSolutions"), read_word_problem
)


@dataclass(frozen=True)
class PublicData:
    """A public data set. Without `read`, its columns are `question` and `answer`."""

    hub_id: str | None
    """The path for `datasets.load_dataset`. None if no trustworthy copy of the benchmark is known."""
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    """Further arguments of load_dataset: configuration `name`, `data_dir`, `revision`."""
    splits: dict[str, str] = field(default_factory=lambda: dict(BOTH))
    """Splits to read -> train or test. A listed or drawn split (splits.py) overrides this."""
    needs: tuple[str, ...] = ("question", "answer")
    """Columns that `read` uses."""
    read: Callable[[Row], Row] = lambda row: {"question": row["question"], "answer": row["answer"]}
    has_rationale: bool = False
    train_rows: int | None = None
    """Size of the training sample, drawn with seed 0. None if the benchmark uses all training rows."""
    test_share: float | None = None
    """Share of test questions, drawn by their words. None if a split was published."""
    instead: str = ""
    """Advice to the user if there is no hub id."""
    forms: tuple[Form, ...] = ()
    """Forms of the benchmark's files besides plain columns."""


def options(choices: list[str]) -> str:
    """`Answer Choices: (A) .. (B) ..`, the ending of the questions of all choice tasks."""
    return "Answer Choices: " + " ".join(
        f"({chr(ord('A') + place)}) {text}" for place, text in enumerate(choices)
    )


def read_lila(row: Row) -> Row:
    return {"question": row["input"], "answer": row["output_answer"]}


def read_multiarith(row: Row) -> Row:
    return {"question": row["question"], "answer": row["final_ans"]}


def read_svamp(row: Row) -> Row:
    return {"question": f"{row['Body'].strip()} {row['Question'].strip()}", "answer": row["Answer"]}


def read_gsm8k(row: Row) -> Row:
    """The solution ends with a line `#### 42` and has calculator annotations between << and >>."""
    rationale, mark, answer = row["answer"].rpartition("####")
    return {
        "question": row["question"],
        "answer": answer.strip() if mark else None,
        "rationale": _CALCULATOR.sub("", rationale).strip(),
    }


def _ends_with_a_mark(row: Row) -> bool:
    return isinstance(row["answer"], str) and "####" in row["answer"]


def read_aqua(row: Row) -> Row:
    choices = [_OPTION_LETTER.sub("", option) for option in row["options"]]
    return {
        "question": f"{row['question']} {options(choices)}",
        "answer": row["correct"],
        "rationale": row["rationale"],
    }


def read_commonsense_qa(row: Row) -> Row:
    return {"question": f"{row['question']} {options(row['choices']['text'])}", "answer": row["answerKey"]}


def read_commonsense_qa_file(row: Row) -> Row:
    """A line of the published file: the question is an object with its stem and choices."""
    question = row["question"]
    choices = options([choice["text"] for choice in question["choices"]])
    return {"question": f"{question['stem']} {choices}", "answer": row["answerKey"]}


def read_big_bench_file(row: Row) -> Row:
    """An element of `examples` in a BIG-bench task.json. The right choice has the highest score."""
    scores = row["target_scores"]
    choices = list(scores)
    stem = _BIG_BENCH_FRAME.sub("", row["input"]).strip()
    answer = chr(ord("A") + choices.index(max(choices, key=scores.__getitem__)))
    return {"question": f"{stem}\nWhich choice is true ? {options(choices)}", "answer": answer}


def read_strategy_qa(row: Row) -> Row:
    return {"question": row["question"], "answer": {True: "yes", False: "no"}[row["answer"]]}


def read_big_bench(row: Row) -> Row:
    """The input may be framed by `Q:`, `choice:` lines and `A:`. The right option has the highest score."""
    stem = _BIG_BENCH_FRAME.sub("", row["inputs"]).strip()
    choices, scores = row["multiple_choice_targets"], row["multiple_choice_scores"]
    answer = chr(ord("A") + scores.index(max(scores))) if scores else None
    return {"question": f"{stem}\nWhich choice is true ? {options(choices)}", "answer": answer}


BIG_BENCH_FILE = Form("a BIG-bench task.json", ("input", "target_scores"), read_big_bench_file)
LILA = ("input", "output_answer")
BIG_BENCH = ("inputs", "multiple_choice_targets", "multiple_choice_scores")
THREE = {"train": "train", "validation": "train", "test": "test"}
TWO = {"train": "train", "validation": "test"}


def _lila(folder: str) -> PublicData:
    """A data set of the collection Lila, which keeps each in a folder of its own."""
    return PublicData(
        "allenai/lila",
        {"data_dir": folder, "revision": "refs/convert/parquet"},
        splits=THREE,
        needs=LILA,
        read=read_lila,
        forms=(WORD_PROBLEM,),
    )


SINGLE_EQ, ADDSUB = _lila("singleq"), _lila("addsub")
MULTIARITH = PublicData(
    "ChilleD/MultiArith",
    needs=("question", "final_ans"),
    read=read_multiarith,
    forms=(WORD_PROBLEM, Form("MultiArith of the Hub", ("question", "final_ans"), read_multiarith)),
)
SVAMP = PublicData(
    "ChilleD/SVAMP",
    needs=("Body", "Question", "Answer"),
    read=read_svamp,
    forms=(Form("SVAMP as published", ("Body", "Question", "Answer"), read_svamp),),
)
GSM8K = PublicData(
    "openai/gsm8k",
    {"name": "main"},
    read=read_gsm8k,
    has_rationale=True,
    forms=(Form("GSM8K as published", ("question", "answer"), read_gsm8k, sign=_ends_with_a_mark),),
)
TRACKING_SHUFFLED_OBJECTS = PublicData(
    "tasksource/bigbench",
    {"name": "tracking_shuffled_objects"},
    splits=TWO,
    needs=BIG_BENCH,
    read=read_big_bench,
    forms=(BIG_BENCH_FILE,),
)
LAST_LETTER_CONCATENATION = PublicData("ChilleD/LastLetterConcat")
STRATEGY_QA = PublicData("ChilleD/StrategyQA", read=read_strategy_qa)
COIN_FLIP = PublicData(
    None,
    test_share=150 / 500,
    instead="the coin flips on the Hub are not those of the benchmark; take dataset/coin_flip/coin_flip.json "
    "of Kojima et al. (github.com/kojima-takeshi188/zero_shot_cot), one object of its `examples` per line",
)
AQUA = PublicData(
    "deepmind/aqua_rat",
    {"name": "raw"},
    needs=("question", "options", "rationale", "correct"),
    read=read_aqua,
    has_rationale=True,
    train_rows=10_000,
    forms=(Form("AQuA as published", ("question", "options", "rationale", "correct"), read_aqua),),
)
DATE_UNDERSTANDING = PublicData(
    "tasksource/bigbench",
    {"name": "date_understanding"},
    splits=TWO,
    needs=BIG_BENCH,
    read=read_big_bench,
    test_share=111 / 369,
    forms=(BIG_BENCH_FILE,),
)
COMMONSENSE_QA = PublicData(
    "tau/commonsense_qa",
    splits=TWO,
    needs=("question", "choices", "answerKey"),
    read=read_commonsense_qa,
    forms=(
        Form(
            "CommonsenseQA as published",
            ("question", "answerKey"),
            read_commonsense_qa_file,
            sign=lambda row: isinstance(row["question"], dict),
        ),
    ),
)
