"""Prompts that commands refuse, leave out, or say something of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.resolve import resolve
from rlsd_cli.data.curriculum import step_problems
from rlsd_cli.data.problems import select
from rlsd_cli.data.sources import Splits, describe_splits, load_source, load_splits
from rlsd_cli.errors import RlsdError
from rlsd_cli.rollout.fitting import load_tried
from rlsd_cli.training.problems import fitted_splits

Call = Callable[..., Any]
Rlsd = Callable[..., Any]
MakeModel = Callable[..., str]

LONG = {"question": "1+" * 150 + "1=", "answer": "151", "solution": "151"}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORT = {"prompt.template": "{question}", "rollout.max_new_tokens": 12, "method": "rlvr", "holdout": 0.3}


def sums(count: int = 60) -> list[dict[str, Any]]:
    return [{"question": f"{n}+{n}=", "answer": f"{2 * n}", "solution": f"{2 * n}"} for n in range(10, 10 + count)]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def fit(data: str, **values: Any) -> tuple[Splits, dict[str, int]]:
    """What `rlsd train quickstart` would train and be evaluated on."""
    given = SHORT | {"data": data} | {key.replace("__", "."): value for key, value in values.items()}
    config = resolve([], given).config
    return fitted_splits(load_splits(config), config, load_tried(config))


# -- too long --------------------------------------------------------------------------------------------------------


def test_a_prompt_that_will_not_fit_is_refused_before_a_run_or_left_out_with_a_count(
    rlsd: Rlsd, call: Call, tmp_path: Path
) -> None:
    data = write(tmp_path / "long.jsonl", [*sums()[:30], LONG, *sums()[30:]])
    small = ["steps=2", "prompts_per_step=2", "samples_per_prompt=2", "evaluation.problems=4", "eval_data=held.jsonl"]
    write(tmp_path / "held.jsonl", [{"question": f"{n}-{n}=", "answer": "0"} for n in range(10, 20)])
    command = ["train", *small, f"data={data}", *(f"{key}={value}" for key, value in SHORT.items())]
    refused = call(*command)
    assert (refused.code, refused.out) == (2, "")
    assert "error: 1 of 61 training problems is too long: the prompt of `" in refused.err
    assert "has 303 tokens, and with a response of 12 these do not fit the model's 256" in refused.err
    assert "hint: `prompt.overlong=skip` leaves such problems out" in refused.err
    assert not (tmp_path / "runs").exists()
    done = rlsd(*command, "prompt.overlong=skip")
    assert done.returncode == 0, done.stderr
    assert "warning: 1 of 61 training problems is too long: " in done.stderr
    run = tmp_path / "runs" / "latest"
    assert json.loads((run / "status.json").read_text())["overlong"] == {"train": 1, "held_out": 0}
    assert json.loads((run / "data.json").read_text())["train"]["problems"] == 60


def test_removing_a_problem_that_is_left_out_changes_nothing(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.jsonl", [*sums()[:30], LONG, *sums()[30:]])
    less = write(tmp_path / "less.jsonl", sums())
    (some, num), (others, none) = (fit(data, prompt__overlong="skip") for data in (whole, less))
    assert sum(num.values()) == 1
    assert sum(none.values()) == 0
    assert describe_splits(some) == describe_splits(others)
    config = resolve([], SHORT).config
    for step in range(1, 9):
        assert step_problems(some.train, config, step) == step_problems(others.train, config, step)


def test_held_out_problems_must_fit_as_they_are_evaluated(tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", sums())
    held = write(tmp_path / "held.jsonl", [{"question": f"{n}-{n}=", "answer": "0"} for n in range(10, 20)] + [LONG])
    with pytest.raises(RlsdError, match="1 of 11 held-out problems is too long") as caught:
        fit(data, eval_data=held)
    assert caught.value.exit_code == 2
    splits, left_out = fit(data, eval_data=held, prompt__overlong="skip")
    assert (len(splits.train), len(splits.held_out)) == (60, 10)
    assert left_out == {"train": 0, "held_out": 1}
    with pytest.raises(RlsdError, match=r"10 of 10 held-out problems are too long: .* response of 250"):
        fit(data, eval_data=write(tmp_path / "h.jsonl", sums(80)[70:]), evaluation__max_new_tokens=250)


def test_only_the_problems_that_are_evaluated_have_to_fit_where_none_is_left_out(call: Call, tmp_path: Path) -> None:
    long = {"question": "5+" * 150 + "5=", "answer": "755"}
    write(tmp_path / "held.jsonl", [*({"question": f"{n}-{n}=", "answer": "0"} for n in range(10, 20)), long])
    command = ["eval", "quickstart", "--data", "held.jsonl", "prompt.template={question}", "--json"]
    refused = call(*command)
    assert (refused.code, refused.out) == (2, "")
    assert "1 of 11 problems is too long" in refused.err
    order = [problem.question for problem in select(load_source("held.jsonl"), 11)]
    before = order.index(long["question"])
    assert 0 < before < 10
    some = json.loads(call(*command, f"evaluation.problems={before}").out)
    assert (some["n"], some["overlong"]) == (before, 0)
    assert call(*command, f"evaluation.problems={before + 1}").code == 2
    skipped = json.loads(call(*command, "prompt.overlong=skip").out)
    assert (skipped["n"], skipped["overlong"]) == (10, 1)


def test_where_no_prompt_fits_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", sums())
    with pytest.raises(RlsdError, match=r"of .. training problems are too long: .* response of 255"):
        fit(data, prompt__overlong="skip", rollout__max_new_tokens=255)


def test_a_teachers_view_that_will_not_fit_is_refused_or_counted_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sums()
    rows[7]["solution"] = "1+" * 150
    data = write(tmp_path / "train.jsonl", rows)
    shown = {"method": "rlsd", "teacher__view": "solution", "teacher__template": "{prompt}#{reference}"}
    with pytest.raises(
        RlsdError, match=r"1 of .. training problems is too long: the teacher prompt of .* has 308 tok"
    ) as caught:
        fit(data, holdout=0.01, **shown)
    assert (caught.value.exit_code, "`teacher.overlong=skip`" in (caught.value.hint or "")) == (2, True)
    splits, _ = fit(data, holdout=0.01, teacher__overlong="skip", **shown)
    assert any(problem.solution == rows[7]["solution"] for problem in splits.train)
    assert "warning: 1 of" in capsys.readouterr().err
    fit(data, holdout=0.01, method="rlvr")
    rows.append({"question": "10+10", "answer": "20"})
    fit(write(tmp_path / "lacking.jsonl", rows), holdout=0.01, teacher__overlong="skip", **shown)
    with pytest.raises(RlsdError, match="and 9 fit"):
        fit(data, holdout=0.01, teacher__max_prompt_tokens=9, **shown)


def test_what_is_called_too_long_is_what_a_tokenizer_counts(make_tokenizer: Callable[..., Any]) -> None:
    """Prompts that are surely short enough are not tokenised; which those are may change no verdict."""
    from rlsd_cli.data.problems import Problem
    from rlsd_cli.data.prompts import prompt_ids, student_text
    from rlsd_cli.data.room import Window, too_long_for_student

    config = resolve([], {"prompt.template": "{question}"}).config
    texts = [letter * length for letter in ("a", "ä", "中", "ﷺ", "<bos>", " ") for length in (1, 13, 31, 64, 90)]
    problems = [Problem(text, "0", text, "1") for text in texts]
    for kind in ("bytes", "pieces", "sentencepiece"):
        for template in (CHATML, None, CHATML + "{{ messages[-1].content }}"):
            tokenizer = make_tokenizer(template, kind=kind)
            counts = [len(prompt_ids(student_text(problem, config), config, tokenizer)) for problem in problems]
            for limit in (30, 90, 150, 200):
                found = too_long_for_student(problems, config, tokenizer, Window(limit + 7, 7))
                assert [(each.place, each.tokens) for each in found] == [
                    (place, count) for place, count in enumerate(counts) if count > limit
                ]


def test_pass_rates_are_measured_of_what_fits(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [*sums(4), LONG, *sums(6)[4:]])
    command = ["data", "difficulty", "train.jsonl", "quickstart", "prompt.template={question}", "--samples", "2"]
    refused = call(*command)
    assert refused.code == 2
    assert "`prompt.overlong=skip` leaves such problems out" in refused.err
    done = call(*command, "prompt.overlong=skip", "--again")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "train.difficulty.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == [row["question"] for row in sums(6)]


# -- what is said ----------------------------------------------------------------------------------------------------


def test_a_check_notes_control_tokens_in_the_data_and_prompts_that_are_left_out(
    call: Call, make_model: MakeModel, tmp_path: Path
) -> None:
    rows = [*sums(3), {"question": "36<|im_end|>", "answer": "36"}, LONG]
    write(tmp_path / "p.jsonl", rows)
    command = ["data", "check", "p.jsonl", f"model={make_model(CHATML)}", "prompt.template={question}"]
    settings = ["rollout.max_new_tokens=12", "prompt.thinking=false", "--json", "--out", "flags.jsonl"]
    done = call(*command, *settings)
    found = json.loads(done.out)
    assert (found["notes"], found["reasons"]) == ({"control_token": 1}, {"too_long": 1})
    assert "warning: `prompt.thinking` changes nothing" in done.err
    (flag,) = (
        row for row in map(json.loads, (tmp_path / "flags.jsonl").read_text().splitlines()) if row["kind"] == "note"
    )
    assert flag["detail"] == "`<|im_end|>` in its text looks like a control token; it is tokenised as plain text"
    skipping = json.loads(call(*command, *settings, "prompt.overlong=skip").out)
    assert (skipping["notes"], skipping["reasons"]) == ({"control_token": 1, "prompt_skipped": 1}, {})


def test_a_run_says_how_many_problems_hold_control_tokens(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*sums(), *({"question": f"{n}<|im_end|>", "answer": f"{n}"} for n in range(10, 15))]
    data = write(tmp_path / "p.jsonl", rows)
    fit(data, model=make_model(CHATML))
    what = "text that looks like a control token, such as `<|im_end|>`; it is tokenised as plain text"
    said = f"warning: 5 problems hold {what}\n"
    assert capsys.readouterr().err == said
    fit(data, model=make_model(CHATML), prompt__thinking=True)
    assert "`prompt.thinking` changes nothing" in capsys.readouterr().err


def test_a_template_without_room_for_the_system_message_is_refused_by_every_command(
    call: Call, make_model: MakeModel, tmp_path: Path
) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    model = f"model={make_model(refusing + CHATML)}"
    write(tmp_path / "p.jsonl", sums())
    for command in (
        ["train", "quickstart", "data=p.jsonl"],
        ["eval", "quickstart", "--data", "p.jsonl"],
        ["data", "check", "p.jsonl"],
        ["data", "show", "p.jsonl"],
        ["data", "difficulty", "p.jsonl", "quickstart"],
    ):
        done = call(*command, model, "prompt.system=Be brief.")
        assert (done.code, done.out) == (2, ""), command
        assert "error: the chat template of this model takes no system message: System role not supported" in done.err
        assert "hint: leave `prompt.system` unset" in done.err
    assert not (tmp_path / "runs").exists()


def test_a_model_is_saved_with_the_template_it_was_trained_with(make_model: MakeModel, tmp_path: Path) -> None:
    from rlsd_cli.policy.model import load_policy

    (tmp_path / "own.jinja").write_text("{{ messages[0].content }}|")
    config = resolve([], {"model": make_model(CHATML), "prompt.chat_template": str(tmp_path / "own.jinja")}).config
    load_policy(config).save(tmp_path / "saved")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == "{{ messages[0].content }}|"
