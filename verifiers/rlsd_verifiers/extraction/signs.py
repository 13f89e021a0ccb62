"""Small signs that several rules look for."""

import re

_LIGHT = re.compile(r"\\(?:text(?:rm|bf|it)?|mathrm|[mh]box|left|right|q?quad|[,;:! ()\[\]\\%])|[{}$*~%]")
PERCENT = re.compile(
    r"(?:\s|[$*~]|\\[),;! ])*+(?:\\?%|\uff05|(?:\\text\{\s?)?(?:percent(?:age)?|pct|per\scent)\b)", re.IGNORECASE
)
_JOINER = re.compile(
    r"(?:[,;&\uff0c\u3001\uff1b\u548c\u6216\u4e0e\u53ca]|(?:\(?[^\W\d_]{1,14}\)?,?[ ]){0,4}(?:and|or|et|ou|und"
    r"|oder)|[ ])++"
    r"(?:\\?[A-Za-z][\w]{0,9}(?:[ ]?\([A-Za-z0-9]{1,9}\))?[ ]?=)?[ ]?"
)
_MAX_JOINER_CHARS = 120


def lightened(text: str) -> str:
    """The text with single blanks for math delimiters, text commands, braces, spacing and bold."""
    return " ".join(_LIGHT.sub(" ", text).split())


def is_joiner(gap: str) -> bool:
    """True where a list goes on over this gap: a comma, "and" or the like, a few words before it and a name after."""
    words = lightened(gap) if len(gap) <= _MAX_JOINER_CHARS else ""
    return bool(words) and _JOINER.fullmatch(words) is not None


def percent_after(text: str, position: int, content: str) -> str:
    return r"\%" if "%" not in content and PERCENT.match(text, position) else ""


LEADS_WITH_NUMBER = re.compile(r"[^\w\n]*+[0-9]")
CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
LEADS_WITH_FORMULA = re.compile(r"[^\w\n\\$]*+(?:\$|\\[(\[A-Za-z])")
MAX_ANSWER_WORDS = 4
WORD = re.compile(r"\w")
DIGIT = re.compile(r"\d")
CURRENCY = "$\u20ac\u00a3\u00a5"
COUNTED_IN_CJK = re.compile(r"(.*[0-9)}\]$])\s?[\u3040-\u30ff\u4e00-\u9fff]{1,8}", re.DOTALL)
