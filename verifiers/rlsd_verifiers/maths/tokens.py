r"""LaTeX or plain text to tokens.

One pass, linear in the text. What is only typography disappears here: math delimiters, spacing commands, `\left` and
`\right`, font commands, Unicode forms of symbols. Words become one token each; the parser decides what they mean.
"""

import re
from typing import NamedTuple

from rlsd_verifiers.notation import fold_typography

MAX_CHARS = 10_000
MAX_TOKENS = 4_000


class UnreadableError(Exception):
    """The text is not an answer that can be read; the message says why."""


class TooComplexError(UnreadableError):
    """The text goes over a static limit: too long, too deep, or a value too large to work out."""


class InvisibleError(UnreadableError):
    """The text holds characters that do not show: nothing may make sense of it."""


class Token(NamedTuple):
    """`kind` is number, command, letter, word, text, mark or end; `spaced`: a blank stands before it."""

    kind: str
    text: str
    spaced: bool = False


_UNICODE = {
    "\u00d7": "\\times ", "\u22c5": "\\cdot ", "\u00b7": "\\cdot ", "\u2219": "\\cdot ", "\u2217": "*",
    "\u00f7": "\\div ", "\u2215": "/", "\u2044": "/", "\u2236": ":",
    "\u2264": "\\le ", "\u2a7d": "\\le ", "\u2265": "\\ge ", "\u2a7e": "\\ge ", "\u2260": "\\ne ",
    "\u2248": "\\approx ", "\u2245": "\\approx ", "\u2261": "\\equiv ", "\u00b1": "\\pm ", "\u2213": "\\mp ",
    "\u221e": "\\infty ", "\u222a": "\\cup ", "\u2229": "\\cap ", "\u2208": "\\in ", "\u2209": "\\notin ",
    "\u2205": "\\emptyset ", "\u2216": "\\setminus ", "\u2115": "\\mathbb{N}", "\u2124": "\\mathbb{Z}",
    "\u211a": "\\mathbb{Q}", "\u211d": "\\mathbb{R}", "\u2102": "\\mathbb{C}", "\u221a": "\\sqrt ",
    "\u221b": "\\sqrt[3]", "\u00b0": "^\\circ ", "\u2200": "\\forall ", "\u2203": "\\exists ",
    "\u2212": "-", "\u2026": "\\ldots ", "\u27e8": "\\langle ", "\u27e9": "\\rangle ", "\u2220": "\\angle ",
    "\u230a": "\\lfloor ", "\u230b": "\\rfloor ", "\u2308": "\\lceil ", "\u2309": "\\rceil ",
    "\u2192": "\\to ", "\u21d2": "\\Rightarrow ", "\u222b": "\\int ", "\u2211": "\\sum ", "\u220f": "\\prod ",
    "\u2032": "'", "\u2019": "'", "\u3001": ",", "\u3002": ".", "\uff0c": ",", "\u2218": "^\\circ ",
    "\u00bd": "\\frac{1}{2}", "\u2153": "\\frac{1}{3}", "\u2154": "\\frac{2}{3}", "\u00bc": "\\frac{1}{4}",
    "\u00be": "\\frac{3}{4}", "\u2155": "\\frac{1}{5}", "\u215b": "\\frac{1}{8}", "\u215c": "\\frac{3}{8}",
    "\u215d": "\\frac{5}{8}", "\u215e": "\\frac{7}{8}", "\u2159": "\\frac{1}{6}", "\u215a": "\\frac{5}{6}",
}  # fmt: skip
_GREEK = dict(
    zip(
        "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba\u03bb\u03bc\u03bd\u03be\u03c0\u03c1\u03c3\u03c4"
        "\u03c5\u03c6\u03c7\u03c8\u03c9\u0393\u0394\u0398\u039b\u03a0\u03a3\u03a6\u03a8\u03a9\u03d5\u03d1",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega Gamma Delta Theta Lambda Pi Sigma Phi Psi Omega phi theta".split(),
        strict=True,
    )
)
_TRANSLATION = str.maketrans(_UNICODE | {letter: f"\\{name} " for letter, name in _GREEK.items()})
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207f", "0123456789-n"
)
_SUBSCRIPTS = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b\u207f]++")
_LOWERED = re.compile("[\u2080-\u2089]++")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff]"
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_HTML_POWER = re.compile(r"<sup>([^<>]{1,40})</sup>")
_GLUED_JOINER = re.compile(r"(?<=[0-9)])(and|or)(?=[A-Z(0-9])")
_GROUPED_DIGITS = re.compile(r"(?<=[0-9])(?:\{,\}|\\,|,\\[!,]|\\!,|,\\;|\u2009|\u202f)\s?(?=[0-9]{3}(?![0-9]))")
_SPACED_DIGITS = re.compile(r"(?<![\d.,])[0-9]{1,3}(?:[ ~][0-9]{3})+(?![\d,])")


def typographic(text: str) -> str:
    r"""`text` with ASCII symbols and LaTeX commands only where Unicode has signs of its own. Raises UnreadableError.

    Invisible characters are not removed: an answer that shows one thing and holds another is refused.
    """
    if len(text) > MAX_CHARS:
        raise TooComplexError(f"longer than {MAX_CHARS} characters")
    text = text.replace("\x0crac", "\\frac")
    if found := _INVISIBLE.search(text):
        raise InvisibleError(f"holds the invisible character U+{ord(found[0]):04X}")
    if not text.isascii():
        text = _RAISED.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
        text = _LOWERED.sub(lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
        text = fold_typography(text.translate(_TRANSLATION)).translate(_TRANSLATION)
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    if "<sup>" in text:
        text = _HTML_POWER.sub(r"^{\1}", text)
    text = _GROUPED_DIGITS.sub(",", _GLUED_JOINER.sub(r" \1 ", text))
    return _SPACED_DIGITS.sub(lambda m: m[0].replace(" ", "").replace("~", ""), text)


_TOKEN = re.compile(
    r"""(?P<number>[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?P<exponent>[eE][-+]?[0-9]{1,4}(?![\w.]))?
    |\\(?P<font>text|textbf|textit|textnormal|textrm|mathrm|mathbf|mathit|mathsf|mathtt|mbox|operatorname\*?)\s*+\{
    |(?P<command>\\(?:[A-Za-z]++\*?|.))
    |(?P<word>[^\W\d_]++)
    |(?P<mark><=|>=|!=|==|\*\*|\S)""",
    re.VERBOSE | re.DOTALL,
)
_SPACING = frozenset(
    "\\, \\; \\: \\! \\> \\ \\left \\right \\mleft \\mright \\big \\Big \\bigg \\Bigg \\bigl \\bigr "
    "\\Bigl \\Bigr \\biggl \\biggr \\displaystyle \\textstyle \\limits \\nolimits \\rm \\bf \\it \\middle "
    "\\( \\) \\[ \\] \\phantom \\hspace \\thinspace \\boldsymbol \\bm \\strut \\small \\large \\Large "
    "\\normalsize \\mathstrut \\hfill \\mathop \\mathopen \\mathclose \\mathbin \\mathrel \\mathrm "
    "\\mathit \\mathsf \\text \\textbf \\operatorname \\$".split()
) | {"\\ ", "\\\n"}
_GLUED = re.compile(r"(\\(?:qquad|quad|lvert|rvert|vert|lgroup|rgroup|lbrace|rbrace|lbrack|rbrack))[A-Za-z]")
_SYNONYMS = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom", "\\tbinom": "\\binom",
    "\\leq": "\\le", "\\leqslant": "\\le", "\\geq": "\\ge", "\\geqslant": "\\ge", "\\lt": "<", "\\gt": ">",
    "\\leqq": "\\le", "\\geqq": "\\ge", "\\neq": "\\ne", "<=": "\\le", ">=": "\\ge", "!=": "\\ne", "==": "=",
    "**": "^", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]", "\\lparen": "(",
    "\\rparen": ")", "\\lgroup": "(", "\\rgroup": ")", "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\mid": "|",
    "\\colon": ":", "\\ast": "*", "\\bullet": "\\cdot", "\\cdotp": "\\cdot", "\\land": "\\wedge", "\\lor": "\\vee",
    "\\dots": "\\ldots", "\\cdots": "\\ldots", "\\dotsc": "\\ldots", "\\dotsb": "\\ldots", "\\dotsm": "\\ldots",
    "\\vdots": "\\ldots", "\\ddots": "\\ldots", "\\simeq": "\\approx", "\\cong": "\\approx", "\\doteq": "\\approx",
    "\\varnothing": "\\emptyset", "\\bigcup": "\\cup",
    "\\bigcap": "\\cap", "\\cupdot": "\\cup", "\\backslash": "\\setminus",
    "\\varphi": "\\phi", "\\vartheta": "\\theta", "\\exponentialE": "\\e", "\\mathbb": "\\mathbb", "\\degree": "\\circ",
    "\\longrightarrow": "\\to", "\\rightarrow": "\\to", "\\implies": "\\Rightarrow", "\\qquad": "\\quad",
    "\\widehat": "\\hat", "\\widetilde": "\\tilde", "\\percent": "\\%", "\\prime": "'", "\\exp": "\\exp",
    "\\textdegree": "\\circ", "\\middot": "\\cdot",
    "\\infin": "\\infty", "\\lnot": "\\neg", "\\iff": "\\Leftrightarrow",
}  # fmt: skip
END = Token("end", "")


def tokenize(text: str) -> list[Token]:
    """The tokens of an answer, without the end. Raises UnreadableError."""
    text = typographic(text)
    tokens: list[Token] = []
    spaced, place = False, 0
    while place < len(text):
        if text[place].isspace() or text[place] in "~$":
            spaced, place = True, place + 1
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            raise UnreadableError(f"cannot read `{text[place : place + 20]}`")
        place = match.end()
        token, place = _token(match, text, place, spaced)
        if token is None:
            spaced = True
            continue
        tokens.extend(_split_joiners(token) if token.kind == "text" else [token])
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooComplexError(f"more than {MAX_TOKENS} symbols")
    return tokens


def _token(match: re.Match[str], text: str, place: int, spaced: bool) -> tuple[Token | None, int]:
    if match["number"]:
        return Token("number", match["number"] + (match["exponent"] or ""), spaced), place
    if match["font"]:
        end = _closing(text, place)
        kind = "command" if match["font"].startswith("operatorname") else "text"
        content = text[place:end].strip() if kind == "command" else text[place:end]
        return Token(kind, f"\\{content}" if kind == "command" else content, spaced), end + 1
    if command := match["command"]:
        if glued := _GLUED.match(command):
            command, place = glued[1], place - len(command) + len(glued[1])
        if command in _SPACING:
            return None, place
        command = _SYNONYMS.get(command, command)
        return Token("mark" if not command.startswith("\\") else "command", command, spaced), place
    if word := match["word"]:
        return Token("letter" if len(word) == 1 else "word", word, spaced), place
    mark = _SYNONYMS.get(match["mark"], match["mark"])
    return Token("command" if mark.startswith("\\") else "mark", mark, spaced), place


_JOINING = re.compile(r"\b(and|or)\b")


def _split_joiners(token: Token) -> list[Token]:
    """A text token, its `and` and `or` as words of their own; a remark in a full sentence stays whole."""
    parts = [part for part in _JOINING.split(token.text) if part.strip()]
    if len(parts) > 4 or not parts:
        return [token]
    return [Token("word" if part in ("and", "or") else "text", part, token.spaced) for part in parts]


def _closing(text: str, place: int) -> int:
    """Where the group that opened before `place` closes, or the end of the text."""
    depth = 1
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, place):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return brace.start()
    return len(text)
