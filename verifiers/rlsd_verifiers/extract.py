r"""Find the answer in a response. Grading comes after, and never looks at anything but what was found here.

What is searched is the visible text: the end of turn cuts it, thinking and fenced code are not part of it. Then the
first rule that finds something wins:

| rule | reads |
|---|---|
| `boxed` | the last closed `\boxed{...}` or `\fbox{...}`, the innermost of nested ones |
| `boxes` | the last closed boxes, where only a joiner such as `,` or `and` stands between them: a list |
| `answer tag` | the last closed `<answer>...</answer>` |
| `hash marker` | the rest of the line after the last `####` that is not a heading |
| `final hash` | a `#` directly before a number that ends the text, as in `95-21=74;#74` |
| `answer is` | the clause after the last "answer is", "answer:" or "answer =", in several languages |
| `answer line` | the rest of a line that begins with `A:` |
| `bold` | a number or short answer between `**` in the last sentence |
| `last formula` | on request: the last formula between `$`, `\(` or `\[`, if no bare number comes after it |
| `only line` | on request: a response that is one line of a few words |
| `last number` | the last number anywhere: a guess, which the caller can forbid |

A box that is empty or holds a placeholder does not count, except that a text which ends in one has no answer. Nor does
a box after "not". The last three rules find nothing in a text that ends by saying it found no solution, or that only
states the problem.

Every rule is linear in the length of the text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rlsd_verifiers.notation import SUPERSCRIPT_DIGITS, VULGAR_FRACTIONS, is_unit_like, plain, split_percent
from rlsd_verifiers.units import find_unit


class Extraction(NamedTuple):
    """An answer as it stands in the response, and the name of the rule that found it."""

    text: str
    rule: str


_END_OF_TURN = re.compile(r"<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|<end_of_turn>|</s>|(?<=\S)\s*+<\|im_start\|>")
_THINK_TAG = re.compile(r"<(/?)(?:think|thought|thinking)\s*+>", re.IGNORECASE)
_FENCE = "```"


def visible_text(response: str) -> str | None:
    """The part of a response that may hold its answer, or None if it ends while still thinking.

    That is the text after the last closing think tag and before the first end-of-turn token, without fenced code. A
    response whose opening tag stood in the prompt and that never closes it cannot be told from one that does not think.
    """
    end = _END_OF_TURN.search(response) if "<" in response else None
    text = response[: end.start()] if end else response
    tags = list(_THINK_TAG.finditer(text)) if "<" in text else []
    closing = max((tag.end() for tag in tags if tag[1]), default=0)
    if any(tag.start() >= closing for tag in tags if not tag[1]):
        return None
    return "\n".join(text[closing:].split(_FENCE)[::2])


def extract(response: str, *, last_number: bool = True, formulas: bool = False) -> Extraction | None:
    """The answer of a response by the first rule that finds one, or None.

    Without `last_number` no number is ever picked out of prose. `formulas` adds the rules for answers that are
    expressions: `last formula` and `only line`.
    """
    text = visible_text(response)
    if text is None:
        return None
    boxes = _boxes(text)
    if boxes:
        if filled := _filled(text, boxes):
            return _restated(text[filled[-1].end :], formulas=formulas) or _from_boxes(text, filled)
        if not _WORD.search(text, boxes[-1].end):
            return None
    for name, rule in _MARKS.items():
        if found := (rule(text) or "").strip():
            return Extraction(_without_preamble(found), name)
    if found := last_answer_is(text, guess=last_number, formulas=formulas):
        return Extraction(found, "answer is")
    for name, rule in _WEAKER_MARKS.items():
        if found := (rule(text) or "").strip():
            return Extraction(found, name)
    if _says_nothing(text):
        return None
    return _unmarked(text, last_number=last_number, formulas=formulas)


def why_no_answer(response: str) -> str:
    """The reason to give when `extract` found nothing."""
    if not response.strip():
        return "the response is empty"
    if visible_text(response) is None:
        return "the response ends inside its thinking"
    return "no answer was found in the response"


# Boxes


class _Box(NamedTuple):
    """Where the backslash stands, where the content begins and ends, and where the text goes on."""

    start: int
    inner: int
    inner_end: int
    end: int


_BOX_TOKEN = re.compile(
    r"(?P<slashes>\\++)"
    r"(?:(?:boxed|fbox|framebox)\s*+(?:(?P<box>\{)|(?P<bare>[0-9]++(?:\.[0-9]++)?))|(?P<escaped>[{}]))?+"
    r"|(?P<brace>[{}])"
)
_LIGHT = re.compile(r"\\(?:text(?:rm|bf|it)?|mathrm|[mh]box|left|right|q?quad|[,;:! ()\[\]\\%])|[{}$*~%]")
_PLACEHOLDER = re.compile(
    r"(?:(?:your|the|final)[ ]){0,3}(?:answer|result)(?:[ ]here)?|x{3,9}|\\[lc]?dots|\\square|[.?_\u2026 -]*",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:\bnot|n['\u2019]t|\brather\sthan|\binstead\sof)[\s$*:]{0,9}\Z", re.IGNORECASE)
_PERCENT = re.compile(
    r"(?:\s|[$*~]|\\[),;! ])*+(?:\\?%|\uff05|(?:\\text\{\s?)?(?:percent(?:age)?|pct|per\scent)\b)", re.IGNORECASE
)
_JOINER = re.compile(
    r"(?:[,;&\uff0c\u3001\uff1b\u548c\u6216\u4e0e\u53ca]|(?:\(?[^\W\d_]{1,14}\)?,?[ ]){0,4}(?:and|or|et|ou|und|oder)|[ ])++"
    r"(?:\\?[A-Za-z][\w]{0,9}(?:[ ]?\([A-Za-z0-9]{1,9}\))?[ ]?=)?[ ]?"
)
_MAX_JOINER_CHARS = 120


def last_boxed(text: str) -> str | None:
    r"""The content of the last box that counts; braces are matched, and `\{` is not a brace."""
    filled = _filled(text, _boxes(text))
    return text[filled[-1].inner : filled[-1].inner_end] if filled else None


def _boxes(text: str) -> list[_Box]:
    r"""The closed boxes that hold no other. In text with doubled backslashes, `\\{` is no brace either."""
    if "boxed" not in text and "fbox" not in text:
        return []
    found: list[_Box] = []
    opened: list[tuple[int, int] | None] = []
    doubled = False
    for token in _BOX_TOKEN.finditer(text):
        kind, end = token.lastgroup, token.end()
        if kind == "box":
            doubled = token.end("slashes") - token.start() & 1 == 0
            opened.append((token.start(), end))
        elif kind == "bare":
            found.append(_Box(token.start(), token.start("bare"), end, end))
        elif kind == "slashes" or (kind == "escaped" and _hides_brace(end - 1 - token.start(), doubled)):
            continue
        elif text[end - 1] == "{":
            opened.append(None)
        elif opened and (box := opened.pop()) and not (found and found[-1].start > box[0]):
            found.append(_Box(*box, end - 1, end))
    end = len(text.rstrip(" \n.$"))
    if opened and (box := opened[-1]) and text.endswith("\\}", box[1], end):  # `\boxed{185\}`
        found.append(_Box(*box, end - 2, end))
    return found


def _hides_brace(num_slashes: int, doubled: bool) -> bool:
    return num_slashes % 2 == 1 or (doubled and num_slashes % 4 == 2)


def _filled(text: str, boxes: list[_Box]) -> list[_Box]:
    """The boxes up to the last one that holds an answer and does not come after a "not"."""
    for index in range(len(boxes) - 1, -1, -1):
        box = boxes[index]
        content = text[box.inner : box.inner_end][:100].strip()
        if (
            content
            and not _PLACEHOLDER.fullmatch(_lightened(content))
            and not _NOT.search(text, max(0, box.start - 24), box.start)
        ):
            return boxes[: index + 1]
    return []


_FINAL_ANSWER = re.compile(r"\bfinal answer(?: is|:)", re.IGNORECASE)


def _restated(rest: str, *, formulas: bool) -> Extraction | None:
    """A value that is called the final answer after the last box."""
    if not _FINAL_ANSWER.search(rest):
        return None
    found = last_answer_is(rest, guess=False, formulas=formulas)
    given = found and (_LEADS_WITH_NUMBER.match(found) or _LEADS_WITH_FORMULA.match(found))
    return Extraction(found, "answer is") if found and given else None


def _from_boxes(text: str, boxes: list[_Box]) -> Extraction:
    members = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if not _is_joiner(text[box.end : members[-1].start]):
            break
        members.append(box)
    contents = [text[box.inner : box.inner_end].strip() for box in reversed(members)]
    if len(set(contents)) > 1:
        return Extraction(", ".join(contents), "boxes")
    return Extraction(_without_preamble(contents[0]) + _percent_after(text, boxes[-1].end, contents[0]), "boxed")


def _lightened(text: str) -> str:
    """Without math delimiters, text commands, braces, spacing and bold, as single blanks."""
    return " ".join(_LIGHT.sub(" ", text).split())


def _is_joiner(gap: str) -> bool:
    """Whether a list goes on over this gap: a comma, "and" or the like, with a few words before it and a name after."""
    words = _lightened(gap) if len(gap) <= _MAX_JOINER_CHARS else ""
    return bool(words) and _JOINER.fullmatch(words) is not None


def _percent_after(text: str, position: int, content: str) -> str:
    return r"\%" if "%" not in content and _PERCENT.match(text, position) else ""


_PREAMBLE = re.compile(
    r"(\\text\{)?\s*+(?:the\s)?(?:(?:final|correct)\s)?(?:answer|result)\s?(?:is|:|=)\s*+:?\s*+(\})?\s*+(?=\S)",
    re.IGNORECASE,
)


def _without_preamble(content: str) -> str:
    r"""What an answer such as `\text{The answer is } 42` says."""
    match = _PREAMBLE.match(content)
    if match is None:
        return content
    rest = content[match.end() :]
    return rest[:-1] if match[1] and not match[2] and rest.endswith("}") else rest


# Marks that close


_ANSWER_TAG = re.compile(r"<(/?)answer\s*+>", re.IGNORECASE)


def last_tagged(text: str) -> str | None:
    """The content of the last `<answer>` that is closed."""
    start: int | None = None
    span: tuple[int, int] | None = None
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            span, start = (start, tag.start()), None
    return text[slice(*span)] if span else None


_MARKER = re.compile(r"(?<!#)####(?!#)([^\n#]*+)")
_LEADS_WITH_NUMBER = re.compile(r"[^\w\n]*+[0-9]")


def last_marked(text: str) -> str | None:
    """What follows the last `####` on its line. A line of words with more text below it is a Markdown heading."""
    text = text.rstrip()
    for marker in reversed(list(_MARKER.finditer(text))):
        if marker.end() == len(text) or _LEADS_WITH_NUMBER.match(marker[1]):
            return marker[1]
    return None


_FINAL_HASH = re.compile(r"(?<![# \t])#([-+]?[0-9][0-9,]*+(?:\.[0-9]++)?)")


def final_hash(text: str) -> str | None:
    """The number that ends the text, if a single `#` stands directly before it and no blank before the `#`."""
    text = text.rstrip()
    match = _FINAL_HASH.fullmatch(text, max(text.rfind("#"), 0))
    return match[1] if match else None


# Formulas


class _Formula(NamedTuple):
    """A formula with its delimiters, and its content."""

    start: int
    end: int
    content: str


_DOLLAR = re.compile(r"\\.|\$++|\n(?:[ \t]*+\n)?", re.DOTALL)
_BRACKET = re.compile(r"\\(?:([(\[])|([)\]])|.)", re.DOTALL)
_COMMAND_OR_TEXT = re.compile(r"\\(?:text\w*+|[mh]box|mathrm|mathbf|operatorname)\s*+\{[^{}]*+\}|\\[A-Za-z]++")
_PLAIN_WORD = re.compile(r"(?<![A-Za-z])(?!(?:and|or|mod|sin|cos|tan|log|ln|gcd|lcm|max|min|sqrt|pi)\b)[A-Za-z]{2,}")
_TWO_WORDS = re.compile(r"(?<![A-Za-z])(?!(?:and|or|mod)\b)[A-Za-z]{3,}+[ ]++(?!(?:and|or|mod)\b)[A-Za-z]{3,}")
_MAX_FORMULA_CHARS = 5000


def _formulas(text: str) -> list[_Formula]:
    """All formulas that lie in no other, in order."""
    found = sorted([*_dollar_formulas(text), *_bracket_formulas(text)])
    outer: list[_Formula] = []
    for formula in found:
        if not outer or formula.start >= outer[-1].end:
            outer.append(formula)
    return outer


def _dollar_formulas(text: str) -> Iterator[_Formula]:
    opener, start, broken = "", 0, False
    if "$" not in text:
        return
    for token in _DOLLAR.finditer(text):
        kind, position = token[0], token.start()
        if kind[0] == "\\" or len(kind) > 2:
            continue
        if kind[0] == "\n":
            opener, broken = ("", False) if opener == "$" else (opener, broken or kind != "\n")
        elif opener == "$":
            if _is_formula(text, start, position):
                yield _Formula(start - 1, position + 1, text[start:position])
                opener, start = ("$", position + 2) if kind == "$$" else ("", 0)
            else:
                opener, start, broken = kind, token.end(), False
        elif opener == "$$" and kind == "$$" and text[start:position].strip():
            yield _Formula(start - 2, token.end(), text[start:position])
            opener = ""
        elif opener != "$$" or kind == "$$" or broken:
            opener, start, broken = kind, token.end(), False


def _is_formula(text: str, start: int, end: int) -> bool:
    """Whether the text between two single dollar signs is a formula, and not two prices and the words between them."""
    content = text[start:end]
    if len(content) > _MAX_FORMULA_CHARS or not content.strip():
        return False
    bare = _COMMAND_OR_TEXT.sub(" ", content).strip() if "\\" in content else content
    if _TWO_WORDS.search(bare):
        return False
    if not content[0].isdigit():
        return True
    return not (text[end + 1 : end + 2].isdigit() or _price_like(bare))


def _price_like(content: str) -> bool:
    return any(not find_unit(word) for word in _PLAIN_WORD.findall(content)) or content.rstrip()[-1:] in (
        "+",
        "-",
        "=",
        "*",
        "/",
    )


def _bracket_formulas(text: str) -> Iterator[_Formula]:
    opener, start = "", 0
    for token in _BRACKET.finditer(text):
        if token[1]:
            opener, start = token[1], token.end()
        elif token[2] and opener + token[2] in ("()", "[]"):
            content = text[start : token.start()]
            if content.strip() and not (opener == "(" and "\n" in content):
                yield _Formula(start - 2, token.end(), text[start : token.start()])
            opener = ""


_UNIT_AFTER = re.compile(r"[ ]([A-Za-z]{2,12}+)(?=[\s.,;:!?)*]|\Z)")
_NO_UNITS_IN_PROSE = frozenset(
    {"in", "at", "as", "a", "min", "second", "turn", "turns", "foot", "bit", "bits", "stone"}
)
_POINTER = re.compile(r"\b(?:for|of|in|on|to|where|with|by|from|at|let|than|if|when|that|and)\s{1,3}\Z", re.IGNORECASE)
_NAME = re.compile(r"\s*+\\?[A-Za-z]++(?:_\w|\([A-Za-z]\))?\s*+")


def _last_formula(text: str, formulas: list[_Formula]) -> tuple[str, int] | None:
    """The last formula, or the list it ends, with a percent sign or unit after it; and where that ends.

    A mere name after a word such as "of" is passed over, as in "the value of $x$", unless there is nothing else.
    """
    named = 0
    while named < len(formulas) and _is_mere_name(text, formulas[-1 - named]):
        named += 1
    kept = formulas[: len(formulas) - named] or formulas
    if not kept:
        return None
    members = [kept[-1]]
    for formula in reversed(kept[:-1]):
        if not _is_joiner(text[formula.end : members[-1].start]):
            break
        members.append(formula)
    contents = [formula.content.strip() for formula in reversed(members)]
    end = members[0].end
    if len(contents) > 1:
        return ", ".join(contents), end
    content = contents[0]
    if percent := _percent_after(text, end, content):
        return content + percent, _PERCENT.match(text, end).end()  # type: ignore[union-attr]
    unit = _unit_after(text, end)
    return (rf"{content} \text{{ {unit}}}" if unit and content[-1:].isdigit() else content), end + len(unit)


def _is_mere_name(text: str, formula: _Formula) -> bool:
    return bool(
        _NAME.fullmatch(formula.content[:40]) and _POINTER.search(text, max(0, formula.start - 12), formula.start)
    )


def _unit_after(text: str, position: int) -> str:
    match = _UNIT_AFTER.match(text, position)
    return match[1] if match and match[1].lower() not in _NO_UNITS_IN_PROSE and find_unit(match[1]) else ""


# Marks that open a clause


_ANSWER_IS = re.compile(
    r"""
    \b(?P<word>answers?|ans|solution[ ]is(?=:)|r[\u00e9e]ponse|respuesta|resposta|antwort|\u043e\u0442\u0432\u0435\u0442|result)\b
    [*_\s]{0,4}+(?:(?:to|for|of|here|in|finale|correcte|final|option|choice|must|should|would|will)\b[^.\n:=$*\\]{0,40}?)??
    (?:(?P<verb>is|are|be|est|es|ist|lautet|\u00e9)(?!\w)|[:=\uff1a])
    | (?P<chinese>\u7b54\u6848[*_\s]{0,4}+(?:\u5e94\u8be5|\u5e94|\u5c31)?(?:[:=\uff1a\u662f\u4e3a]|\u7b49\u4e8e)|\u7b54[:\uff1a]|\u7b54\u3048[\u306f:\uff1a])
    | ^[\#*_> \t]{0,8}+(?:(?:my|the|your)[ ])?(?:final[ ])?answer[*_ \t]{0,4}+$
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_FILLER = re.compile(
    r"[*_\s:\uff1a]{0,8}+(?:(?:therefore|thus|then|hence|simply|clearly|indeed|approximately|about|roughly|exactly"
    r"|just|now|equal\sto|given\sby|found\sto\sbe)\b[\s,:*_]{0,8}+){0,3}+",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"[.!?](?=\s|[*_$\"'\\)\]}]*+$)|[\u3002\uff01\uff1f\uff1b]|\n"
    r"|[\s,;]\s?(?:because|since|as|which|so|given|not|rather|instead|but)\b",
    re.IGNORECASE,
)
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_TALK = re.compile(r"(?:correct|right|below|above|as\sfollows|shown|verified|known)\W*+", re.IGNORECASE)
_LEADS_WITH_FORMULA = re.compile(r"[^\w\n\\$]*+(?:\$|\\[(\[A-Za-z])")
MAX_ANSWER_WORDS = 4


def last_answer_is(text: str, *, guess: bool = True, formulas: bool = False) -> str | None:
    """The clause after the last "answer is", up to the end of the sentence, of the line, or to a "because".

    "The answer is just the number itself" is talk about the answer: after `is`, a clause that does not begin with a
    number or formula and is longer than `MAX_ANSWER_WORDS` words is passed over, unless it ends in "... is 42". "The
    result is" counts at the end of the text only. Of a sentence after "answer:" what stands after its "is" is taken,
    or with `guess` its number.
    """
    end = len(text)
    for head in reversed(list(_ANSWER_IS.finditer(text))):
        filler = _FILLER.match(text, head.end(), end)
        start = filler.end() if filler else head.end()
        clause, stop = _clause(text[start : min(end, start + _MAX_CLAUSE_CHARS)])
        is_result = (head["word"] or "").lower() == "result"
        if clause and not _TALK.fullmatch(clause) and not (is_result and _WORD.search(text, start + stop)):
            answer = _answer_in(clause, guess=guess, formulas=formulas, is_verb=head["verb"] is not None)
            if answer:
                return answer
        end = head.start()
    return None


_WORD = re.compile(r"\w")


_MAX_CLAUSE_CHARS = 5000


def _clause(text: str) -> tuple[str, int]:
    """The first clause of a text, and where it ends. Full stops and line ends in formulas do not end it."""
    spans = _formulas(text)
    for stop in _CLAUSE_END.finditer(text):
        index = bisect_right(spans, stop.start(), key=lambda span: span.start) - 1
        if index < 0 or spans[index].end <= stop.start():
            return _tidy(text[: stop.start()]), stop.start()
    return _tidy(text), len(text)


def _tidy(clause: str) -> str:
    """Without the blanks, quotes and bold marks around it, and without half a pair of braces or dollar signs."""
    clause = _QUOTE.sub("", clause.strip()).strip(" \t\r\n*_,;\"'`\u201c\u201d").removeprefix("}").strip()
    return clause[:-1] if clause.endswith("$") and clause.replace("\\$", "").count("$") == 1 else clause


_QUOTE = re.compile(r"\A\\(?=\")|\\\"\Z")


_COPULA = re.compile(
    r"(?:\s(?:is|are|was|equals|be|est)|\u662f|\u4e3a|\u7b49\u4e8e)(?:\s*+:)?(?:\s++|(?=[^\sA-Za-z]))", re.IGNORECASE
)
_AFTERTHOUGHT = re.compile(r"\s(?:is|are|was|were|will|would|can|gives?)\s", re.IGNORECASE)
_NO_BARE_VALUE = re.compile(
    r"\b(?:all|every|any|no|none|except|other|than|least|most|between|more|less|greater|fewer|until|up)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_CURRENCY = "$\u20ac\u00a3\u00a5"
_PRICE = re.compile(
    rf"(?<![0-9])(?:[{_CURRENCY}][ ]?([0-9][0-9,.]*+)|([0-9][0-9,.]*+)[ ]?[{_CURRENCY}])(?![{_CURRENCY}])"
)
_NUMBER_AND_WORDS = re.compile(
    r"([-+]?[$]?[0-9][0-9,./]*+)((?:\s++|(?=[\u3040-\u30ff\u4e00-\u9fff]))[^\W\d_].*+)", re.DOTALL
)
_COUNTED_IN_CJK = re.compile(r"(.*[0-9)}\]$])\s?[\u3040-\u30ff\u4e00-\u9fff]{1,8}", re.DOTALL)


def _answer_in(clause: str, *, guess: bool, formulas: bool, is_verb: bool) -> str | None:
    """The answer that a clause gives, or None if it only talks about it."""
    number_first = _LEADS_WITH_NUMBER.match(clause) is not None and not clause.startswith(("$", "\\"))
    formula_first = _LEADS_WITH_FORMULA.match(clause) is not None
    cjk = _CJK.search(clause) is not None
    num_words = len(clause.split())
    if not number_first and (rest := _after_copula(clause, prose=not formula_first and (num_words > MAX_ANSWER_WORDS))):
        clause, number_first = rest, True
    if number_first or formula_first:
        if after := _AFTERTHOUGHT.search(clause):
            clause = _tidy(clause[: after.start()])
        return _trimmed(clause) if formulas else clause
    if num_words <= MAX_ANSWER_WORDS and not (cjk and _DIGIT.search(clause)):
        return clause
    if is_verb and not cjk:
        return None
    if guess and not _NO_BARE_VALUE.search(clause):
        return _price(clause) or _last_value(clause, last_number=True, formulas=formulas) or clause
    return clause


def _after_copula(clause: str, *, prose: bool) -> str:
    """What follows the last "is", where that is a value or, in prose, a few words."""
    *_, last = [None, *_COPULA.finditer(clause)]
    rest = _tidy(clause[last.end() :]) if last else ""
    is_value = _LEADS_WITH_NUMBER.match(rest) or _LEADS_WITH_FORMULA.match(rest)
    return rest if is_value or (prose and len(rest.split()) <= MAX_ANSWER_WORDS) else ""


def _price(clause: str) -> str | None:
    """The one amount of money of a clause, if there is one."""
    prices = [match[1] or match[2] for match in _PRICE.finditer(clause)] if clause.count("$") < 2 else []
    return prices[0].rstrip(".,") if len(prices) == 1 else None


def _trimmed(clause: str) -> str:
    """A number without the words after it, unless they are a unit or change its value."""
    if counted := _COUNTED_IN_CJK.fullmatch(clause):
        return counted[1]
    match = _NUMBER_AND_WORDS.fullmatch(clause)
    if match is None or not is_unit_like(match[2]) or split_percent(match[2])[0] or find_unit(match[2]):
        return clause
    word = match[2].split()[0].strip(".,;:")
    return f"{match[1]} {word}" if word.lower() not in _NO_UNITS_IN_PROSE and find_unit(word) else match[1]


# Weaker marks


_A_LINE = re.compile(r"^[ \t]*+\**A[:\uff1a]\**[ \t]*+([^\n]++)$", re.MULTILINE)
_B_LINE = re.compile(r"^[ \t]*+[*(]*B[*]*[:\uff1a.)]", re.MULTILINE)


def answer_line(text: str) -> str | None:
    """The rest of the last line that begins with `A:`, where no line begins with `B:` as in a list of choices."""
    *_, last = [None, *_A_LINE.finditer(text)]
    return last[1].strip().rstrip(".") if last and not _B_LINE.search(text) else None


_BOLD = re.compile(r"\*\*(?!\s)([^*\n]{1,80})\*\*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|[*\"'()\[\]]{0,4}\Z)|[\u3002\uff01\uff1f]|\n")
_ENDS_TEXT = re.compile(r"[\s.!*\"'()\[\]$\u3002]*+\Z")


def last_bold(text: str) -> str | None:
    """The last text in bold, if it stands in the last sentence and holds a number, or ends that sentence.

    Bold that a colon belongs to, or that begins a line with more after it, is a heading.
    """
    text = text.rstrip()
    *_, last = [None, *_BOLD.finditer(text, _last_sentence(text))]
    if last is None:
        return None
    content = last[1].strip()
    after = text[last.end() : last.end() + 3].lstrip()
    if content.endswith((":", "\uff1a")) or after.startswith((":", "\uff1a")):
        return None
    ends = _ENDS_TEXT.match(text, last.end()) is not None
    if len(content.split()) > MAX_ANSWER_WORDS or not (ends or _DIGIT.search(content)):
        return None
    counted = _COUNTED_IN_CJK.fullmatch(content)
    return (counted[1] if counted else content).rstrip(".")


def _last_sentence(text: str) -> int:
    """Where the last sentence or line of a text begins, at most `_MAX_SENTENCE_CHARS` from the end."""
    start = max(0, len(text) - _MAX_SENTENCE_CHARS)
    for stop in _SENTENCE_END.finditer(text, start):
        if not _ENDS_TEXT.match(text, stop.end()):
            start = stop.end()
    return start


_MAX_SENTENCE_CHARS = 2000


# No mark at all


_GIVES_UP = re.compile(
    r"\b(?:could|can|was|were|am|is|are|do|did|does)(?:\s?not|n['\u2019]t)\s(?:be\s)?(?:able\sto\s)?"
    r"(?:solve|determine|answer|know|sure|figure|certain|find\s(?:the|an|any)\s(?:answer|solution))"
    r"|\bunable\sto\s(?:solve|determine|find|answer|compute|figure)|\bno\sidea\b|\bnot\s(?:sure|certain)\b"
    r"|\bgive\sup\b|\b(?:not\senough|insufficient)\sinformation\b",
    re.IGNORECASE,
)
_MAX_LAST_WORDS = 240
_COMMANDS = re.compile(
    r"\s*+(?:simplify|evaluate|compute|calculate|find|solve|determine|express|write|expand|factor|factori[sz]e|prove|show)\b",
    re.IGNORECASE,
)
_RESULT_WORD = re.compile(
    r"=|\b(?:is|are|get|gives?|gave|yields?|obtain|thus|so|hence|therefore|equals?)\b", re.IGNORECASE
)


def _says_nothing(text: str) -> bool:
    """Whether a text ends by giving up, or is a single sentence that states a problem."""
    if _GIVES_UP.search(text, max(0, len(text) - _MAX_LAST_WORDS)):
        return True
    return _COMMANDS.match(text) is not None and _last_sentence(text) == 0 and not _RESULT_WORD.search(text)


def _unmarked(text: str, *, last_number: bool, formulas: bool) -> Extraction | None:
    spans = _formulas(text) if formulas else []
    formula = _last_formula(text, spans)
    if formula is None and formulas and (line := _only_line(text, last_number)):
        return Extraction(line, "only line")
    number = find_last_number(text[formula[1] :] if formula else text) if last_number else None
    if number:
        return Extraction(number, "last number")
    return Extraction(formula[0], "last formula") if formula else None


def _last_value(text: str, *, last_number: bool, formulas: bool) -> str | None:
    formula = _last_formula(text, _formulas(text)) if formulas else None
    number = find_last_number(text[formula[1] :] if formula else text) if last_number else None
    return number or (formula[0] if formula else None)


MAX_LINE_WORDS = 6
_PROSE_WORD = re.compile(
    r"(?<![^\s(*\"'])(?!(?:and|or|cm|mm|km|kg|mod|sin|cos|tan|log|ln|max|min|sqrt|pi|percent|pct)\b)[^\W\d_]{2,}(?=[\s.,;:!?)*\"']|\Z)"
)
_BRACKETED = re.compile(r"\[([^\[\],;$\\]*+)\]\.?")
_IN_CJK = re.compile(r"[0-9]\s?[\u3040-\u30ff\u4e00-\u9fff]|[\u3040-\u30ff\u4e00-\u9fff]\s?[0-9]")


def _only_line(text: str, last_number: bool) -> str | None:
    """A text that is one line of a few words. Words around a number are left to the last number, if that may be used."""
    line = text.strip()
    if (
        not line
        or "\n" in line
        or "boxed" in line
        or len(line) > _MAX_FORMULA_CHARS
        or len(line.split()) > MAX_LINE_WORDS + line.count("+")
    ):
        return None
    if last_number and _DIGIT.search(line):
        words = [word for word in _PROSE_WORD.findall(_COMMAND_OR_TEXT.sub(" ", line)) if not find_unit(word)]
        if words or _IN_CJK.search(line):
            return None
    bracketed = _BRACKETED.fullmatch(line)
    return bracketed[1].strip() if bracketed else line.strip("*")


_LETTER = r"A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"
_HIDDEN = r"\x00-\x08\x0e-\x1f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_NUMBER = re.compile(
    rf"(?<![{_LETTER}0-9_^.])(?<![_^]\{{)(?<![0-9][{_HIDDEN}])"
    rf"(?:[0-9]++[ ][0-9]++/[0-9]++|[0-9]++(?::[0-9]++)++|(?<![0-9][ ])[0-9]{{1,3}}+(?:[ ][0-9]{{3}}(?![0-9]))++(?:[.,][0-9]++)?(?![ ]?/)"
    rf"|([0-9][0-9,]*+)(?:\.[0-9]++)?[ ]?[{VULGAR_FRACTIONS}]?|\.[0-9]++|[{VULGAR_FRACTIONS}])"
    rf"(?:[eE][-+]?[0-9]++(?![{_LETTER}0-9])|[ ]?/[ ]?[0-9]++|[ ]?(?:x|\u00d7|\*|\\times|\\cdot)[ ]?(?:10\^\{{?[-+]?[0-9]++\}}?|1[eE][-+]?[0-9]++)|\\(?:overline|bar)\{{?[0-9]++\}}?)?+"
    rf"(?![\^_{SUPERSCRIPT_DIGITS}\u207a\u207b])(?![{_HIDDEN}][0-9])(?:[ ]?%)?"
)
_SIGNED = re.compile(rf"(?<![{_LETTER}0-9_)\]}}+-])[-+][{_CURRENCY}]?\Z")
_WELL_FORMED = re.compile(r"[0-9]{1,3}+(?:,[0-9]{3})*+|[0-9]++")
_DECIMAL_COMMA = re.compile(r"[0-9]++,(?![0-9]{3}\Z)[0-9]++|0,[0-9]{3}|[0-9]{4,}+,[0-9]{3}")
_ENTANGLED_BEFORE = re.compile(
    r"(?:\\(?:sqrt|ln|log|sin|cos|tan|exp|binom|[cdt]?frac)(?:\[[^\]]{0,5}\])?[\s{(]{0,2}|\u221a\(?|\b(?:sqrt|log|ln|exp)\(|\}\{|[A-Za-z)}][ ]?/[ ]?)\Z"
)
_ENTANGLED_AFTER = re.compile(
    r"[ ]?(?:\\(?:pi|sqrt|[cdt]?frac|ln|log|sin|cos|tan|theta|alpha|binom)|\u03c0|\u221a|[a-ce-fi-kn-rt-z](?![A-Za-z]))"
)
_ATOM = re.compile(r"[^\s$]{1,100}+")


def find_last_number(text: str) -> str | None:
    r"""The last number of the text, with its sign, decimals, exponent, fraction, and percent sign or unit.

    Well-formed thousands belong together (`1,234,567`, `1 234`), and a comma that cannot separate thousands is a decimal
    comma (`12,34`), except in brackets; of any other run of commas the last piece is taken. A minus directly after a
    number or bracket is a subtraction (`10-3` gives `3`). Indices and powers (`x_3`, `2^10`) are not numbers of their
    own, nor are digits in a word (`H2O`); of `2\pi`, `\sqrt{3}` and `x/2` all is taken.
    """
    if not _DIGIT_OR_FRACTION.search(text):
        return None
    tail = text.find(" ", len(text) - _MAX_TAIL_CHARS) if len(text) > _MAX_TAIL_CHARS else -1
    return (_last_number_of(plain(text[tail:])) if tail > 0 else None) or _last_number_of(plain(text))


_DIGIT_OR_FRACTION = re.compile(rf"[\d{VULGAR_FRACTIONS}]")
_MAX_TAIL_CHARS = 1000


def _last_number_of(text: str) -> str | None:
    match: re.Match[str] | None = None
    for match in _NUMBER.finditer(text):  # noqa: B007
        pass
    if match is None:
        return None
    if _ENTANGLED_BEFORE.search(text, max(0, match.start() - 16), match.start()) or _ENTANGLED_AFTER.match(
        text, match.end()
    ):
        return _atom(text, match)
    number, run = match[0].rstrip(), (match[1] or "").rstrip(",")
    bracketed = text[match.start() - 1 : match.start()] in tuple("([{,") or text[
        match.end() : match.end() + 1
    ] in tuple(")]}")
    if not _WELL_FORMED.fullmatch(run) and run and (bracketed or not _DECIMAL_COMMA.fullmatch(run)):
        number = number[run.rfind(",") + 1 :]
    number = number.rstrip(", ")
    sign = _SIGNED.search(text, max(match.start() - 3, 0), match.start()) if match[0].startswith(number) else None
    return (text[sign.start()] if sign else "") + number + _suffix(text, match.end(), number)


def _suffix(text: str, position: int, number: str) -> str:
    """A percent word or a unit after a number."""
    if number.endswith("%"):
        return ""
    if _PERCENT.match(text, position):
        return "%"
    unit = _unit_after(text, position)
    return f" {unit}" if unit else ""


def _atom(text: str, match: re.Match[str]) -> str:
    """What stands around a number without a blank, after a command's name."""
    start = match.start()
    while start > 0 and match.start() - start < 60 and text[start - 1] not in " \t\n$":
        start -= 1
    command = re.compile(r"\\[A-Za-z]+ \Z").search(text, max(0, start - 8), start)
    atom = _ATOM.match(text, command.start() if command else start)
    end = match.end()
    while end < len(text) and end - match.end() < 60 and text[end] not in " \t\n$":
        end += 1
    return text[command.start() if command else start : end].rstrip(".,;:!?") if atom else match[0]


_MARKS: dict[str, Callable[[str], str | None]] = {
    "answer tag": last_tagged,
    "hash marker": last_marked,
    "final hash": final_hash,
}
_WEAKER_MARKS: dict[str, Callable[[str], str | None]] = {"answer line": answer_line, "bold": last_bold}
