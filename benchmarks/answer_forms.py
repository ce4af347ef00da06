"""How people and models write a number, with look-alikes of its value and texts that only contain it."""

from fractions import Fraction

DASHES = "-‐‑‒–—−－﹣"
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
FULL_WIDTH = str.maketrans("0123456789.,", "０１２３４５６７８９．，")
VULGAR = {
    Fraction(1, 2): "½",
    Fraction(1, 4): "¼",
    Fraction(3, 4): "¾",
    Fraction(1, 3): "⅓",
    Fraction(2, 3): "⅔",
    Fraction(1, 8): "⅛",
}
WORDS = ("apples", "pens", "dollars", "km", "people", "cm", "miles per hour", "kg", "cookies", "students")


def others(value: Fraction) -> list[Fraction]:
    """Wrong values that resemble a value: another sign, a moved point, a digit too few or too many."""
    digits = str(abs(value.numerator))
    near = [
        -value,
        value * 10,
        value / 10,
        value * 100,
        value / 100,
        value * 1000,
        value + 1,
        value - 1,
        value + 10,
        value / 2,
    ]
    if value.denominator == 1:
        near += [
            Fraction(digits + "5"),
            Fraction(digits[:-1] or 0),
            Fraction(digits[1:] or 0),
            Fraction(digits[::-1]),
        ]
    if value:
        near.append(1 / value)
    return [one for one in dict.fromkeys(near) if abs(one - value) > Fraction(1, 1000) and _short(one)]


def _short(value: Fraction) -> bool:
    return len(str(value.denominator)) < 6


def _decimal(value: Fraction) -> str | None:
    """The value as a finite decimal of at most six places, by long division. None if there is none."""
    scaled = abs(value) * 10**6
    if scaled.denominator != 1:
        return None
    whole, rest = divmod(scaled.numerator, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def writings(value: Fraction) -> dict[str, str]:
    """Name of a form -> the value in this form. Every text means exactly this value."""
    written = _whole(abs(value.numerator)) if value.denominator == 1 else _broken(abs(value))
    if value < 0:
        unsigned = _decimal(value) or f"{abs(value.numerator)}/{value.denominator}"
        signs = {f"dash {ord(dash):x}": dash + unsigned for dash in DASHES}
        signs |= {
            "dash apart": f"- {unsigned}",
            "dash nbsp": f"−\u00a0{unsigned}",
            "minus": f"minus {unsigned}",
            "negative": f"negative {unsigned}",
        }
        signs |= {
            "brackets": f"(-{unsigned})",
            "after is": f"x = -{unsigned}",
            "dollar after": f"-${unsigned}",
            "dollar before": f"$-{unsigned}",
        }
        written = signs | {
            form: "-" + text for form, text in written.items() if form not in ("plus", "sum", "bracketed sum")
        }
    bare = _decimal(value) or f"{abs(value.numerator)}/{value.denominator}"
    return written | _framed("-" + bare if value < 0 else bare)


def _whole(number: int) -> dict[str, str]:
    text, threes = str(number), _groups(str(number), 3)
    forms = {
        "plain": text,
        "point zero": f"{text}.0",
        "two decimals": f"{text}.00",
        "full width": text.translate(FULL_WIDTH),
        "plus": f"+{text}",
    }
    forms |= {
        "fraction": f"{number * 3}/3",
        "latex fraction": rf"\frac{{{number * 2}}}{{2}}",
        "power one": f"{text}^1",
        "product": f"2 × {text} / 2",
    }
    forms |= {
        "leading zeros": f"00{text}",
        "decimal comma": f"{text},0",
        "sum": f"{number - 1} + 1 = {text}",
        "bracketed sum": rf"\left({text}\right)",
    }
    if number >= 1000:
        marks = {
            "comma": ",",
            "space": " ",
            "nbsp": "\u00a0",
            "narrow": "\u202f",
            "thin": "\u2009",
            "latex comma": "{,}",
            "latex space": r"\,",
        }
        marks |= {
            "latex tight comma": r",\!",
            "apostrophe": "'",
            "typeset apostrophe": "’",
            "low line": "_",
            "full width comma": "，",
        }
        forms |= {f"thousands {form}": mark.join(threes) for form, mark in marks.items()}
        forms |= {
            "indian": ",".join([*_groups(text[:-3], 2), text[-3:]]),
            "european": ".".join(threes) + ",0",
            "comma and point": ",".join(threes) + ".00",
        }
    if number >= 1_000_000:
        forms["points"] = ".".join(threes)
    zeros = len(text) - len(text.rstrip("0")) if number else 0
    if zeros >= 2:
        front = text[:-zeros]
        forms |= {
            "e": f"{front}e{zeros}",
            "E plus": f"{front}E+{zeros}",
            "times power": f"{front} × 10^{zeros}",
            "cdot": rf"{front} \cdot 10^{{{zeros}}}",
        }
        forms |= {
            "superscript": f"{front}·10{str(zeros).translate(SUPERSCRIPT)}",
            "stars": f"{front} * 10**{zeros}",
            "letter x": f"{front} x 10^{zeros}",
        }
    for word, size in (("thousand", 10**3), ("million", 10**6)):
        if number >= size and number % (size // 100) == 0:
            forms[word] = f"{_decimal(Fraction(number, size))} {word}"
    for base, exponent in (
        (base, exponent)
        for base in range(2, 101)
        for exponent in (2, 3, 4, 5, 10)
        if base**exponent == number
    ):
        forms |= {
            "power": f"{base}^{exponent}",
            "power braces": rf"${base}^{{{exponent}}}$",
            "power stars": f"{base}**{exponent}",
        }
        forms["power superscript"] = f"{base}{str(exponent).translate(SUPERSCRIPT)}"
        if exponent == 2:
            forms |= {"root": rf"\sqrt{{{number**2}}}", "root sign": f"√{number**2}"}
    return forms


def _groups(text: str, size: int) -> list[str]:
    first = len(text) % size
    return [
        part
        for part in (text[:first], *(text[at : at + size] for at in range(first, len(text), size)))
        if part
    ]


def _broken(value: Fraction) -> dict[str, str]:
    top, bottom = value.numerator, value.denominator
    forms = {
        "fraction": f"{top}/{bottom}",
        "spaced fraction": f"{top} / {bottom}",
        "unreduced": f"{top * 2}/{bottom * 2}",
        "slash": f"{top}⁄{bottom}",
    }
    forms |= {name: rf"\{name}{{{top}}}{{{bottom}}}" for name in ("frac", "dfrac", "tfrac")}
    forms["division"] = f"{top} ÷ {bottom}"
    if top < 10 and bottom < 10:
        forms |= {"tight frac": rf"\frac{top}{bottom}", "half tight frac": rf"\frac{top}{{{bottom}}}"}
    whole, rest = divmod(value, 1)
    if whole and rest.denominator < 1000:
        forms |= {
            "mixed": f"{whole} {rest.numerator}/{rest.denominator}",
            "mixed and": f"{whole} and {rest.numerator}/{rest.denominator}",
        }
        forms["mixed latex"] = rf"{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}"
    if rest in VULGAR:
        forms["vulgar"] = f"{whole or ''}{VULGAR[rest]}"
    if decimal := _decimal(value):
        forms |= {
            "plain": decimal,
            "zeros": decimal + "00",
            "decimal comma": decimal.replace(".", ",") + "0" * (3 if _like_thousands(decimal) else 0),
        }
        forms["full width"] = decimal.translate(FULL_WIDTH)
        forms["e"] = f"{int(Fraction(decimal) * 10**6)}e-6"
        forms["power"] = rf"{_decimal(value * 100)} \times 10^{{-2}}"
        if decimal.startswith("0."):
            forms["no zero"] = decimal[1:]
        if value >= 1000:
            forms["comma and point"] = ",".join(_groups(str(whole), 3)) + "." + decimal.split(".")[1]
    return forms


def _like_thousands(decimal: str) -> bool:
    return len(decimal.split(".")[1]) == 3


def _framed(text: str) -> dict[str, str]:
    """Name of a frame -> the answer inside it, for example in a sentence or a box."""
    word = WORDS[len(text) % len(WORDS)]
    forms = {
        "sentence": f"The answer is {text}.",
        "box": rf"\boxed{{{text}}}",
        "math": f"${text}$",
        "display": rf"\[{text}\]",
        "bold": f"**{text}**",
    }
    forms |= {
        "unit": f"{text} {word}",
        "latex unit": rf"{text}\text{{ {word}}}",
        "equation": f"x = {text}",
        "stop": f"{text}.",
        "lines": f"\n {text} \n",
    }
    forms |= {
        "percent": f"{text}%",
        "latex percent": rf"{text}\%",
        "euro": f"{text} €",
        "square metres": f"{text} m²",
        "latex square": rf"{text}\text{{ cm}}^2",
    }
    if text[0] != "-":
        forms |= {
            "dollar": f"${text}",
            "latex dollar": rf"\${text}",
            "code": f"US${text}",
            "about": f"about {text}",
            "not other": f"not {text}7, but {text}",
        }
    return forms


def parts_of(gold: str) -> dict[str, str]:
    """Name of a form -> an answer that contains the gold but means something else."""
    value = Fraction(gold)
    number = gold.lstrip("-")
    forms = (
        {f"opposite {ord(dash):x}": dash + number for dash in DASHES}
        if value > 0
        else {"without sign": number}
        if value
        else {}
    )
    forms |= {
        "not": f"not {gold}",
        "or": f"{gold} or {value + 1}",
        "and": f"{gold} and {value + 2}",
        "divided": f"{gold}/7" if value else "7/3",
    }
    forms |= {
        "times": f"{gold} × 3" if value else "0 + 3",
        "plus": f"{gold} + 4",
        "of two": f"({gold}, 8)",
        "list": f"{gold}, {value + 3}",
        "pm": f"±{number}",
    }
    if value.denominator == 1 and value > 1:
        forms |= {
            "time": f"{gold}:30",
            "ratio": f"{gold}:1",
            "range": f"{gold}-{value + 5}",
            "en dash range": f"{gold}–{value + 5}",
            "decimal": f"{gold}.5",
        }
        forms |= {
            "cube": f"{gold}^3",
            "cube superscript": f"{gold}³",
            "cube stars": f"{gold}**3",
            "exponent": f"10^{{{gold}}}",
            "root": rf"\sqrt{{{gold}}}",
        }
        forms |= {
            "top": rf"\frac{{{gold}}}{{7}}",
            "bottom": rf"\frac{{1}}{{{gold}}}",
            "mixed": f"{gold} 1/2",
            "mixed latex": rf"{gold}\frac12",
        }
        forms |= {
            "million": f"{gold} million",
            "power of ten": f"{gold} × 10^4",
            "e": f"{gold}e3",
            "decimal comma": f"{gold},5",
            "version": f"{gold}.2.3",
        }
        forms |= {
            "vulgar": f"{gold}½",
            "and a half": f"{gold} and a half",
            "over": rf"{{{gold} \over 7}}",
            "choose": rf"\binom{{{gold}}}{{2}}",
            "logarithm": rf"\log {gold}",
            "modulo": f"{gold} mod 3",
            "thousand letter": f"{gold}k",
            "tilde": f"{gold}~{value + 5}",
            "or in dollars": f"${gold}$ or ${value + 5}$",
            "minus": f"{gold} - 1",
            "over nothing": f"{gold}/0",
            "symbol": rf"{gold}^x",
            "date": f"{gold}/11/2024",
        }
        if value < 1000:
            forms |= {
                "thousands": f"{gold},000",
                "thousands space": f"{gold} 000",
                "thousands narrow": f"{gold}\u202f500",
                "thousands latex": rf"{gold},\!000",
            }
            forms["hours"] = f"{gold} hours and 30 minutes"
    return forms
