"""Separating a teacher's thinking from its final text. Only the final text is searched for the conclusion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.config import RationalesConfig, TeacherConfig
from skipthink_ray.tasks import get_task
from skipthink_ray.tasks.conclusions import without_run_on
from skipthink_ray.teacher.thinking import Told, read_written, reasons_of, tell_apart

TASK = get_task("multiarith")
THOUGHT = "Nine boxes? The answer is 8. No, 9 boxes with 2 each make 18. Wait, yes."
FINAL = "There are 9 boxes. 9 * 2 = 18.\nThe answer is 18."


def config(part: str, **more: int) -> RationalesConfig:
    return RationalesConfig(
        teacher=TeacherConfig(kind="endpoint", model="m", rationale=part, max_tokens=40), **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{THOUGHT}\n</think>\n\n{FINAL}",
        f"{THOUGHT}\n</think>\n\n{FINAL}",  # the opening tag is in the prompt
        f"<think>{THOUGHT[:30]}<think>{THOUGHT[30:]}</think>{FINAL}",
        f"<thinking>{THOUGHT}</thinking>{FINAL}",
        f"<Thought>{THOUGHT}</Thought>\n{FINAL}",
        f"<seed:think>{THOUGHT}</seed:think>{FINAL}",
        f"<reasoning>\n{THOUGHT}\n</reasoning>\n<answer>\n{FINAL}\n</answer>",
        f"[THINK]{THOUGHT}[/THINK]{FINAL}",
        f"◁think▷{THOUGHT}◁/think▷{FINAL}",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{FINAL}<|END_RESPONSE|>",
        f"<|begin_of_thought|>\n{THOUGHT}\n<|end_of_thought|>\n<|begin_of_solution|>\n{FINAL}\n<|end_of_solution|>",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}<|return|>",
        f"analysis{THOUGHT}assistantfinal{FINAL}",
        f"<|channel>thought\n{THOUGHT}<channel|>{FINAL}",
        f"<think>{THOUGHT}</think>{FINAL}<|im_end|>\n<|im_start|>user\nAnd 5?",
    ],
)
def test_thinking_in_every_format_is_separated_from_the_final_text(text):
    assert tell_apart(text) == Told(THOUGHT, FINAL)


def test_thinking_that_is_sent_twice_is_kept_once():
    assert tell_apart(FINAL, THOUGHT) == Told(THOUGHT, FINAL)
    assert tell_apart(f"<think>{THOUGHT}</think>{FINAL}", THOUGHT) == Told(THOUGHT, FINAL)
    assert tell_apart(f"<think>{THOUGHT}</think>{FINAL}", "First.") == Told(f"First.\n{THOUGHT}", FINAL)


@given(st.text(), st.text())
def test_no_part_holds_a_tag_and_nothing_before_the_closing_tag_is_final(before, after):
    told = tell_apart(f"{before}</think>{after}")
    assert told.final in after
    assert "</think>" not in "".join(told)


@pytest.mark.parametrize(
    "text", [f"<think>{THOUGHT}", f"<think>\n{THOUGHT}", f"<think>First.</think>\n<think>{THOUGHT}"]
)
def test_an_answer_that_stops_during_the_thinking_has_no_final_text(text):
    assert tell_apart(text).final == ""
    for finish in ("length", "stop"):
        read = read_written(text, "", finish, config("final"), TASK)
        assert (read["reason"], read["concluded"]) == ("cut off", None)
        assert "rationales.teacher.max_tokens" in read["detail"]
        assert "Wait, yes." in read["detail"]


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("part", "rationale"),
    [
        ("final", "There are 9 boxes. 9 * 2 = 18."),
        ("thinking", THOUGHT),
        ("both", f"{THOUGHT}\n\nThere are 9 boxes. 9 * 2 = 18."),
    ],
)
def test_the_configured_part_is_the_rationale_and_the_final_text_concludes(part, rationale, apart):
    text, thinking = (FINAL, THOUGHT) if apart else (f"<think>{THOUGHT}</think>{FINAL}", "")
    assert read_written(text, thinking, "stop", config(part), TASK) == {
        "rationale": rationale,
        "concluded": "18",
    }


def test_a_wrong_final_text_after_right_thoughts_concludes_wrongly_and_the_other_way_round():
    wrong = FINAL.replace("18", "19")
    for part in ("final", "thinking", "both"):
        assert (
            read_written(f"<think>{FINAL}</think>{wrong}", "", "stop", config(part), TASK)["concluded"]
            == "19"
        )
        assert (
            read_written(f"<think>{wrong}</think>{FINAL}", "", "stop", config(part), TASK)["concluded"]
            == "18"
        )


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 18.",
        "18",
        "**18**",
        "#### 18",
        "\\boxed{18}",
        "So the final answer is: 18",
        "**Answer:** 18",
    ],
)
def test_a_conclusion_alone_is_not_a_rationale(text):
    assert read_written(text, "", "stop", config("final"), TASK) == {"rationale": "", "concluded": "18"}
    assert read_written(text, THOUGHT, "stop", config("both"), TASK) == {
        "rationale": THOUGHT,
        "concluded": "18",
    }
    assert read_written(FINAL, "", "stop", config("thinking"), TASK) == {"rationale": "", "concluded": "18"}


@pytest.mark.parametrize(
    "end",
    [
        "The answer is 18.",
        "#### 18",
        "\\boxed{18}",
        "\\[\n\\boxed{18}\n\\]",
        "**Final Answer**\n\\[ \\boxed{18} \\]",
        "Answer: 18",
        "So the answer is 18.\n#### 18",
    ],
)
def test_the_conclusion_at_the_end_is_not_part_of_the_rationale(end):
    assert reasons_of(f"There are 9 boxes. 9 * 2 = 18.\n{end}", "18") == "There are 9 boxes. 9 * 2 = 18."


@pytest.mark.parametrize(
    "text", ["Answer: 9 boxes hold 2. So 9 * 2 = 18", "It is 18 in all.\nThat is twice 9.", "9 * 2 = 18"]
)
def test_reasons_that_look_like_a_conclusion_stay(text):
    assert reasons_of(text, "18") == text


@pytest.mark.parametrize(
    "goes_on",
    [
        "\n\nQuestion: Ann has 3 hats. How many?\nAnswer: 3",
        "\nQ 2: What is 5 + 5?\nA: 10",
        "\n\n**Problem:** x",
        "\nUser: thanks",
        "\n### Question 3: y",
    ],
)
def test_a_made_up_question_after_the_answer_is_cut_off(goes_on):
    assert without_run_on(FINAL + goes_on, "") == FINAL
    assert read_written(FINAL + goes_on, "", "stop", config("final"), TASK)["concluded"] == "18"


def test_an_answer_that_runs_on_to_the_limit_counts_as_complete():
    more = "\n\nQuestion: Ann has 3 hats and buys 4. How many?\nAnswer: 3 +"
    read = read_written(FINAL + more, "", "length", config("final"), TASK, "How many in 9 boxes of 2?")
    assert (read["finish"], read["concluded"]) == ("stop", "18")
    assert "finish" not in read_written(FINAL, "", "length", config("final"), TASK)


@pytest.mark.parametrize(
    "more",
    [
        "<|im_end|>\n<|im_start|>user\nAnd in 3 boxes?",
        "<|eot_id|>",
        "</s> And in 3 boxes of",
        "<end_of_turn>\n<start_of_turn>user\nAnd",
        "<｜end▁of▁sentence｜><｜User｜>And in",
        "<|im_end|>\n<|im_start|>assistant\n<think>Once more",
    ],
)
def test_an_answer_that_goes_on_after_its_end_of_turn_counts_as_complete(more):
    for part, rationale in (("final", "There are 9 boxes. 9 * 2 = 18."), ("thinking", THOUGHT)):
        before = "" if part == "final" else f"<think>{THOUGHT}</think>"
        read = read_written(f"{before}{FINAL}{more}", "", "length", config(part), TASK)
        assert (read["finish"], read["concluded"]) == ("stop", "18")
        assert read["rationale"].startswith(rationale)
    assert "finish" not in read_written(FINAL[:-9], "", "length", config("final"), TASK)


def test_a_repeated_question_before_the_answer_stays():
    text = f"Question: How many?\nQuestion again: how many in 9 boxes?\n{FINAL}"
    assert without_run_on(text, "") == text


def test_long_thinking_does_not_make_a_short_final_text_too_long():
    long = "Let me count. " * 5000
    assert (
        read_written(f"<think>{long}</think>{FINAL}", "", "stop", config("final", max_chars=2000), TASK)[
            "concluded"
        ]
        == "18"
    )
    assert (
        len(
            read_written(
                f"<think>{long}</think>{FINAL}", "", "stop", config("thinking", max_chars=2000), TASK
            )["rationale"]
        )
        > 2000
    )
