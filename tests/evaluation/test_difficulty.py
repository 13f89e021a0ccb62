"""Pass rates: what is counted, what a row keeps, and which earlier rows are taken over."""

import datetime
import json
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import Problem, problems_of, read_problems
from rlsd_cli.data.readers import RawRow, read_rows
from rlsd_cli.data.sources import load_source
from rlsd_cli.errors import EXIT_BUSY, RlsdError
from rlsd_cli.evaluation import difficulty
from rlsd_cli.evaluation.difficulty import (
    DifficultyFile,
    Measured,
    digest,
    histogram_of,
    measure,
    read_all,
    summarise,
    to_line,
)
from rlsd_cli.grading.jobs import open_pool
from rlsd_cli.policy.model import load_policy
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.records import Pending, Prompt, Rollout
from rlsd_cli.rollout.sampler import Completion
from rlsd_verifiers import Outcome, Verdict

SAMPLED = {"evaluation.samples": 4, "evaluation.temperature": 1.0, "rollout.batch_size": 8}
"""Two problems a batch."""


@pytest.fixture(scope="module")
def config(configure: Callable[..., Config]) -> Config:
    return configure(SAMPLED)


def a_row(number: int) -> RawRow:
    """A row that was measured before."""
    earlier = {"pass_rate": 0.5, "difficulty": {"samples": 2}}
    problem = {"id": f"p{number}", "question": f"Q{number}+1=", "answer": str(number + 1), "k": 7}
    return RawRow(f"f:{number}", problem | earlier)


def found(samples: int = 4, solved: int = 1, no_verdict: int = 0, mark: str = "m", **others: Any) -> Measured:
    return Measured(samples, solved, no_verdict, 0, 5.0, 0, "quickstart", mark)._replace(**others)


# -- measuring -----------------------------------------------------------------------------------------------------


def test_what_is_measured_does_not_depend_on_where_it_was_interrupted(config: Config) -> None:
    policy = load_policy(config)
    sampler = TransformersSampler(policy, config.rollout.batch_size)
    problems = load_source("arithmetic:count=7")
    with open_pool(config) as pool:
        whole = list(measure(policy, sampler, problems, config, pool))
        assert [len(batch) for batch in whole] == [2, 2, 2, 1]
        for batch in (1, 3):
            assert list(measure(policy, sampler, problems, config, pool, start=2 * batch)) == whole[batch:]
        assert len({batch[0].tokens_mean for batch in measure(policy, sampler, problems[:1] * 7, config, pool)}) > 1


def test_what_is_measured_does_not_depend_on_how_problems_are_cut_into_batches(
    config: Config, configure: Callable[..., Config]
) -> None:
    policy = load_policy(config)
    problems = load_source("arithmetic:count=5") * 2
    found = []
    for size in (8, 12, 40):
        settings = configure(SAMPLED | {"rollout.batch_size": size})
        sampler = TransformersSampler(policy, size)
        with open_pool(settings) as pool:
            measured = [each for batch in measure(policy, sampler, problems, settings, pool) for each in batch]
        found.append([each._replace(config="") for each in measured])
    assert found[0] == found[1] == found[2]
    assert found[0][:5] != found[0][5:]


class NoSampler:
    def sample(self, *_: object, **__: object) -> list[Completion]:
        raise AssertionError("nothing may be sampled")


def test_a_prompt_without_room_is_found_before_anything_is_sampled(config: Config) -> None:
    policy = load_policy(config)
    problems = [*load_source("arithmetic:count=5"), Problem("long", "0", "1+" * 200 + "1=", "201")]
    with open_pool(config) as pool, pytest.raises(RlsdError, match="the prompt of `long` has"):
        list(measure(policy, NoSampler(), problems, config, pool))  # type: ignore[arg-type]


def response(outcome: Outcome, tokens: int, *, truncated: bool = False) -> Pending:
    verdict: Future[Verdict] = Future()
    verdict.set_result(Verdict(outcome, 0.5, None, ""))
    token_ids, logp = (0,) * tokens, (0.0,) * tokens
    return Pending(Rollout(Problem("p", "0", "q", "1"), 0, Prompt((1,)), token_ids, logp, truncated, ""), verdict)


def test_answers_are_counted_and_those_without_a_verdict_leave_the_pass_rate() -> None:
    group = [
        response(Outcome.CORRECT, 3),
        response(Outcome.WRONG, 4),
        response(Outcome.NO_ANSWER, 9, truncated=True),
        response(Outcome.TIMEOUT, 2),
        response(Outcome.BAD_REFERENCE, 1),
        response(Outcome.CRASH, 2),
    ]
    measured = difficulty._measured(group, "m", "c")
    assert measured == Measured(6, 1, 2, 1, 3.5, 1, "m", "c")
    assert measured.pass_rate == 0.25
    assert difficulty._measured(group[-2:], "m", "c").pass_rate is None


# -- rows ----------------------------------------------------------------------------------------------------------


def test_a_row_keeps_all_its_fields_and_reads_back_as_the_same_problem(tmp_path: Path) -> None:
    full = {
        "difficulty": {"old": 1},
        "source": {"page": [1, 2.5, None], "ok": True},
        "id": 17,
        "question": "¿Cuánto es 1+1?",
        "answer": 2.50,
        "solution": "s",
        "verifier": "numeric",
        "choices": ["a", 2],
        "hints": ["h"],
        "pass_rate": 0.125,
        "level": "hard",
    }
    tests = {"question": "q", "tests": [{"args": [1.5], "expected": None}], "entry_point": "f", "meta": {"a": 1}}
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in (full, tests)))
    problems, rows = read_all(problems_of(read_rows(raw)), "raw")
    out = tmp_path / "out.jsonl"
    out.write_text("".join(to_line(row, found(solved=3)) + "\n" for row in rows))
    assert read_problems(out) == [problem._replace(pass_rate=0.75) for problem in problems]
    first, second = map(json.loads, out.read_text().splitlines())
    assert first == full | {
        "id": "17",
        "answer": "2.5",
        "choices": ["a", "2"],
        "pass_rate": 0.75,
        "difficulty": found(solved=3)._asdict(),
    }
    assert second["meta"] == {"a": 1}
    assert next(iter(first)) == "id"


def test_values_that_json_does_not_have_are_kept_as_text(tmp_path: Path) -> None:
    odd = {"when": datetime.date(2026, 1, 2), "nan": float("nan"), "raw": b"\xff", "d": Decimal("1.10"), "t": (1,)}
    raw = tmp_path / "raw.jsonl"
    raw.write_text('{"question": "q", "answer": "1", "big": 1e999}\n')
    found_rows = [*problems_of([RawRow("x", {"question": "p", "answer": "1", **odd})]), *problems_of(read_rows(raw))]
    _, rows = read_all(found_rows, "x")
    lines = [json.loads(to_line(row, found()), parse_constant=pytest.fail) for row in rows]
    assert {name: lines[0].get(name) for name in odd} == {
        "when": "2026-01-02",
        "nan": None,
        "raw": "/w==",
        "d": "1.10",
        "t": [1],
    }
    assert lines[1]["big"] == "1e999"


def test_a_row_that_cannot_be_read_is_named() -> None:
    with pytest.raises(RlsdError, match="f:1: field `answer`"):
        read_all(problems_of([a_row(0), RawRow("f:1", {"question": "q"})]), "f")


# -- the file ------------------------------------------------------------------------------------------------------


def write(path: Path, config: Config, count: int, tail: str = "") -> list[dict[str, Any]]:
    """Rows of a source, and a file in which the first `count` of them are measured."""
    _, rows = read_all(problems_of(a_row(number) for number in range(7)), "f")
    path.write_text("".join(to_line(row, found(mark=digest(config))) + "\n" for row in rows[:count]) + tail)
    return rows


@pytest.mark.parametrize("tail", ["", "{", '{"id": "p6", "quest'])
@pytest.mark.parametrize(("there", "kept"), [(0, 0), (1, 0), (2, 2), (5, 4), (6, 6), (7, 7)])
def test_whole_batches_are_taken_over_and_the_rest_is_cut_off(
    there: int, kept: int, tail: str, tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "out.jsonl"
    rows = write(path, config, there, tail)
    whole = path.read_bytes().splitlines(keepends=True)[:kept]
    with DifficultyFile(path, again=False) as file:
        assert file.match(rows, config) == [found(mark=digest(config))] * kept
        assert path.read_bytes() == b"".join(whole)
        file.write("more")
    assert path.read_bytes() == b"".join([*whole, b"more\n"])


def damaged(line: str, **changes: Any) -> str:
    return json.dumps(json.loads(line) | changes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: damaged(line, question="Q8="), r"in row 3, `question` was `Q8=` and is `Q2"),
        (lambda line: damaged(line, k=8), "in row 3, `k` was `8` and is `7`"),
        (lambda line: damaged(line, extra=1), "in row 3, `extra` was `1` and is `None`"),
        (lambda line: damaged(line, pass_rate=0.5), "holds lines that are no measured problems"),
        (lambda line: damaged(line, difficulty={"samples": 4}), "holds lines that are no measured problems"),
        (lambda _: "[]", "holds lines that are no measured problems"),
        (lambda _: '{"id": 1, "correct": true}', "holds lines that are no measured problems"),
        (lambda _: "text", "holds lines that are no measured problems"),
    ],
)
def test_a_file_that_holds_anything_else_is_refused_and_left_alone(
    change: Callable[[str], str], why: str, tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "out.jsonl"
    rows = write(path, config, 5)
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = change(lines[2]) + "\n"
    path.write_text("".join(lines))
    with DifficultyFile(path, again=False) as file, pytest.raises(RlsdError, match=why) as caught:
        file.match(rows, config)
    assert caught.value.exit_code == EXIT_BUSY
    assert "`--again`" in (caught.value.hint or "")
    assert path.read_text() == "".join(lines)
    with DifficultyFile(path, again=True) as file:
        assert file.match(rows, config) == []


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("model", "another", "in row 1, the model was quickstart and is another"),
        ("evaluation.samples", 8, "in row 1, the number of samples was 4 and is 8"),
        ("evaluation.top_p", 0.5, "in row 1, a setting of the prompt, the sampling"),
    ],
)
def test_rows_of_other_settings_are_refused(
    key: str, value: object, why: str, tmp_path: Path, config: Config, configure: Callable[..., Config]
) -> None:
    rows = write(tmp_path / "out.jsonl", config, 5)
    with DifficultyFile(tmp_path / "out.jsonl", again=False) as file, pytest.raises(RlsdError, match=why):
        file.match(rows, configure(SAMPLED | {key: value}))


def test_more_rows_than_problems_are_refused_and_a_file_has_one_writer(tmp_path: Path, config: Config) -> None:
    rows = write(tmp_path / "out.jsonl", config, 5)
    with DifficultyFile(tmp_path / "out.jsonl", again=False) as file:
        with pytest.raises(RlsdError, match="holds more than the 4 problems there are"):
            file.match(rows[:4], config)
        with pytest.raises(RlsdError, match="is being written by another process"):
            DifficultyFile(tmp_path / "out.jsonl", again=False)


def test_the_digest_names_whatever_changes_the_answers_or_their_verdicts(configure: Callable[..., Config]) -> None:
    same = {"verification.workers": 3, "device": "cpu", "steps": 9, "rollout.temperature": 0.5, "optim.lr": 1.0}
    for key, value in same.items():
        assert digest(configure({key: value})) == digest(configure()), key
    others = {
        "model": "m",
        "seed": 1,
        "dtype": "bfloat16",
        "prompt.system": "s",
        "rollout.dtype": "bfloat16",
        "rollout.batch_size": 8,
        "rollout.max_new_tokens": 9,
        "evaluation.samples": 2,
        "evaluation.temperature": 0.5,
        "evaluation.top_k": 3,
        "evaluation.max_new_tokens": 9,
        "verifier": "math",
        "verification.percent": "value",
        "sandbox.timeout_seconds": 3.0,
    }
    digests = {digest(configure({key: value})) for key, value in others.items()}
    assert len(digests | {digest(configure())}) == len(others)  # the two limits of new tokens are the same limit


def test_an_edited_verifier_of_the_users_gives_another_digest(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = set()
    for source in ("def grade(submission): return True", "def grade(submission): return False"):
        (tmp_path / "own_digest.py").write_text(source)
        found.add(digest(configure({"verifier": "own_digest:grade"})))
    assert len(found) == 2


# -- what it adds up to --------------------------------------------------------------------------------------------


def test_a_summary_is_over_problems_with_a_pass_rate() -> None:
    measured = [
        found(solved=4, tokens_mean=2.0),
        found(solved=0, no_answer=2, truncated=1),
        found(solved=1, no_verdict=2),
        found(solved=0, no_verdict=4),
    ]
    summary = summarise(measured)
    assert summary["problems"] == 4
    assert summary["n"] == 3
    assert summary["mean"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert 0.0 < summary["ci95"][0] < 0.5 < summary["ci95"][1] < 1.0
    assert (summary["never"], summary["sometimes"], summary["always"]) == (1, 1, 1)
    assert summary["tokens_per_response"] == pytest.approx((2 + 3 * 5) / 4)
    rates = [summary[f"{name}_rate"] for name in ("truncated", "no_answer", "no_verdict")]
    assert rates == [1 / 16, 2 / 16, 6 / 16]
    nothing = summarise(measured[-1:])
    assert (nothing["n"], nothing["mean"], nothing["ci95"]) == (0, None, None)


def test_the_parts_of_the_histogram_hold_their_upper_ends() -> None:
    counts = histogram_of([0.0, 0.125, 0.25, 0.3, 0.5, 0.75, 0.76, 0.99, 1.0, 1.0])
    assert counts == {"0": 1, "(0, 0.25]": 2, "(0.25, 0.5]": 2, "(0.5, 0.75]": 1, "(0.75, 1)": 2, "1": 2}
