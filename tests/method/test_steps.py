"""Steps are lossless, never blank, and end at ends of sentences."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skipthink_ray.method.steps import split_steps
from tests.toys import read_rows

prose = st.lists(
    st.sampled_from(
        [
            *"\n\t .!?,\"')]1A",
            "\r\n",
            "\u00a0",
            "\u2028",
            "...",
            "Tom",
            "has",
            "3.5",
            "Mr.",
            "e.g.",
            "a.m.",
            "J.",
            "I.",
            "no.",
            "1.",
            "”",
        ]
    ),
    max_size=30,
).map("".join)


thoughts = st.lists(
    st.sampled_from(
        [
            *"\n 。！？」』”と、5",
            "．",
            "\n```\n",
            "```py\n",
            "\n~~~",
            "\\[",
            "\\]",
            "\n$$\n",
            "$$",
            "\n---\n",
            "| a |\n|---|\n",
            "## 1. ",
            "- ",
            "**Step 2.** ",
            "Wait, no. ",
            "Hmm… So ",
            "\\begin{align}",
            "\\end{align}",
            "x = 5.",
            "他说：“好。”",
            "「行く。」",
        ]
    ),
    max_size=30,
).map("".join)


def _assert_lossless_and_never_blank(text: str) -> None:
    steps = split_steps(text)
    assert "".join(steps) == text
    if text.strip():
        assert all(step.strip() for step in steps)
    else:
        assert steps == ([text] if text else [])


@given(st.text() | prose | thoughts)
@settings(max_examples=400)
@example("")
@example(" \n ")
@example("\n\nA. \n\n B.\n")
def test_steps_are_lossless_and_none_is_blank(text):
    _assert_lossless_and_never_blank(text)


@given(prose)
@settings(max_examples=400)
def test_cuts_are_only_before_white_space(text):
    assert all(step[0].isspace() for step in split_steps(text)[1:])


@given(thoughts)
@settings(max_examples=400)
def test_cuts_are_before_white_space_or_after_a_wide_full_stop(text):
    steps = split_steps(text)
    assert all(after[0].isspace() or set(before) & set("。！？．") for before, after in pairwise(steps))


@given(st.lists(prose.filter(lambda text: text.strip() and "\n" not in text), min_size=1, max_size=5))
def test_a_step_never_spans_two_lines(lines):
    assert len(split_steps("\n".join(lines))) >= len(lines)
    assert split_steps("\n".join(lines))[0] == split_steps(lines[0] + "\n.")[0]


@pytest.mark.parametrize(
    "text",
    [
        "A pen costs $3.50 and a book 2.5 dollars",
        "Mr. Smith met Mrs. Jones and Dr. Brown",
        "She left on Sept. 1st and came back",
        "George W. Bush was president",
        "Cardi B. is a person",
        "J. Smith was first",
        "1. Count the pens",
        "a. Count the pens",
        "He rose at 5 a.m. and ran",
        "Some fruit, e.g. apples, is red",
        "It weighs 3 oz. in all",
        "The U.S. president spoke",
        "He said what? and left",
        "Wait... there is more",
        "The Hobbit is by J. R. R. Tolkien",
        "We ask whether J. Edgar Hoover or R. Kelly was there",
        "A novel by H.G. Wells, read in the U.S. Army",
        "Both Mr. So and Dr. No stayed",
        "He acted for Warner Bros. Studios",
        "x + 6 + ... + 6 = 41, so 2 + ? = 162",
        "It has 100 sq.ft. = 200 tiles of 5 in. 3 are red",
        "It earns $600. which is much",
        "### 1. Count the pens",
        "**Step 2.** Add the pens",
        "- iv. Add the pens",
        "2.1. Count the red ones",
        "```python\nx = 3. # Three\n\nprint(x)\n```",
        "So we get\\[\n3 + 2\n= 5.\n\\]",
        "$$\nx = 5.\n\ny = 6\n$$",
        "\\begin{align*}\nx &= 5. \\\\\ny &= 6\n\\end{align*}",
        "他说：“好。”，然后走了",
        "「行く。」と言った",
        "本当？と思う",
        "它是３．５米",
    ],
)
def test_apparent_ends_of_sentences_are_not_cut(text):
    assert split_steps(text) == [text]


@pytest.mark.parametrize(
    "steps",
    [
        ["Tom has 3 pens.", " He finds 2.", " Now he has 5."],
        ["Is it so?", " Yes!", " It is."],
        ['He said "stop."', " Then he left."],
        ["It costs $3.50.", " That is much."],
        ["The answer is A.", " So we are done."],
        ["It was Tom and I.", " We left."],
        ["It weighs 3 oz.", " Then it grew."],
        ["The answer is no.", " It sank."],
        ["First line", "\nsecond line.", " And its end."],
        ["One.", "\n\nTwo."],
        ["1. Count them.", "\n2. Add them."],
        ["She left on Sept. 1st.", " He stayed."],
        ["There are 5.", " 3 of them are red."],
        ["(It is so.)", " Good..."],
        ["He lives in Washington D.C.", " The park is near."],
        ["It flew to Planet X.", " Then it stopped."],
        ["The answer is A.", " Bob has it."],
        ["Ask Tom Brown Jr.", " He did it."],
        ["14 more came in.", " 3 left."],
        ["Tom has 3.", " so he needs 2."],
        ["Now solve for G.", " $5 is left."],
        ["## Count", "\n1. There are 5.", " That is so.", "\n2. Add 3.", "\n- Now 8."],
        ["**It is 40.**", " Then it is 41."],
        ["5 + 3 = 9.", "\n\nWait, that is wrong.", " 5 + 3 = 8.", "\n\nHmm… ", "\nOK."],
        ["First:", "\n```\na = 1\nb = 2\n```", "\nThen 3."],
        ["We get", "\n\\[\n5 + 3 = 8\n\\]", "\nDone."],
        ["Count.", "\n\n---\n\nNow add."],
        ["| pens | 5 |", "\n|---|---|\n| cups | 3 |"],
        ["他有3个苹果。", "又买了2个！", "一共5个。"],
        ["他说：“好。”", "然后走了。"],
        ["ペンは3本です。", "「2本買う。」", "合計は5本。", "\n答えは5です。"],
        ["如果价格是3.5元，则要7元。", "So 7 yuan.", " Yes."],
    ],
)
def test_sentences_and_lines_are_steps(steps):
    assert split_steps("".join(steps)) == steps


def test_white_space_around_a_rationale_belongs_to_its_first_and_last_step():
    assert split_steps(" \n One. Two. \n") == [" \n One.", " Two. \n"]


def test_real_rationales_are_cut_without_loss(real_data):
    rows = [row for path in sorted(real_data.rglob("*.jsonl")) for row in read_rows(path)]
    assert len(rows) > 10_000
    for row in rows:
        _assert_lossless_and_never_blank(row.rationale)
    steps = [step for row in rows for step in split_steps(row.rationale)]
    assert 3 < len(steps) / len(rows) < 8
    small = {step.split()[0] for step in steps if step[0] == " " and step.lstrip()[0].islower()}
    assert small <= {"so", "then", "if"}, "cut in the middle of a sentence"


def test_thousands_of_block_starts_without_an_end_take_little_time():
    started = time.monotonic()
    for filler in ("\\[ x\n", "```\n", "$$\n", "\\begin{align}\n", "-" * 500, "。", "…", "| - "):
        _assert_lossless_and_never_blank(filler * 2000 + "x")
    assert time.monotonic() - started < 20
