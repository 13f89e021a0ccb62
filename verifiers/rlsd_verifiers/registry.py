"""Verifiers by name.

A verifier has up to two parts. The quick one takes bounded time whatever it is given, so it runs in the caller; where
it returns None, or is absent, the thorough one decides. That one may hang, crash or exhaust the memory: it is named by
its import path and only ever runs in the worker processes of a `Pool`.
"""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rlsd_verifiers.auto import choose
from rlsd_verifiers.choice import grade_choice
from rlsd_verifiers.code.quick import grade_code_quickly
from rlsd_verifiers.countdown import grade_countdown
from rlsd_verifiers.exact import grade_exact_quickly
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.maths.quick import grade_math_quickly
from rlsd_verifiers.numeric import grade_numeric
from rlsd_verifiers.verdict import Submission, Verdict, shorten


class Verifier(NamedTuple):
    """The two parts of a verifier.

    quick: grades in the caller; None where it cannot decide.
    thorough: grades the rest in a worker process; an import path, `module:function` or `file.py:function`.
    jailed: whether it keeps the limits of the sandbox by itself, and takes its settings as the keyword `sandbox`.
    """

    quick: Callable[[Submission, Leniency], Verdict | None] | None = None
    thorough: str | None = None
    jailed: bool = False


VERIFIERS: dict[str, Verifier] = {
    "exact": Verifier(grade_exact_quickly, "rlsd_verifiers.exact:grade_exact"),
    "numeric": Verifier(grade_numeric),
    "choice": Verifier(grade_choice),
    "math": Verifier(grade_math_quickly, "rlsd_verifiers.maths.grade:grade_math"),
    "countdown": Verifier(grade_countdown),
    "gym": Verifier(thorough="rlsd_verifiers.gym:grade_gym"),
    "code": Verifier(grade_code_quickly, "rlsd_verifiers.code.grade:grade_code", jailed=True),
}

AUTO = "auto"
"""The name of the verifier that is chosen by the submission."""


class UnknownVerifierError(ValueError):
    """No verifier has this name; the message says which come close, or why an import path does not load."""


def resolve(name: str, submission: Submission) -> str:
    """The name that grades this submission: `auto` becomes a name of `VERIFIERS`, any other stays."""
    return choose(submission) if name == AUTO else name


def look_up(name: str) -> Verifier:
    """The verifier of a name or of an import path, which is not loaded for it."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    if is_import_path(name):
        return Verifier(thorough=absolute(name))
    hint = _close_to(name, (*VERIFIERS, AUTO)) or f"known are {', '.join(f'`{known}`' for known in (*VERIFIERS, AUTO))}"
    raise UnknownVerifierError(
        f"no verifier named `{shorten(name)}`; {hint}, or an import path `module:function` or `file.py:function`"
    )


def is_import_path(name: str) -> bool:
    """True for `module:function` and `file.py:function`, whether or not they exist."""
    module, colon, function = name.rpartition(":")
    parts = [*function.split("."), *([] if module.endswith(".py") else module.split("."))]
    return bool(colon) and all(part.isidentifier() for part in parts)


def absolute(path: str) -> str:
    """An import path that means the same in another working directory."""
    name, colon, function = path.rpartition(":")
    return f"{Path(name).absolute()}{colon}{function}" if name.endswith(".py") else path


def is_jailed(path: str) -> bool:
    """True where the verifier at an import path is one of `VERIFIERS` that has a sandbox."""
    return any(verifier.jailed and verifier.thorough == path for verifier in VERIFIERS.values())


def find_verifier(name: str) -> Verifier:
    """`look_up`, which also loads an import path here and now. Raises `UnknownVerifierError`."""
    verifier = look_up(name)
    if name not in VERIFIERS:
        try:
            load(name)
        except UnknownVerifierError:
            raise
        except Exception as error:
            raise UnknownVerifierError(f"verifier `{name}` does not load: {describe(error)}") from error
    return verifier


def load(path: str, kind: str = "verifier") -> Callable[..., Any]:
    """The function at an import path. Raises `UnknownVerifierError`, and whatever the module raises.

    kind: what it is, for messages
    """
    name, _, attribute = path.rpartition(":")
    try:
        found: Any = _module_of_file(name) if name.endswith(".py") else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UnknownVerifierError(f"{kind} `{path}`: no module named `{error.name}`") from None
        raise
    except FileNotFoundError:
        if Path(name).is_file():
            raise
        raise UnknownVerifierError(f"{kind} `{path}`: there is no file `{name}`") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = _close_to(part, dir(found)) or "it is absent"
            raise UnknownVerifierError(f"{kind} `{path}`: `{name}` has no `{attribute}`; {hint}")
        found = getattr(found, part)
    if not callable(found):
        raise UnknownVerifierError(f"{kind} `{path}`: `{attribute}` is not a function")
    return found  # type: ignore[no-any-return]


def _module_of_file(name: str) -> ModuleType:
    """The module that a file is, under its path; run once."""
    path = str(Path(name).absolute())
    if path not in sys.modules:
        spec = spec_from_file_location(path, path)
        assert spec
        assert spec.loader
        sys.modules[path] = module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path]
            raise
    return sys.modules[path]


def describe(error: BaseException) -> str:
    """An exception as `Type: message` on one line, whatever its message does."""
    try:
        message = shorten(str(error), 200)
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def _close_to(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, [*known], n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else None
