"""What a teacher's text in free form concludes, rule by rule; on real rationales in test_real_answers.py."""

from time import perf_counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipthink_ray.tasks.answers import AnswerKind, canonical
from skipthink_ray.tasks.conclusions import conclusion


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
def test_a_text_concludes_what_it_says_last(kind, text, concluded):
    assert conclusion(kind, text) == concluded


@pytest.mark.parametrize("kind", get_args(AnswerKind))
@pytest.mark.parametrize("loop", ["the answer is ", "111,", "3 = ", "'a ", "answer to "])
def test_a_text_without_end_takes_no_time(kind, loop):
    start = perf_counter()
    conclusion(kind, loop * 3000)
    assert perf_counter() - start < 5


def test_a_pattern_goes_before_every_other_rule():
    text = "RESULT=4 RESULT=5. The answer is 6."
    assert conclusion("number", text, r"RESULT=(\d)") == "5"
    assert conclusion("number", text, r"FOUND=(\d)") == "6"


@given(st.text() | st.text("0123456789/.,-$ AByesnoi'\"(){}\\=>\n", max_size=30), st.sampled_from(get_args(AnswerKind)))
@settings(max_examples=400)
def test_what_any_text_concludes_is_an_answer_of_its_kind(text, kind):
    said = conclusion(kind, f"{text} the answer is {text}")
    assert said is None or canonical(kind, said) is not None
