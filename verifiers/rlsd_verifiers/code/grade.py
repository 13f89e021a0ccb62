"""The `code` verifier: a program is right if it passes its tests.

The program runs in a jail that is never told what is expected. Inputs go in, values come out under a number made up for
each call, and they are compared here.
"""

from rlsd_sandbox import RefusedError, SandboxError, Settings
from rlsd_verifiers.code.collection import BadTestsError
from rlsd_verifiers.code.extract import Code, complete, extract_code, to_bytes
from rlsd_verifiers.code.finding import DecidedError, Finding
from rlsd_verifiers.code.jails import Jails, close
from rlsd_verifiers.code.languages import PYTHON
from rlsd_verifiers.code.module import JailedModule
from rlsd_verifiers.code.run_calls import run_calls
from rlsd_verifiers.code.run_streams import run_streams
from rlsd_verifiers.code.run_suite import run_beside, run_remote
from rlsd_verifiers.code.tests import Calls, Remote, Streams, Tests, read_tests
from rlsd_verifiers.leniency import Leniency
from rlsd_verifiers.verdict import Outcome, Submission, Verdict

NUM_ATTEMPTS = 2


def grade_code(submission: Submission, leniency: Leniency, *, sandbox: Settings) -> Verdict:  # noqa: ARG001
    """Run the program of a response against the tests.

    A jail that fails says nothing about the program: it is put up again and the program tried once more, and then the
    outcome is `SANDBOX_ERROR`, which is no verdict.
    """
    try:
        tests = read_tests(submission.tests, submission.entry_point)
    except BadTestsError as error:
        return Verdict(Outcome.BAD_REFERENCE, 0.0, None, f"tests: {error}")
    code = extract_code(submission.response)
    if code is None:
        return Verdict(Outcome.NO_ANSWER, 0.0, None, "there is no code")
    name: str | None = None
    try:
        for attempt in range(NUM_ATTEMPTS):
            jails = Jails(sandbox)
            try:
                finding = _test(code, tests, submission, jails)
                name = jails.program.name
                break
            except RefusedError:
                raise
            except SandboxError:
                close()
                if attempt + 1 == NUM_ATTEMPTS:
                    raise
    except SandboxError as error:
        finding = Finding(Outcome.SANDBOX_ERROR, f"the sandbox failed: {error}")
    score = float(finding.outcome is Outcome.CORRECT)
    return Verdict(finding.outcome, score, code.text, finding.reason, sandbox=name, weak=finding.weak)


def _test(code: Code, tests: Tests, submission: Submission, jails: Jails) -> Finding:
    try:
        if isinstance(tests, Streams):
            return run_streams(code, tests, jails.program)
        if code.language is not PYTHON:
            return Finding(Outcome.WRONG, f"functions are called in Python, and this is {code.language.name}")
        text = to_bytes(complete(code.text, submission.question, submission.entry_point))
        jail = jails.program
        with jail.program("functions", text, seconds=jail.settings.timeout_seconds) as running:
            program = JailedModule(running, jail)
            program.load()
            if isinstance(tests, Calls):
                return run_calls(tests, program)
            if isinstance(tests, Remote):
                return run_remote(tests, program, jails)
            return run_beside(tests, program, jails)
    except DecidedError as decided:
        return decided.finding
