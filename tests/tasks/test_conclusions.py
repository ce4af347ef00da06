"""Conclusions of free texts, rule by rule. test_real_answers.py has real rationales."""

from time import process_time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipthink_ray.tasks.answers import AnswerKind, canonical
from skipthink_ray.tasks.conclusions import conclusion, without_conclusion, without_run_on


@pytest.mark.parametrize(
    ("kind", "text", "concluded"),
    [
        ("number", "Tom has 3 pens. He buys 2.\n\n3 + 2 = \n\n5", "5"),
        ("number", "So she has 70-27 = 43 left.", "43"),
        ("number", "3 + 5 = 8. The answer is 8. That is more than 3.", "8"),
        ("number", "The answer is 23 + 18 + 28, which equals 69.", "69"),
        ("number", "The answer is 5 + 3 = 8 apples. 3 are red.", "8"),
        ("number", "The answer is not clear. He has 5, so 6 with hers.", "6"),
        ("number", "The answer is 4. No, wait: the correct answer is 14.", "14"),
        ("number", "**Answer:** $1,234.50. Check: 2", "1234.50"),
        ("number", "Answer:\n\n12 apples and 3 pears", "12"),
        ("number", "It is 7. #### 72", "72"),
        ("number", "he had 5 --> 7\nThat is 2 more", "7"),
        ("number", r"We get $x = 3$, so $\boxed{\frac{3}{4}}$ of 8.", "3/4"),
        ("number", r"\boxed{1{,}234} it is, 5", "1234"),
        ("number", "She is out of pens", None),
        ("number", "So, the answer (a number) is 31, which is 4 more than 27.", "31"),
        ("number", "The answer in dollars is 31. It was 27.", "31"),
        ("number", "The answer, in arabic numerals, is 31, not 27.", "31"),
        ("number", "## Final answer\n\n**31** pens, 4 more than 27", "31"),
        ("number", "答案是31。比27多4", "31"),
        ("number", "#### Step 2: add\nThat gives 27 + 4 = 31", "31"),
        ("number", "The answer is – 31.", "-31"),
        ("number", r"Thus \boxed{-\dfrac{5}{6}} of 7", "-5/6"),
        ("number", "The answer is 2^5.", "32"),
        ("number", "The answer is not 27. It is 31.", "31"),
        ("number", "It covers 31 m².", "31"),
        ("number", "That takes 3 hours and 46 minutes.", "3 hours and 46 minutes"),
        ("choice", "The answer is not A. It is B.", "B"),
        ("choice", "So it is C, not A.", "C"),
        ("choice", "I think it is (B). No, it isn't (B), it is (A).", "A"),
        ("choice", "(A) red (B) blue. So it is A or B.", None),
        ("choice", "(A) red (B) blue. The answer is neither.", None),
        ("choice", "Therefore, among A through E, the answer is D.", "D"),
        ("yes_no", "Therefore, the answer (Yes or No) is no.", "no"),
        ("yes_no", "So the answer is not yes.", "no"),
        ("yes_no", "There is no clear answer to that, as there is no record of it.", None),
        ("choice", "Bob has (A) the ball. Therefore, the correct answer is C.", "C"),
        ("choice", "(A) is wrong, (B) is wrong, so it must be (C).", "C"),
        ("choice", "It cannot be A, so it is B.", "B"),
        ("choice", r"So \boxed{\text{(B)}} and not (A).", "B"),
        ("choice", "The answer is C: yellow present. (A) is not.", "C"),
        ("choice", "At the end Bob has the blue ball.", None),
        ("string", 'The last letter of "Tom" is "m". So the final answer would be "mn".', "mn"),
        ("string", 'So the final answer is "m + n" = "mn".', "mn"),
        ("string", 'So we get "m n".', "mn"),
        ("string", 'The final answer is "m-n".', "mn"),
        ("string", "We put them together: the result is mn.", "mn"),
        ("string", "The answer is New York.", "New York"),
        ("string", "We concatenate", None),
        ("yes_no", "There is no known cure. So the answer is yes, it does.", "yes"),
        ("yes_no", "A pear floats. So, no, it would not sink.", "no"),
        ("yes_no", 'The answer to your question is likely "no."', "no"),
        ("yes_no", "Do hamsters eat? Yes, they do.", "yes"),
        ("yes_no", "There is no reason to think so, and no one does", None),
        ("set", "The answer is red, blue and green. Not black.", "red, blue and green"),
        ("set", "The colours are red and blue.", "red and blue"),
        ("set", "Nothing.", None),
    ],
)
def test_the_conclusion_is_the_last_answer_of_a_text(kind, text, concluded):
    assert conclusion(kind, text) == concluded


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "The answer is 7 or 9."),
        ("number", "He has 7. The answer is between 7 and 9."),
        ("number", "The answer is $7 to $9."),
        ("number", "The answer is 7, 8 and 9."),
        ("number", "The answer is x = 7 or x = -7."),
        ("number", "It is 9. The answer is 7-9."),
        ("number", "It is 9. The answer is 7/0."),
        ("number", "It is 9. The answer is x + 7."),
        ("number", "There are 7 cats here. The answer is unknown."),
        ("number", "There are 7 cats. The answer is twelve."),
        ("number", "The answer is 7. No, the answer cannot be determined. 9 cats are here."),
        ("number", "The answer is 7.\n\nBut the answer is 8 or 9."),
        ("number", r"\boxed{7}\text{ and }\boxed{9}"),
        ("number", "So x = 7 or x = -7."),
        ("number", "I get 7 or 9."),
        ("number", "The answer is 7. Wait, no, that is wrong."),
        ("choice", "It is A. So the answer is (A) or (B)."),
        ("choice", "(A) is red. The answer is unknown."),
        ("choice", "(A) red (B) blue. The answer is blue."),
        ("yes_no", "Yes, it is. The answer is yes and no."),
        ("yes_no", "Yes, maybe. The answer is unclear."),
    ],
)
def test_a_conclusion_that_is_undecided_or_unreadable_is_none(kind, text):
    assert conclusion(kind, text) is None


@pytest.mark.parametrize(
    ("kind", "text", "concluded"),
    [
        ("number", "The answer is 42. Wait, I forgot the 3 extra ones. 42 + 3 = 45, so Tom has 45.", "45"),
        ("number", "Answer: 42\n\nHmm, that is wrong. The total is 45.", "45"),
        ("number", "The answer is 42 - no, 45.", "45"),
        ("number", "The answer is 42. I made a mistake: it is 45.", "45"),
        ("number", "The answer is 42. Wait for it.", "42"),
        ("number", "The answer is 42. Actually, that was easy.", "42"),
        ("number", "The answer is 42. Let me verify: 42 / 6 = 7. That is correct.", "42"),
        ("choice", "The answer is A. Wait, actually B is better.", "B"),
        ("choice", "The answer is C. Wait, (A) is wrong and (B) is wrong.", "C"),
        ("yes_no", "The answer is yes. Wait, no, it sinks.", "no"),
        ("yes_no", "The answer is no, it sinks.", "no"),
    ],
)
def test_an_answer_that_is_taken_back_is_replaced_by_the_last_one(kind, text, concluded):
    assert conclusion(kind, text) == concluded


@pytest.mark.parametrize(
    ("kind", "text", "concluded"),
    [
        ("number", "3 + 5 = 8. The answer is correct.", "8"),
        ("number", "The answer is 8. I hope the answer is clear.", "8"),
        ("number", "She has 9 multiplied by 12, or 108 balls.", "108"),
        ("number", "He saved 21 / 35 = 0.60 or 60% of it.", "60"),
        ("yes_no", "So, in answer to your question, yes, bees are useful.", "yes"),
    ],
)
def test_a_remark_about_the_answer_is_not_another_answer(kind, text, concluded):
    assert conclusion(kind, text) == concluded


@pytest.mark.parametrize("kind", get_args(AnswerKind))
@pytest.mark.parametrize(
    "loop",
    [
        "the answer is ",
        "111,",
        "3 = ",
        "'a ",
        "answer to ",
        "answer - ",
        "\nQ: 1",
        "\nQ: Why?\nAnswer: 3",
        "####",
        "wait, ",
        "no, ",
    ],
)
def test_an_endless_text_is_read_fast(kind, loop):
    start = process_time()
    conclusion(kind, without_run_on(loop * 3000, loop))
    assert process_time() - start < 5


PENS = "Eva has 20 pens and loses 6. How many pens has she now?"


@pytest.mark.parametrize(
    ("own", "more"),
    [
        ("20 - 6 = 14\n#### 14", "\n\nQuestion: Leo has 8 hats and 9 caps. How many?\nAnswer: 17\n#### 17"),
        ("20 - 6 = 14. The answer is 14.", "\n\nQ: Leo has 8 hats. How many?\nA: 8"),
        ("20 - 6 = 14.", "\n\n### Problem 2:\nLeo has 8 hats and 9 caps. How many?\n\nSolution: 17"),
        ("20 - 6 = 14. The answer is 14.", "\n**Next question:** Leo has 8 hats. How many?"),
        ("20 - 6 = 14.", "\nHuman: Thanks!\nAssistant: 8"),
        ("The answer is 14.", "<|im_end|>\n<|im_start|>user\nLeo has 8 hats."),
        ("The answer is 14.", "</s> 8"),
        ("The answer is 14.", "\n\n### Instruction:\nAdd 8 and 9.\n\n### Response:\n17"),
        ("20 - 6 = 14\n#### 14", "\nLeo has 8.\n#### 8"),
        ("Question: Eva has 20 pens and loses 6.\nAnswer: 14.", "\n\nQuestion: Leo has 8 hats.\nAnswer: 8."),
    ],
)
def test_a_text_is_cut_before_a_made_up_question(own, more):
    assert without_run_on(own + more, PENS) == own
    assert conclusion("number", without_run_on(own + more, PENS)) == "14"


FRUITS = "Tom had 8 apples, bought 5 pears and ate 3. How many fruits are left?"


@pytest.mark.parametrize(
    "text",
    [
        "First we need the total.\nQ: What is the total number of fruits he owned?\nA: 8 + 5 = 13.\n"
        "Q: What remains?\nA: 13 - 3 = 10.",
        "First the total.\nQuestion: What is the total he owned?\nAnswer: 8 + 5 = 13.\n"
        "Question: What remains?\nAnswer: 13 - 3 = 10.",
        "First the pears.\n**Question:** How many fruits had Tom after he bought 5?\n**Answer:** 13.\n"
        "**Question:** What remains?\n**Answer:** 13 - 3 = 10.",
        "Step by step.\nQuestion 1: How many had he after buying?\nAnswer 1: 8 + 5 = 13.\n"
        "Question 2: What remains?\nAnswer 2: 13 - 3 = 10.\nThe answer is 10.",
    ],
)
def test_questions_that_the_teacher_asks_itself_are_part_of_its_reasons(text):
    assert without_run_on(text, FRUITS) == text
    more = "\n\nQuestion: Ann has 21 hats and finds 40 caps. How many things?\nAnswer: 61"
    assert without_run_on(text + more, FRUITS) == text


@pytest.mark.parametrize(
    "text",
    [
        "Let us see.\nQuestion: how many pens has she now?\nAnswer: 20 - 6 = 14. The answer is 14.",
        "Problem: we do not know the number.\n\nPlan: subtract.\n20 - 6 = 14",
        "We read it.\nThe problem: 20 - 6\n= 14",
        "#### Step 1\n20 - 6\n#### Step 2\n14",
        "Question: Eva has 20 pens. 20 - 6 = 14.",
        "",
    ],
)
def test_a_restated_question_is_not_a_made_up_one(text):
    assert without_run_on(text, PENS) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("20 - 6 = 14. So the answer (a number) is 14.", "20 - 6 = 14."),
        ("20 - 6 = 14. The final answer is 14.", "20 - 6 = 14."),
    ],
)
def test_a_rationale_does_not_end_in_its_conclusion(text, left):
    assert without_conclusion(text) == left


def test_the_pattern_precedes_every_other_rule():
    text = "RESULT=4 RESULT=5. The answer is 6."
    assert conclusion("number", text, r"RESULT=(\d)") == "5"
    assert conclusion("number", text, r"FOUND=(\d)") == "6"


@given(
    st.text() | st.text("0123456789/.,-$ AByesnoi'\"(){}\\=>\n", max_size=30),
    st.sampled_from(get_args(AnswerKind)),
)
@settings(max_examples=400)
def test_every_conclusion_is_an_answer_of_its_kind(text, kind):
    said = conclusion(kind, f"{text} the answer is {text}")
    assert said is None or canonical(kind, said) is not None
