"""Verifiers of one's own, by import path."""

import sys
from collections.abc import Iterator

import pytest

from rlsd_verifiers import Job, Leniency, Pool, Submission, UnknownVerifierError, find_verifier, verify

OWN = """
import functools
from rlsd_verifiers import Outcome, Leniency, Submission, Verdict

def plain(submission): return submission.response == submission.answer
def with_leniency(submission, leniency): return leniency.relative_tolerance
def under_another_name(submission, choices): return choices.relative_tolerance
def with_default(submission, leniency=None): return leniency.relative_tolerance
def by_keyword(submission, *, leniency): return leniency.relative_tolerance
def with_an_option(submission, share=0.125): return share
def with_anything(submission, *args, **kwargs): return 0.5 if args or kwargs else 0.25
def given(share, submission): return share
partial = functools.partial(given, 0.375)

class Grader:
    def __call__(self, submission, leniency): return leniency.relative_tolerance
    def grade(self, submission): return True
grader = Grader()

def score(submission): return eval(submission.answer)
async def later(submission): return True
def verdict(submission): return Verdict(Outcome.NO_ANSWER, 0, "x", "nothing", 99.0)
def partly(submission): return Verdict(Outcome.WRONG, 0.75, None, "three of four")
not_a_function = 3
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "package").mkdir()
    (folder / "package" / "own.py").write_text(OWN)
    (folder / "broken_own.py").write_text("import no_such_module\n")
    with pytest.MonkeyPatch.context() as patch, Pool(1) as pool:
        patch.syspath_prepend(folder)
        yield pool


@pytest.mark.parametrize(
    ("name", "response", "outcome", "score"),
    [
        ("plain", "a", "correct", 1.0),
        ("plain", "b", "wrong", 0.0),
        ("with_leniency", "", "wrong", 0.625),
        ("under_another_name", "", "wrong", 0.625),
        ("with_default", "", "wrong", 0.625),
        ("by_keyword", "", "wrong", 0.625),
        ("with_an_option", "", "wrong", 0.125),
        ("with_anything", "", "wrong", 0.25),
        ("partial", "", "wrong", 0.375),
        ("grader", "", "wrong", 0.625),
        ("grader.grade", "", "correct", 1.0),
    ],
)
def test_a_function_takes_a_submission_and_a_leniency_if_it_wants_one(
    pool: Pool, name: str, response: str, outcome: str, score: float
) -> None:
    leniency = Leniency(relative_tolerance=0.625)
    verdict = verify(Submission(response, "a"), f"package.own:{name}", leniency, pool=pool)
    assert (verdict.outcome, verdict.score) == (outcome, score), verdict


@pytest.mark.parametrize(
    ("returned", "outcome", "score", "words"),
    [
        ("True", "correct", 1.0, "returned True"),
        ("False", "wrong", 0.0, "returned False"),
        ("1.0", "correct", 1.0, "returned 1.0"),
        ("1", "correct", 1.0, "returned 1"),
        ("0.999", "wrong", 0.999, "returned 0.999"),
        ("0.0", "wrong", 0.0, "returned 0.0"),
        ("float('nan')", "crash", 0.0, "nan, which is not in 0..1"),
        ("1.5", "crash", 0.0, "1.5, which is not in 0..1"),
        ("-0.1", "crash", 0.0, "-0.1, which is not in 0..1"),
        ("10**5000", "crash", 0.0, "ValueError"),
        ("None", "crash", 0.0, "returned NoneType, not a Verdict, a bool or a score"),
        ("'correct'", "crash", 0.0, "returned str, not a Verdict, a bool or a score"),
        ("Verdict('correct', 0.5, None, '')", "correct", 0.5, ""),
        ("Verdict('right', 1.0, None, '')", "crash", 0.0, "failed with ValueError: 'right' is not a valid Outcome"),
        ("Verdict(Outcome.CORRECT, 7.0, None, '')", "crash", 0.0, "score of 7.0"),
        ("Verdict(Outcome.CORRECT, None, None, '')", "crash", 0.0, "score of None"),
        ("Verdict(Outcome.CORRECT, 1.0, 5, '')", "crash", 0.0, "must be text"),
        ("Verdict(Outcome.CORRECT, 1.0, None, None)", "crash", 0.0, "must be text"),
    ],
)
def test_what_it_returns_becomes_a_verdict_or_is_refused(
    pool: Pool, returned: str, outcome: str, score: float, words: str
) -> None:
    verdict = verify(Submission("", returned), "package.own:score", pool=pool)
    assert (verdict.outcome, verdict.score, words in verdict.reason) == (outcome, score, True), verdict


def test_a_function_that_has_to_be_awaited_is_refused(pool: Pool) -> None:
    assert "returned coroutine" in verify(Submission(""), "package.own:later", pool=pool).reason


def test_a_verdict_is_kept_but_for_its_time(pool: Pool) -> None:
    verdict = verify(Submission(""), "package.own:verdict", pool=pool)
    assert (verdict.outcome, verdict.score, verdict.extracted, verdict.reason) == ("no_answer", 0.0, "x", "nothing")
    assert 0 < verdict.seconds < 1
    assert verify(Submission(""), "package.own:partly", pool=pool).score == 0.75


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("package.owm:plain", "no module named `package.owm`"),
        ("no_such.module:f", "no module named `no_such`"),
        ("package.own:plane", "`package.own` has no `plane`; did you mean `plain`?"),
        ("package.own:grader.grad", "`package.own` has no `grader.grad`; did you mean `grade`?"),
        ("package.own:not_a_function", "`not_a_function` is not a function"),
        ("broken_own:grade", "does not load: ModuleNotFoundError: No module named 'no_such_module'"),
        ("package.own:", "an import path `module:function`"),
        (":plain", "an import path `module:function`"),
        ("package/own.py:plain", "there is no file `package/own.py`"),
        ("package/own.txt:plain", "an import path `module:function`"),
        ("a:b:c", "an import path `module:function`"),
    ],
)
def test_a_path_that_does_not_load_is_told_why(path: str, words: str) -> None:
    with pytest.raises(UnknownVerifierError) as caught:
        find_verifier(path)
    assert words in str(caught.value)


def test_a_path_in_a_row_is_not_loaded_by_the_caller(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "package.own", raising=False)
    assert pool.submit(Job(Submission("a", "a"), "package.own:plain")).result(20).correct
    assert "package.own" not in sys.modules
