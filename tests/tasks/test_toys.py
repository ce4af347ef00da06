"""The toy oracles tell the truth: the tests recompute every statement from the question's text."""

import hashlib
import re
from collections import Counter
from fractions import Fraction
from operator import add, mul, sub, truediv
from random import Random

import pytest

from skipthink_ray.method.steps import split_steps
from skipthink_ray.tasks import GROUPS, TASKS
from skipthink_ray.tasks.splits import toy_split
from tests.tasks import solvers
from tests.toys import toy_rows

NUMBER = re.compile(r"\d+(?:\.\d+)?")
TERM = r"(?:\d+(?:\.\d+)?|\bx)"
EQUATION = re.compile(rf"{TERM}(?: [-+*/] {TERM})*(?: = {TERM}(?: [-+*/] {TERM})*)+")
OPERATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}
DISTRACTOR = {
    **dict.fromkeys(solvers.NUMBERS, re.compile(r"years old|also has \d+ (?!loose)|cousins|house number")),
    "tracking_shuffled_objects": re.compile(r"[^.]* (?:hat|hands)\."),
    "last_letter_concatenation": re.compile(r"[^.]*(?:other names|wrote|found)[^.]*\."),
    "strategy_qa": re.compile(r"^[^:?]*\d[^:?]*\."),
}
DISTRACTED = {1: (0, 0), 2: (0.23, 0.43), 3: (1, 1)}
"""Lowest and highest share of questions with a distractor, by difficulty."""
each_toy = pytest.mark.parametrize("task", GROUPS["seven"])
each_arithmetic = pytest.mark.parametrize("task", solvers.NUMBERS)
each_difficulty = pytest.mark.parametrize("difficulty", [1, 2, 3])


def value(side: str) -> Fraction:
    """The value of one side of an equation, from left to right. No toy adds before it multiplies."""
    first, *rest = side.split()
    total = Fraction(first)
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        total = OPERATIONS[sign](total, Fraction(number))
    return total


@each_arithmetic
@each_difficulty
def test_the_answer_of_a_word_problem_follows_from_its_text(task, difficulty):
    for row in toy_rows(task, 500, difficulty):
        assert solvers.NUMBERS[task](row.question) == Fraction(row.answer) > 0, row


@each_arithmetic
@each_difficulty
def test_every_equation_holds_and_the_last_one_gives_the_answer(task, difficulty):
    for row in toy_rows(task, 300, difficulty):
        equations = EQUATION.findall(row.rationale)
        for equation in equations:
            sides = [value(re.sub(r"\bx\b", row.answer, side)) for side in equation.split(" = ")]
            assert len(set(sides)) == 1, (equation, row)
        before_checks = [equation for equation in equations if f"To check, {equation}" not in row.rationale]
        assert before_checks[-1].split(" = ")[-1] == row.answer


@each_toy
@each_difficulty
def test_every_operand_was_given_or_computed_before(task, difficulty):
    for row in toy_rows(task, 300, difficulty):
        known = set(NUMBER.findall(row.question))
        for step in split_steps(row.rationale):
            if task == "strategy_qa":  # the question does not give its facts
                known |= set(NUMBER.findall(re.sub(EQUATION, "", step)))
            for side in " = ".join(EQUATION.findall(step)).split(" = "):
                numbers = NUMBER.findall(side)
                known |= set(numbers if len(numbers) == 1 else ())
                assert set(numbers) <= known, (side, row)


@each_toy
@each_difficulty
def test_distractors_come_with_difficulty(task, difficulty):
    low, high = DISTRACTED[difficulty]
    rows = toy_rows(task, 400, difficulty)
    assert low <= sum(bool(_distractor(task, row.question)) for row in rows) / len(rows) <= high


@each_toy
@each_difficulty
def test_no_rationale_uses_a_distractor(task, difficulty):
    for row in toy_rows(task, 400, difficulty):
        distractor = _distractor(task, row.question)
        if task == "last_letter_concatenation":
            idle = set(re.findall(r"[A-Z]\w+", distractor)) - {"The"}
            assert idle.isdisjoint(re.findall(r"\w+", row.rationale))
        elif task == "tracking_shuffled_objects":
            assert not re.search(r"\bhats?\b|hands", row.rationale)
        elif task != "multiarith":  # a distractor's number may equal a relevant one
            idle = set(NUMBER.findall(row.question)) - set(NUMBER.findall(row.rationale))
            assert len(idle) == bool(distractor), row


def _distractor(task: str, question: str) -> str:
    found = DISTRACTOR[task].search(question)
    return found[0] if found else ""


@each_arithmetic
def test_difficulty_makes_numbers_larger(task):
    sizes = []
    for difficulty in (1, 2, 3):
        rationales = [row.rationale for row in toy_rows(task, 300, difficulty)]
        sizes.append(
            sum(
                float(number)
                for rationale in rationales
                for number in NUMBER.findall(EQUATION.findall(rationale)[0])
            )
        )
    assert 2 * sizes[0] < sizes[2]
    assert sizes == sorted(sizes)


@each_toy
def test_difficulty_makes_rationales_longer(task):
    lengths = [
        sum(len(split_steps(row.rationale)) for row in toy_rows(task, 300, difficulty))
        for difficulty in (1, 2, 3)
    ]
    assert lengths == sorted(lengths) or task == "multiarith"  # always two operations


def test_multiarith_at_difficulty_1_is_what_the_demo_was_measured_on():
    told = "\n".join(str(tuple(row)) for row in toy_rows("multiarith", 1000))
    assert hashlib.sha256(told.encode()).hexdigest().startswith("8cf23c91e83de927")


@each_difficulty
def test_the_letters_of_last_letter_concatenation_are_the_last_of_its_words(difficulty):
    for question, rationale, answer in toy_rows("last_letter_concatenation", 300, difficulty):
        words = re.search(r'"([^"]+)"', question)[1].split()  # type: ignore[index]
        assert len(words) == difficulty + 1
        assert answer == "".join(word[-1] for word in words)
        assert f'"{answer}"' in split_steps(rationale)[-1]
        assert all(f'"{word}"' in rationale for word in words)


@each_difficulty
def test_the_swaps_of_tracking_shuffled_objects_end_at_the_answer(difficulty):
    for question, rationale, answer in toy_rows("tracking_shuffled_objects", 300, difficulty):
        start, *_ = question.split(".")
        holds = dict(re.findall(r"(\w+) has the (\w+) ball", start))
        swaps = re.findall(r"(\w+) and (\w+) swap balls", question)
        assert (len(holds), len(swaps)) == (3, difficulty)
        for left, right in swaps:
            holds[left], holds[right] = holds[right], holds[left]
        asked = re.search(r"Which ball does (\w+) have", question)[1]  # type: ignore[index]
        choices = dict(re.findall(r"(\w+) ball \((\w)\)", question))
        assert choices[holds[asked]] == answer
        assert f"({answer})" in split_steps(rationale)[-1]


@each_difficulty
def test_every_step_of_tracking_shuffled_objects_is_true_at_its_time(difficulty):
    for question, rationale, _ in toy_rows("tracking_shuffled_objects", 300, difficulty):
        holds = dict(re.findall(r"(\w+) has the (\w+) ball", question.split(".")[0]))
        for step in split_steps(rationale):
            for left, right in re.findall(r"(\w+) and (\w+) swap", step):
                holds[left], holds[right] = holds[right], holds[left]
            for person, colour in re.findall(r"(\w+) has the (\w+) ball", step):
                assert holds[person] == colour


@each_difficulty
def test_tracking_shuffled_objects_tells_all_three_balls_with_their_letters_at_the_start_and_after_every_swap(
    difficulty,
):
    for question, rationale, _ in toy_rows("tracking_shuffled_objects", 300, difficulty):
        choices = set(re.findall(r"(\w+) ball \((\w)\)", question))
        states = [step for step in split_steps(rationale) if re.search(r" swap|At the start", step)]
        assert len(states) == 1 + difficulty
        for state in states:
            assert re.findall(r"(\w+) has the \w+ ball", state) == ["Alice", "Bob", "Claire"]
            assert set(re.findall(r"(\w+) ball \((\w)\)", state)) == choices


@each_difficulty
def test_the_answer_of_strategy_qa_follows_from_its_facts_with_a_wide_margin(difficulty):
    for question, rationale, answer in toy_rows("strategy_qa", 500, difficulty):
        assert solvers.yes_or_no(question) == answer, question
        left, word, right = re.findall(
            r"([\d.]+) is (?:much )?(less|more|before|after)(?: than)? ([\d.]+)\.(?= |$)", rationale
        )[0]
        small, large = sorted((float(left), float(right)))
        assert (float(left) == small) == (word in ("less", "before"))
        assert large - small >= 20 if word in ("before", "after") else large >= 3 * small


def test_strategy_qa_asks_about_several_things_from_difficulty_2_on():
    for difficulty, most in ((1, 1), (2, 3), (3, 10)):
        told = " ".join(row.rationale for row in toy_rows("strategy_qa", 500, difficulty))
        assert max(map(int, re.findall(r"So (\d+) \w", told)), default=1) == most


@each_difficulty
def test_a_rationale_of_strategy_qa_concludes_its_answer(difficulty):
    for _, rationale, answer in toy_rows("strategy_qa", 300, difficulty):
        last = split_steps(rationale)[-1]
        if last.startswith((" So ", " Therefore ")):
            assert (" not " in last) == (answer == "no")
        elif "answer" in last:
            assert last == f" The answer is {answer}."


@each_difficulty
def test_half_of_the_answers_of_strategy_qa_are_yes_in_every_form_of_question(difficulty):
    rows = toy_rows("strategy_qa", 3000, difficulty)
    counts = Counter((re.findall(r"Could|Would|Did", row.question)[0], row.answer) for row in rows)
    for form in ("Could", "Would", "Did"):
        assert 0.42 <= counts[form, "yes"] / (counts[form, "yes"] + counts[form, "no"]) <= 0.58


def test_the_facts_have_one_value_per_thing():
    for kind, _ in solvers.ASKED_OF:
        names = [form for name in kind.values for form in name.split("/")]
        assert len(names) == len(set(names))


@each_toy
@each_difficulty
def test_a_toy_passes_its_own_check(task, difficulty):
    assert all(TASKS[task].check(row.answer, row.answer) for row in toy_rows(task, 50, difficulty))


@each_toy
@each_difficulty
def test_toys_are_the_same_for_the_same_seed_only(task, difficulty):
    assert toy_rows(task, 20, difficulty, seed=3) == toy_rows(task, 20, difficulty, seed=3)
    assert toy_rows(task, 20, difficulty, seed=3) != toy_rows(task, 20, difficulty, seed=4)


@each_toy
@each_difficulty
def test_the_number_of_steps_varies(task, difficulty):
    lengths = Counter(len(split_steps(row.rationale)) for row in toy_rows(task, 400, difficulty))
    assert len(lengths) >= 3
    assert min(lengths) >= 2
    assert max(lengths.values()) <= 300


@each_toy
@each_difficulty
def test_rationales_are_phrased_in_several_ways(task, difficulty):
    steps = [split_steps(row.rationale) for row in toy_rows(task, 100, difficulty)]
    assert len({" ".join(one[0].split()[:2]) for one in steps}) >= 3
    assert len({" ".join(one[-1].split()[:2]) for one in steps}) >= 3


@each_toy
@each_difficulty
def test_steps_are_whole_sentences_and_cut_no_number(task, difficulty):
    for row in toy_rows(task, 300, difficulty):
        steps = split_steps(row.rationale)
        assert [number for step in steps for number in NUMBER.findall(step)] == NUMBER.findall(row.rationale)
        assert all(re.fullmatch(r'[A-Z0-9].*[.][")]?', step.strip()) for step in steps), steps
        assert len(steps) == len(re.split(r"(?<=[.]) (?=\S)", row.rationale))


@each_toy
def test_there_are_16000_questions_and_an_eighth_of_them_for_test(task):
    """The rationales stage reserves an eighth of all questions for test, by hash: at least 2,000."""
    toy, random, questions = TASKS[task].toy, Random(0), set[str]()
    assert toy
    for _ in range(80_000):
        questions.add(toy(random, 1).question)
        if len(questions) == 17_000:
            break
    reserved = sum(toy_split(question) == "test" for question in questions)
    assert len(questions) >= 16_000
    assert reserved >= 2_000
