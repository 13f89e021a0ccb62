"""Tests that are calls: each goes into the jail, and what comes back is compared here."""

from typing import Any

from rlsd_sandbox.values import NotPlainError, decode, encode
from rlsd_verifiers.code.compare import same
from rlsd_verifiers.code.finding import DecidedError, Finding, all_passed, raised_error
from rlsd_verifiers.code.module import JailedModule
from rlsd_verifiers.code.tests import Call, Calls, show
from rlsd_verifiers.verdict import Outcome, shorten


def run_calls(tests: Calls, program: JailedModule) -> Finding:
    """Call the functions of a program, until one result is not the expected one."""
    for place, call in enumerate(tests.calls, start=1):
        try:
            args, kwargs = encode(list(call.args)), encode(call.kwargs)
        except NotPlainError as error:
            return Finding(Outcome.BAD_REFERENCE, f"tests: {call.words}: {error}")
        reply = program.call(call.function, args, kwargs)
        if call.operator in ("true", "false") and "unplain" in reply:
            value = reply.get("truth") is True
        else:
            value = _value(reply, call.words)
        if not _holds(call, value):
            other = "other than " if call.operator == "!=" else ""
            expected = call.operator if call.operator in ("true", "false") else other + show(call.expected)
            reason = f"test {place} of {len(tests.calls)}: {call.words} is {show(value)}, not {expected}"
            return Finding(Outcome.WRONG, reason)
    return all_passed(len(tests.calls))


def _holds(call: Call, value: Any) -> bool:
    if call.operator in ("true", "false"):
        return bool(value) is (call.operator == "true")
    is_same = same(call.expected, value, from_json=call.from_json)
    return is_same is (call.operator == "==")


def _value(reply: dict[str, Any], words: str) -> Any:
    if "raised" in reply:
        raise raised_error(reply["raised"], f"in {words}")
    if "missing" in reply:
        raise DecidedError(Outcome.WRONG, f"there is no function `{shorten(str(reply['missing']))}`")
    if "unplain" in reply:
        raise DecidedError(Outcome.WRONG, f"{words} is {shorten(str(reply['unplain']))}, which is no plain value")
    try:
        return decode(reply.get("value"))
    except NotPlainError as error:
        raise DecidedError(Outcome.WRONG, f"{words} is {error}") from None
