"""Equality of answers, kind by kind. No text makes the check raise."""

from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skipthink_ray.tasks import TASKS, get_task
from skipthink_ray.tasks.answers import canonical, same_answer

KINDS = ("number", "choice", "string", "yes_no", "set")
GOLD = {"number": "0.5", "choice": "A", "string": "a", "yes_no": "yes", "set": "a, b"}


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("1,234", "1234"),
        ("1,234,567.5", "1234567.5"),
        ("12.00", "12"),
        ("12", "12.0"),
        ("12.", "12"),
        ("$12", "12"),
        ("-$12", "-12"),
        ("$ 1,000.50", "1000.5"),
        ("12 apples", "12"),
        ("12%", "12"),
        (" 12 ", "12"),
        ("3/4", "0.75"),
        ("-1/2", "-0.5"),
        (".5", "0.5"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("007", "7"),
        ("0.3333333", "1/3"),
        ("the answer is 12.", "12"),
        ("12,34,567", "1234567"),
        ("1,234 apples, 5 pears", "1234"),
        ("1{,}234", "1234"),
        ("1/2", "0.5"),
        ("2 1/2 cups", "2.5"),
        ("-2 1/2", "-2.5"),
        (r"\frac{3}{4}", "0.75"),
        (r"2\frac{1}{2}", "2.5"),
        (r"\$7", "7"),
        ("-€7", "-7"),
        ("Rs.50", "50"),
        ("USD5", "5"),
        ("50% of it", "50"),
        ("-5.", "-5"),
        ("(-5)", "-5"),
        ("x=-5", "-5"),
        ("2 + 3 = 5", "5"),
        ("5-3=2 apples", "2"),
        ("7 plus 8 equals 15", "15"),
        ("676 - 224, which is 452", "452"),
        ("CO2 weighs 44", "44"),
        ("1.5e3", "1500"),
        ("12 eggs", "12"),
    ],
)
def test_equal_numbers_agree(predicted, gold):
    assert same_answer("number", predicted, gold)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("5", "-5"),
        ("12", "1.2"),
        ("12", "120"),
        ("1,23", "123"),
        ("0.33", "1/3"),
        ("12.0001", "12"),
        ("", "0"),
        ("twelve", "12"),
        ("none", "none"),
        ("3/0", "3"),
        ("3/00", "3"),
        ("3/000000", "3"),
        ("1/2", "1"),
        ("2 1/2", "2"),
        ("50%", "0.5"),
        ("10-5", "-5"),
        ("-$5", "5"),
        ("−5", "5"),
        ("1.2.3", "3"),
    ],
)
def test_different_numbers_and_texts_without_a_number_do_not_agree(predicted, gold):
    assert not same_answer("number", predicted, gold)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        *((dash + "8", "-8") for dash in "-‐‑‒–—―−﹣－"),
        ("– 8", "-8"),
        ("−\u00a08", "-8"),
        ("minus 8", "-8"),
        ("it is equal to - 8", "-8"),
        ("$-8", "-8"),
        ("2 - -6", "8"),
        ("+8", "8"),
        ("20 300", "20300"),
        ("20\u00a0300", "20300"),
        ("20\u202f300", "20300"),
        (r"20{,}300", "20300"),
        (r"20,\!300", "20300"),
        (r"$20\,300$", "20300"),
        ("20'300", "20300"),
        ("20’300", "20300"),
        ("20_300", "20300"),
        ("2.030.000", "2030000"),
        ("20.300,5", "20300.5"),
        ("20,300.5", "20300.5"),
        ("7,5", "7.5"),
        ("0,125", "0.125"),
        ("２０，３００", "20300"),
        ("٨", "8"),
        ("6^2", "36"),
        ("6²", "36"),
        ("$6^{2}$", "36"),
        ("6**2", "36"),
        ("6**-1", "1/6"),
        ("-6^2", "-36"),
        ("(-6)^2", "36"),
        ("4 × 10^5", "400000"),
        (r"4.5 \times 10^{-2}", "0.045"),
        ("4·10⁻²", "0.04"),
        ("4E+2", "400"),
        (r"\frac56", "5/6"),
        (r"\frac{5}6", "5/6"),
        (r"-\dfrac{5}{6}", "-5/6"),
        (r"\frac{-5}{6}", "-5/6"),
        (r"\left(-\tfrac{5}{6}\right)", "-5/6"),
        ("⅚", "5/6"),
        ("3¾", "3.75"),
        ("5⁄8", "0.625"),
        ("3 and 3/4 miles", "3.75"),
        (r"0.41\overline{6}", "5/12"),
        (r"\sqrt{49}", "7"),
        (r"\sqrt[3]{27}", "3"),
        ("√2.25", "1.5"),
        (r"2\pi", "6.2831853"),
        (r"\boxed{7\text{ cm}^2}", "7"),
        (r"7\%", "7"),
        (r"7^\circ", "7"),
        ("the 7^{th}", "7"),
        ("**7**", "7"),
        ("**7** **2**", "7"),
        ("3.2 billion", "3200000000"),
        ("$7k", "7000"),
        ("7 dollars and 5 cents", "7.05"),
        ("7 × 6", "42"),
        ("50 - 8", "42"),
        ("40 + 3, or 42", "42"),
        ("1 hour and 10 minutes, which is 70 minutes", "70"),
        ("1/8 or 0.125", "0.125"),
        ("2/3 or 0.67", "2/3"),
        ("not 7 but 6", "6"),
        ("y = x + 3 = 7", "7"),
        ("$7/h", "7"),
        ("7 m/s", "7"),
        ("07:15", "7:15"),
        (r"5\over 7", "5/7"),
        (r"${5 \over 7}$", "5/7"),
        ("7 and a half", "7.5"),
        ("7 and three quarters", "7.75"),
        ("7 squared", "49"),
        ("7 divided by 2", "3.5"),
        ("7 hundreds", "700"),
        ("7 tenths", "0.7"),
        ("7bn", "7000000000"),
        ("7k", "7000"),
        ("$1.5 M", "1500000"),
        ("7 E3", "7000"),
        ("|−7|", "7"),
        (r"\left|-7\right|", "7"),
        ("3(4)", "12"),
        ("sqrt(49)", "7"),
        (r"\text{-}7", "-7"),
        ("2h30", "2:30 h"),
        ("7:15 am", "7:15"),
    ],
)
def test_a_number_is_read_however_it_is_written(predicted, gold):
    assert same_answer("number", predicted, gold)
    assert same_answer("number", gold, predicted)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("—8", "8"),
        ("– 8", "8"),
        (r"-\frac{5}{6}", "5/6"),
        (r"\frac56", "56"),
        (r"2\frac{x}{6}", "2"),
        (r"\sqrt{x+1}", "1"),
        (r"0.\overline{6}", "0"),
        ("6^2", "6"),
        ("6²", "6"),
        ("6^n", "6"),
        ("9^9^9^9", "9"),
        ("9^1000000", "9"),
        ("20 300", "20"),
        ("20,3", "20"),
        ("4 × 10^5", "4"),
        ("4 million", "4"),
        ("2 + 6", "2"),
        ("7 - 8", "7"),
        ("7 or 8", "7"),
        ("7 and 9", "7"),
        ("7, 8, 9", "7"),
        ("7 to 9", "7"),
        ("7–9", "7"),
        ("between 7 and 9", "7"),
        ("±7", "7"),
        ("(7, 9)", "7"),
        ("(7,9)", "7.9"),
        ("not 7", "7"),
        ("x ≠ 7", "7"),
        ("isn't 7", "7"),
        ("7:15", "7"),
        ("7:15 am", "7:15 pm"),
        ("7 hours and 15 minutes", "7"),
        ("7:2", "7"),
        ("2024-07-01", "2024"),
        ("7/1/2024", "7"),
        ("7.1.1", "7"),
        ("40 + 3, or 42", "43"),
        *(
            (other, "7")
            for other in (
                *(r"7\over 5", r"{7\over 5}", r"7 \pm 1", "7 ± 1", r"7\choose 2", r"\binom{7}{2}", r"\log 7"),
                *(
                    r"\sin(7)",
                    r"\sin(7) + 1",
                    r"2 + \log 7",
                    r"7\alpha",
                    r"\alpha + 7",
                    r"\lfloor 7.5 \rfloor",
                ),
                *("log 7", "sin(7)", "9 mod 7", "7 mod 9", "7!!", "7! + 3", "7 choose 2", "3/0 + 7"),
                *("7 and a half", "7 and a quarter", "7 squared", "7 cubed", "7 divided by 2"),
                *("7 hundreds", "7 thousands", "7 tenths", "7bn", "7k", "7 k", "7K", "7M", "7 mln"),
                *("7 feet 6", "7 min 6", "7h30", "$7$ or $9$", "$7$ and $9$", "**7** or **9**", "7 (or 9)"),
                *("7 vs 9", "7~9", "7～9", "7..9", "7...9", "7%-9%", "7, maybe 9", "7 apples or 9"),
                *("7(4)", "(7)(4)", r"\text{-}7", "x = 7 or x = -7", "x = -7 or x = 7"),
            )
        ),
        ("|−7|", "-7"),
        ("x^2 + 7", "7"),
        ("7 - x", "7"),
        ("7x", "7"),
        ("7/x", "7"),
        ("x - 7", "7"),
        ("e^{7}", "7"),
        (r"[7, \infty)", "7"),
    ],
)
def test_a_part_of_a_number_is_not_the_number(predicted, gold):
    assert not same_answer("number", predicted, gold)


@pytest.mark.parametrize(
    "loop", ["((", "2^", "9*", "1/3+", "-", "\\frac{", "1,", "7 or ", "{[(", "10 000 ", "√"]
)
def test_an_endless_calculation_is_read_fast(loop):
    start = process_time()
    canonical("number", loop * 5000)
    assert process_time() - start < 5


def test_an_endless_number_is_wrong_and_does_not_raise():
    assert not same_answer("number", "1" * 10_000, "1")


@pytest.mark.parametrize(
    "predicted",
    [
        "B: the ball(s)",
        "[B]",
        "**B**",
        r"{B}",
        "A blue ball is (B)",
        "I think B",
        "B-",
        "B, not A",
        "it's B",
        "B",
        "(B)",
        "b",
        "(b)",
        "B.",
        " B ",
        "(B) blue",
        "B) blue",
        "the answer is (B).",
    ],
)
def test_a_choice_is_a_letter_that_stands_alone(predicted):
    assert same_answer("choice", predicted, "B")
    assert not same_answer("choice", predicted, "A")


@pytest.mark.parametrize(
    ("predicted", "letter"),
    [
        ("not A but C", "C"),
        ("C, not A", "C"),
        ("neither A nor B, so C", "C"),
        ("(A) and (B) are wrong; (C) is right", "C"),
        ("A can be ruled out, so C", "C"),
        ("C is better than A", "C"),
        ("C because (A) is too small", "C"),
        ("C.\n\nReason: (A) is too small", "C"),
        ("c) green", "C"),
        ("option c", "C"),
        ("（Ｃ）", "C"),
        (r"\textbf{(C)}", "C"),
        ("not A", None),
        ("It isn't (C)", None),
        ("C is incorrect", None),
        ("neither (A) nor (C)", None),
        ("A or C", None),
        ("A vs C", None),
        ("A vs. C", None),
        ("A over C", None),
        ("(A), (C)", None),
        ("A/C", None),
        ("both A and C", None),
        ("(A) red. (B) green. (C) blue.", None),
        ("A) red B) green", None),
        ("none of them", None),
    ],
)
def test_a_denied_or_undecided_choice_does_not_count(predicted, letter):
    assert canonical("choice", predicted) == letter


@pytest.mark.parametrize(
    "predicted",
    [
        "Blue",
        "BLUE",
        "AB",
        "Bob has it",
        "",
        "12",
        "()",
        "blue ball",
        "A blue ball",
        "ball(b)",
        "I think so",
        "T-shirt",
        "the U.S. flag",
        "A1",
        "B2B",
        "Vitamin_C",
        "D'Arcy",
    ],
)
def test_a_letter_inside_a_word_is_not_a_choice(predicted):
    assert not any(same_answer("choice", predicted, letter) for letter in "ABCDE")


@pytest.mark.parametrize(
    "predicted", ["nk", "NK", "nk.", '"nk"', '"nk".', '"nk."', "“nk”", "'nk'", "  nk \n"]
)
def test_a_string_is_compared_without_case_quotes_and_full_stop(predicted):
    assert same_answer("string", predicted, "nk")
    assert same_answer("string", "nk", predicted)


@pytest.mark.parametrize("predicted", ["kn", "n", "nk e", "nke", "n-k", "", ".", '""'])
def test_other_strings_differ(predicted):
    assert not same_answer("string", predicted, "nk")


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("New  York", "new york"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "café"),
        ("**nk**", "nk"),
        ("n k", "nk"),
        ("U.S.", "U.S"),
    ],
)
def test_strings_that_read_the_same_agree(predicted, gold):
    assert same_answer("string", predicted, gold)


def test_spaces_between_words_count():
    assert not same_answer("string", "newyork", "new york")


@pytest.mark.parametrize(
    "predicted", ["a, b", "b and a", "B, A.", "a; b", "{a, b}", "a, b, and a", "a\nb", '"a" & "b"', "[b, a]"]
)
def test_a_set_is_compared_without_order_and_repetition(predicted):
    assert same_answer("set", predicted, "a, b")
    assert same_answer("set", "a, b", predicted)


@pytest.mark.parametrize("predicted", ["a", "a, b, c", "a b", "ab", "", ",", "{}", "a and c"])
def test_other_sets_differ(predicted):
    assert not same_answer("set", predicted, "a, b")


def test_and_separates_only_as_a_word_of_its_own():
    assert canonical("set", "Sandy and Andy") == "andy, sandy"
    assert canonical("set", "AT&T") == "at&t"


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("yes", "Yes"),
        ("Yes.", "yes"),
        ("no, it sinks", "no"),
        ("True", "yes"),
        ("false", "no"),
        ("No.", "no"),
        ("no it sinks", "no"),
        ("**Yes**", "yes"),
        ("The answer to a yes or no question: no", "no"),
    ],
)
def test_yes_and_no_are_read_with_true_and_false(predicted, gold):
    assert same_answer("yes_no", predicted, gold)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ("yes", "no"),
        ("not", "no"),
        ("yesterday", "yes"),
        ("", "no"),
        ("maybe", "no"),
        ("no one", "no"),
        ("No one knows", "no"),
        ("no-one", "no"),
        ("no. 5", "no"),
        ("no doubt", "no"),
        ("no matter", "no"),
        ("yes or no", "yes"),
        ("yes/no", "yes"),
        ("yes-man", "yes"),
        ("nothing", "no"),
        ("know", "no"),
    ],
)
def test_other_words_are_neither_yes_nor_no(predicted, gold):
    assert not same_answer("yes_no", predicted, gold)


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        ("It is not true", "no"),
        ("this isn't really true", "no"),
        ("that cannot be true", "no"),
        ("It's not false", "yes"),
        ("untrue", "no"),
        ("There is no cure, so yes", "yes"),
        ("There is no cure", "no"),
        ("neither true nor false", None),
        ("no longer true", "no"),
        ("far from true", "no"),
        ("hardly true", "no"),
        ("partly true", None),
        ("yes and no", None),
    ],
)
def test_not_inverts_yes_and_no(predicted, said):
    assert canonical("yes_no", predicted) == said


@pytest.mark.parametrize(
    ("predicted", "gold"), [(r"\text{nk}", "nk"), ("well–known", "well-known"), ("O’Neil", "O'Neil")]
)
def test_a_string_is_compared_without_latex(predicted, gold):
    assert same_answer("string", predicted, gold)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_without_the_expected_form_does_not_even_agree_with_itself(kind):
    assert not same_answer(kind, " ", " ")


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_format_error_is_wrong_for_every_task(task):
    gold = GOLD[TASKS[task].kind]
    assert TASKS[task].check(gold, gold)
    assert not TASKS[task].check(None, gold)


@given(st.text() | st.text("0123456789/.,-$ AB()'\"", max_size=12), st.sampled_from(KINDS))
@settings(max_examples=500)
@example("1/00", "number")
@example("-.", "number")
def test_the_check_never_raises_and_is_symmetric(text, kind):
    assert same_answer(kind, text, GOLD[kind]) == same_answer(kind, GOLD[kind], text)
    if canonical(kind, text) is not None:
        assert same_answer(kind, text, text)


@pytest.mark.parametrize(
    ("kind", "wrong", "error"),
    [
        ("number", "13", "a dozen"),
        ("choice", "B", "the blue ball"),
        ("string", "b", " . "),
        ("yes_no", "no", "perhaps"),
        ("set", "c", "{}"),
    ],
)
def test_a_format_error_differs_from_a_wrong_answer(kind, wrong, error):
    assert canonical(kind, wrong) is not None
    assert canonical(kind, error) is None
    assert not same_answer(kind, wrong, GOLD[kind])
    assert not same_answer(kind, error, GOLD[kind])


@pytest.mark.parametrize(
    ("name", "hint"), [("multiarit", "did you mean 'multiarith'"), ("zzz", "known tasks")]
)
def test_an_unknown_task_gets_a_suggestion(name, hint):
    with pytest.raises(ValueError, match=f"'{name}'.*{hint}"):
        get_task(name)
