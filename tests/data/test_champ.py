import sys
from collections import Counter
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlsd_cli.data import champ, packages
from rlsd_cli.data.champ import in_short, load_champ
from rlsd_cli.errors import EXIT_MACHINE, RlsdError
from rlsd_verifiers import Pool, Submission, verify, verify_all

installed = pytest.mark.skipif(find_spec("champ_dataset") is None, reason="the package champ-dataset is not installed")

ROW = {
    "identifier": "P_1",
    "_raw_text": "What is @@2^2@@? ",
    "_raw_answer": "@@4@@ (i.e., four)",
    "solution": {"steps": [{"_raw_text": "@@2^2=2*2@@."}, {"_raw_text": "That is four."}]},
    "ch_list": ["H_1_1", "C_square", "H_1_2", "C_square", "C_bare"],
}
DATA = {
    "problems": {"P_1": ROW},
    "concepts": {
        "C_square": {"name": "square", "_raw_text": "@@x^2=x*x@@."},
        "C_bare": {"name": None, "_raw_text": "two twos"},
    },
    "hints": {"H_1_1": {"_raw_text": "Write @@2^2@@ out."}, "H_1_2": {"_raw_text": "Multiply."}},
}


def test_a_row_becomes_a_problem_with_its_hints_from_the_vaguest_to_the_most_telling() -> None:
    problem = champ._problem(ROW, DATA)
    assert (problem.id, problem.question, problem.answer) == ("P_1", "What is 2^2?", "4")
    assert problem.solution == "2^2=2*2.\nThat is four.\nThe answer is \\boxed{4}."
    assert problem.hints == ("square: x^2=x*x.", "two twos", "Write 2^2 out.", "Multiply.")


@pytest.mark.parametrize(
    ("raw", "short", "response"),
    [
        ("100 (i.e., all values)", "100", "100"),
        ("0 (none of the values)", "0", "0"),
        ("@@C(10, 5)@@, or equivalently @@252@@", "252", r"\binom{10}{5}"),
        ("@@5/14@@, or approximately 35.7%", "5/14", r"\frac{5}{14}"),
        ("0 is the only possible value", "0", "0"),
        ("The limit exists and is equal to @@(a+3b)/2@@", "(a+3b)/2", r"\frac{a+3b}{2}"),
        ("At most 0 integer-valued zeros (i.e., no integer zeros)", "0", "0"),
        ("98 values", "98", "98"),
        ("@@n@@ times", "n", "n"),
        ("Exactly one sequence", "1", "1"),
        ("@@x=y=0@@", "x=0, y=0", "(0, 0)"),
        ("No positive integer solutions", "no solution", r"\emptyset"),
        ("@@C(n+1, 2m+1)@@", r"\binom{n+1}{2m+1}", r"\binom{n+1}{2m+1}"),
        ("@@sum_(k=1)^n 1/k@@", r"\sum_{k=1}^{n} 1/k", r"\sum_{j=1}^n \frac1j"),
        ("@@x(n)<y(n-1)@@ for all @@n≥3@@", "x(n)<y(n-1)", "x(n) < y(n-1)"),
        ("No", "No", "no"),
        ("[-1, 1]", "[-1, 1]", r"-1 \le x \le 1"),
        ("Always greater than 20", "Always greater than 20", "always greater than 20"),
    ],
)
def test_an_answer_loses_what_only_explains_it(raw: str, short: str, response: str) -> None:
    assert in_short(raw) == short
    with Pool(1, timeout_seconds=20) as pool:
        assert verify(Submission(rf"\boxed{{{response}}}", short), pool=pool).correct


@installed
def test_champ_is_the_270_problems_of_the_installed_package() -> None:
    problems = load_champ()
    assert len({problem.id for problem in problems}) == len({problem.fingerprint for problem in problems}) == 270
    assert not any("@@" in "".join([p.question, p.answer, p.solution or "", *(p.hints or ())]) for p in problems)
    assert all(problem.hints and len(set(problem.hints)) == len(problem.hints) for problem in problems)
    answers = Counter(problem.answer for problem in problems)
    assert (answers["Yes"] + answers["No"], answers["no solution"]) == (33, 12)
    assert "champ_dataset" not in sys.modules


@installed
def test_every_solution_of_champ_ends_in_an_answer_that_its_reference_accepts() -> None:
    problems = load_champ()
    with Pool(2, timeout_seconds=20) as pool:
        verdicts = verify_all(
            [Submission(p.solution or "", p.answer, question=p.question) for p in problems], pool=pool
        )
    assert [p.id for p, verdict in zip(problems, verdicts, strict=True) if not verdict.correct] == []


def test_champ_without_its_package_or_its_file_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    gone = SimpleNamespace(name="v0.json", locate=lambda: tmp_path / "v0.json")
    for found in (missing, lambda _: SimpleNamespace(files=None), lambda _: SimpleNamespace(files=[gone])):
        monkeypatch.setattr(packages, "distribution", found)
        with pytest.raises(RlsdError, match="`champ-dataset`") as caught:
            load_champ()
        assert caught.value.exit_code == EXIT_MACHINE
        assert "pip install champ-dataset" in (caught.value.hint or "")
