"""Converts Unicode and LaTeX to the plain text that the answer checks read.

Dashes, digits and spaces of all kinds become ASCII, superscripts become powers, and `½` becomes a LaTeX
fraction. Three dashes stay distinct: `-` (minus and hyphen), `–` (en dash, also for ranges) and `—` (em
dash).
"""

import re
import unicodedata

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("‐‑−﹣－➖", "-"),
        **dict.fromkeys("‒–", "–"),
        **dict.fromkeys("—―﹘", "—"),
        **dict.fromkeys("×✕✖⋅·∙•∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("’‘ʼ′", "'"),
        "⩵": "=",
    }
)
_POWER = re.compile(r"(?<=[\d)}\]])[⁺⁻]?[⁰¹²³⁴-⁹]+")
_SUPERSCRIPT = re.compile(r"[⁺⁻⁰¹²³⁴-⁹]+")
_VULGAR = re.compile(r"(?:[¼½¾⅐-⅞↉])")
_ASCII_MARKUP = re.compile(r"[\\~{]")
_SPACE = re.compile(r"\\[,;: ]|(?<!\d)~|~(?!\d)|~(?=\d{3}(?!\d))|\\q?quad\b|[^\S\n]")
_NOTHING = re.compile(
    r"\\!|\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-zA-Z])|[\u200b-\u200f\u2060\ufeff]"
)
_REPEATING = re.compile(r"(\d+)\.(\d{0,20})\\(?:overline|bar)\s*\{(\d{1,20})\}")
_OVER = re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}")
_SIMPLE_OVER = re.compile(r"([\s$]*[-–]?[\d.]+)\s*\\over\s*([\d.]+[\s$]*)")
_BAR = re.compile(r"\\lvert\s*|\s*\\rvert(?![a-zA-Z])|\\vert(?![a-zA-Z])")
_LONE_SIGN = re.compile(r"\{\s*([-–+])\s*\}")
UNREADABLE = "ƒ"
"""Stands for a LaTeX command that changes the value beside it, such as \\log or \\choose."""
_HARMLESS = frozenset(
    """
    text textbf textit textrm textsf texttt textnormal mbox hbox fbox boxed mathrm mathbf mathit
    mathsf mathtt mathbb mathcal mathop boldsymbol bm emph underline bf it rm displaystyle textstyle
    scriptstyle large Large LARGE huge Huge small quad qquad hspace vspace hfill phantom color
    textcolor tag label begin end item hline newline par noindent centering ldots dots cdots because
    therefore square blacksquare checkmark qed Omega mu degree celsius equiv n t r section
    subsection paragraph operatorname num unit si SI ce
    """.split()
)
_COMMAND = re.compile(r"\\(?:([a-zA-Z]+)|([%$#&_{}])|[()\[\]])")
_COMMANDS = {
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    "div": "/",
    "pm": "±",
    "mp": "±",
    "pi": "π",
    "sqrt": "√",
    "approx": "≈",
    **dict.fromkeys(("neq", "ne"), "≠"),
    "circ": "°",
    "sim": "~",
    "in": "∈",
    **dict.fromkeys(("to", "rightarrow", "longrightarrow", "Rightarrow", "implies"), "→"),
    **dict.fromkeys(("leq", "le", "lt"), "<"),
    **dict.fromkeys(("geq", "ge", "gt"), ">"),
    "infty": "∞",
    "euro": "€",
    "pounds": "£",
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac", "sfrac"), r"\frac"),
}


def plain(text: str) -> str:
    """The text with one spelling for each dash, space, digit, fraction, power and sign of Unicode and LaTeX.

    `\\frac` and braces stay. Commands for the appearance are removed, but the text in their braces stays. Any
    other command becomes `UNREADABLE`.
    """
    if text.isascii() and not _ASCII_MARKUP.search(text):
        return text.replace("\t", " ").replace("\r", " ")
    text = _SUPERSCRIPT.sub("", _POWER.sub(lambda found: f"^({_ascii(found[0])})", text))
    text = _VULGAR.sub(
        lambda found: "\\frac{{{}}}{{{}}}".format(*_ascii(found[0]).split("⁄")), text.translate(_CHARACTERS)
    )
    text = "".join(str(unicodedata.decimal(one, one)) for one in _ascii(text)).translate(_CHARACTERS)
    text = _REPEATING.sub(_repeating, text.replace("{,}", ",").replace("\\\\", "\n"))
    text = _OVER.sub(r"\\frac{\1}{\2}", _BAR.sub("|", text))
    if over := _SIMPLE_OVER.fullmatch(text):
        text = f"{over[1]}/{over[2]}"
    text = _COMMAND.sub(_command, _SPACE.sub(" ", _NOTHING.sub("", text)))
    return _LONE_SIGN.sub(r"\1", text)


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("−", "-")


def _repeating(found: re.Match[str]) -> str:
    """0.1\\overline{6} as a fraction."""
    start, bottom = found[1] + found[2], 10 ** len(found[2]) * (10 ** len(found[3]) - 1)
    return f"\\frac{{{int(start + found[3]) - int(start)}}}{{{bottom}}}"


def _command(found: re.Match[str]) -> str:
    if found[1]:
        return " " if found[1] in _HARMLESS else _COMMANDS.get(found[1], UNREADABLE)
    return found[2] if found[2] in ("%", "$", "#", "&", "_") else " "
