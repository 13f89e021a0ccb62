"""The words and signs of the notation, and what each stands for."""

import re

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc asin acos atan sinh cosh tanh coth "
    "arcsinh arccosh arctanh arsinh arcosh artanh asinh acosh atanh ln log lg exp sqrt abs floor ceil gcd "
    "lcm max min sgn sign det re im arg cosec ctg tg arctg arcctg sech csch cbrt Gamma fact".split()
)
CANONICAL = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctg": "atan", "arccot": "acot", "arcctg": "acot",
    "arcsec": "asec", "arccsc": "acsc", "arcsinh": "asinh", "arsinh": "asinh", "arccosh": "acosh", "arcosh": "acosh",
    "arctanh": "atanh", "artanh": "atanh", "tg": "tan", "ctg": "cot", "cosec": "csc", "lg": "log10", "sign": "sgn",
}  # fmt: skip
INVERSES = frozenset("sin cos tan cot sec csc sinh cosh tanh".split())
VARIADIC = frozenset({"gcd", "lcm", "max", "min"})
UNEVALUATED = {
    "\\int": "integral", "\\iint": "integral", "\\oint": "integral", "\\sum": "sum", "\\prod": "product",
    "\\lim": "limit", "\\limsup": "limit", "\\liminf": "limit",
}  # fmt: skip
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "\\approx": "~", "\\equiv": "==",
    "\\in": "in", "\\notin": "notin", "\\subset": "subset", "\\subseteq": "subset", "\\to": "->", ":": ":",
    "\\Rightarrow": "=>", "\\Leftrightarrow": "<=>", "\\propto": "propto", "\\supset": "supset", "\\supseteq": "supset",
    "\\sim": "~", "\\perp": "perp", "\\parallel": "parallel",
}  # fmt: skip
SET_OPERATORS = {"\\cup": "union", "\\cap": "intersection", "\\setminus": "without", "\\triangle": "triangle"}
JOINERS = {",": ",", ";": ";", "\\quad": ",", "\\wedge": "and", "\\vee": "or", "\\&": "and"}
JOINING_WORDS = {"and": "and", "or": "or"}
CONSTANT_WORDS = {"pi": "pi", "infinity": "oo", "inf": "oo", "oo": "oo"}
SHORT_WORDS = frozenset(
    "all an any are at be big boy but by can car cat day dog few for from get he her him his how it its "
    "man may men new no none nor not now odd of off old on one our out own red she six so sum ten the "
    "them to too top two up us use was way we who why win yes yet you did do does had has have if in is "
    "let low sat sun mon tue wed thu fri east west both even only".split()
)
PERCENT_WORDS = frozenset({"percent", "pct", "percentage"})
DEGREE_WORDS = frozenset({"degrees", "degree", "deg"})
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty".split()
)
ORDINALS = frozenset({"st", "nd", "rd", "th"})
PHRASES = {
    "infinitely many": "oo", "infinity": "oo", "infinite": "oo", "no solution": "empty", "no solutions": "empty",
    "no real solution": "empty", "no real solutions": "empty", "empty set": "empty", "all real numbers": "mathbb{R}",
    "all reals": "mathbb{R}", "all real x": "mathbb{R}",
}  # fmt: skip
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar aleph "
    "varrho varsigma mho Re Im".split()
)
CONSTANTS = {"\\pi": "pi", "\\infty": "oo", "\\e": "e", "\\imath": "i", "\\i": "i", "\\emptyset": "empty"}
ACCENTS = frozenset(
    "\\overline \\bar \\vec \\hat \\tilde \\widehat \\overrightarrow \\mathbf \\mathcal \\mathscr "
    "\\mathfrak \\dot \\ddot \\underline \\overleftrightarrow \\overarc \\mathbb \\variable \\breve "
    "\\check".split()
)
ACCENT_NAMES = {"overline": "bar", "bar": "bar", "hat": "hat", "vec": "vec", "tilde": "tilde"}
FUNCTION_LETTERS = frozenset("fghFGH")
OPENING = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
QUALIFIER = re.compile(
    r"\s*(?:for (?:all|any|every|each|some)|where|with|such that|is |are |in terms|as |since|because|which|that )",
    re.IGNORECASE,
)
ALTERNATIVES = frozenset({"or", "otherwise", "else", "not", "if", "when"})

COLLECTIONS = frozenset({"list", "or", "braces", "set", "tuple", "square", "matrix"})
ORDERED = frozenset({"tuple", "square", "matrix"})
REGIONS = frozenset({"interval", "union", "intersection", "without", "set_builder"})
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}
