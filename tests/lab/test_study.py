"""The laboratory on the embedded policy: what it looks at, what its methods see, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd_cli.errors import RlsdError
from rlsd_cli.lab import report
from rlsd_cli.lab.picture import draw
from rlsd_cli.lab.study import Asked, Study, ask, study

SMALL: dict[str, Any] = {"hints": "answer,solution,other,own,none", "methods": "rlsd,rlvr,opsd", "problems": 24}


def asked(arguments: list[str], root: Path, **options: Any) -> Asked:
    return ask(arguments, root, **{"samples": 4, "value": 0, "valued": 4, **SMALL, **options})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Asked, Study]:
    question = asked(["quickstart"], tmp_path_factory.mktemp("none"), value=4)
    return question, study(question)


def test_it_looks_at_the_first_response_of_each_kind_to_each_problem(found: tuple[Asked, Study]) -> None:
    _, done = found
    seen = [(each.case.key[0], each.case.kind) for each in done.looked]
    assert len(set(seen)) == len(seen)
    assert {kind.split(",")[0] for _, kind in seen} == {"right", "wrong"}
    assert len(done.looked) + sum(done.left_out.values()) == done.num_responses == 96
    for each in done.looked:
        verdict = each.case.member.verdict
        assert verdict is not None
        assert (verdict.correct is True) == each.case.kind.startswith("right")
        assert each.case.error is None or each.is_wrong


def test_a_teacher_that_is_shown_nothing_has_no_gap_and_one_that_is_told_has(found: tuple[Asked, Study]) -> None:
    _, done = found
    for each in done.looked:
        assert float(each.reads.gap("none").abs().max()) < 1e-4  # type: ignore[union-attr]
    assert max(float(each.reads.gap("answer").abs().max()) for each in done.looked) > 1  # type: ignore[union-attr]


def test_a_methods_credit_is_that_of_its_own_formula_on_the_same_readings(found: tuple[Asked, Study]) -> None:
    _, done = found
    weighed = [each for each in done.looked if "rlsd" in each.credit]
    assert len(weighed) > 10
    for each in weighed:
        advantage = each.case.attempt.advantage
        sign = 1.0 if advantage > 0 else -1.0
        weight = (sign * each.reads.gap("answer")).exp().clamp(0.8, 1.2)  # type: ignore[union-attr, operator]
        torch.testing.assert_close(each.credit["rlsd"], advantage * (0.51 + 0.49 * weight), atol=1e-3, rtol=0)
        torch.testing.assert_close(each.credit["rlvr"], torch.full_like(weight, advantage), atol=1e-6, rtol=0)
    assert set(done.skipped) == {"opsd"}


def test_values_are_of_every_prefix_and_end_at_the_score(found: tuple[Asked, Study]) -> None:
    _, done = found
    valued = [each for each in done.looked if each.values is not None]
    assert {each.case.kind for each in valued} == {each.case.kind for each in done.looked}
    for each in valued:
        assert len(each.values) == each.case.num_tokens + 1  # type: ignore[arg-type]
        assert float(each.values[-1]) == each.case.member.score  # type: ignore[index]
        assert set((each.values[:-1] * 4).tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}  # type: ignore[index]


def test_what_it_found_is_told_in_tables_json_and_a_picture(found: tuple[Asked, Study], tmp_path: Path) -> None:
    question, done = found
    tables = list(report.tables(question, done))
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    written = json.loads(json.dumps(report.as_json(question, done), allow_nan=False))
    assert written["found"]["chance"]["step"]["n"] == written["found"]["surprisal"]["step"]["n"] > 0
    draw(done.looked, question.hints, tmp_path / "credit.png")
    assert (tmp_path / "credit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(RlsdError, match="cannot write") as refused:
        draw(done.looked, question.hints, tmp_path / "nowhere" / "credit.png")
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["quickstart"], {"hints": "answr"}, "no view named `answr`"),
        (["quickstart"], {"methods": "rlds"}, "no method named `rlds`"),
        (["quickstart", "sums", "arithmetic"], {}, "one policy is studied at a time"),
        (["quickstart"], {"step": 3}, "`--step` is of the responses that a run has recorded"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    tmp_path: Path, arguments: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RlsdError, match=message):
        asked(arguments, tmp_path, **options)
