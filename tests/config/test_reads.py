"""What a method does not read cannot be set beside it, and is no part of what a run is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.reads import readers, reads
from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, Resolved, config_keys, merge, resolve, to_toml
from rlsd_cli.config.schema import PLACES, config_type, flatten
from rlsd_cli.errors import EXIT_USAGE, RlsdError
from rlsd_cli.methods.table import METHODS, ORDER
from rlsd_cli.runs.rundir import run_name

PROBES: Mapping[str, Any] = {
    "rollout.refill": 3,
    "advantage.eps": 0.25,
    "credit.mix": 0.25,
    "loss.clip_high": 0.125,
    "distill.beta": 0.25,
    "teacher.view": "none",
    "teacher.weights": "live",
}
"""Keys that some methods do not read, each with a value that is nobody's default."""
UNREAD = [(method, key) for method in METHODS for key in PROBES if not reads(METHODS[method], key)]


def asked(method: str, **values: Any) -> Resolved:
    return merge([], Layer(COMMAND_LINE, {"method": method, **values}))


def written(tmp_path: Path, text: str, **overrides: Any) -> Resolved:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return resolve([str(path)], overrides)


# -- which keys -------------------------------------------------------------------------------------------------------


def test_each_method_reads_what_its_parts_need() -> None:
    def first(key: str) -> list[str]:
        return [name for name in readers(key) if name in ORDER]

    assert {key: first(key) for key in PROBES} == {
        "rollout.refill": ["rlvr", "rlsd"],
        "advantage.eps": ["rlvr", "rlsd"],
        "credit.mix": ["rlsd"],
        "loss.clip_high": ["rlvr", "rlsd"],
        "distill.beta": ["opsd"],
        "teacher.view": ["opsd", "rlsd"],
        "teacher.weights": ["opsd", "rlsd"],
    }
    sampled = ["rlvr", "opsd", "rlsd"]
    for key in ("samples_per_prompt", "rollout.temperature", "rollout.truncated", "loss.kl_coef", "loss.kl_estimator"):
        assert first(key) == sampled
    for key in ("optim.lr", "loss.reduction", "rollout.max_new_tokens", "evaluation.every", "prompt.system"):
        assert readers(key) == [*METHODS]


def test_every_key_has_a_reader() -> None:
    assert [key for key in FIELDS if not readers(key)] == []


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "key"), UNREAD)
def test_a_key_that_is_not_read_is_refused_on_the_command_line_with_those_that_read_it(method: str, key: str) -> None:
    with pytest.raises(RlsdError) as caught:
        asked(method, **{key: PROBES[key]})
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.message == f"`{key}` = {PROBES[key]!r} (command line): method `{method}` does not read it"
    assert caught.value.hint == f"`{key}`: read by {', '.join(f'`{name}`' for name in readers(key))}"


def test_the_default_of_a_key_that_is_not_read_is_refused_on_the_command_line_too() -> None:
    with pytest.raises(RlsdError, match=r"`credit.mix` = 0.5 \(command line\): method `rlvr` does not read it"):
        asked("rlvr", **{"credit.mix": FIELDS["credit.mix"].default})


def test_all_keys_that_are_not_read_are_refused_at_once_beside_what_else_is_wrong() -> None:
    with pytest.raises(RlsdError) as caught:
        asked("rlvr", **{"credit.mix": 0.9, "teacher.view": "none", "steps": 0, "credit.mixx": 1})
    assert len(caught.value.message.splitlines()) == 4
    hint = caught.value.hint or ""
    assert "`credit.mix`: read by `rlsd`" in hint
    assert "`teacher.view`: read by `opsd`, `rlsd`" in hint


def test_a_file_that_was_written_for_the_method_is_refused_a_key_that_it_does_not_read(tmp_path: Path) -> None:
    with pytest.raises(RlsdError, match=r"`distill.beta` = 0.9 \(file .*mine.toml\): method `rlvr` does not read it"):
        written(tmp_path, 'method = "rlvr"\ndistill.beta = 0.9\n')
    with pytest.raises(RlsdError, match="method `rlvr` does not read it"):
        written(tmp_path, 'method = "grpo"\ndistill.beta = 0.9\n')
    with pytest.raises(RlsdError, match="method `rlsd` does not read it"):
        written(tmp_path, "distill.beta = 0.9\n")


@pytest.mark.parametrize(
    "line", ["distill.beta = 0.5", "credit.mix = 0.5", 'teacher.num_hints = "none"', "teacher.sync_every = 10"]
)
def test_a_file_may_repeat_a_default_of_a_key_that_is_not_read(line: str, tmp_path: Path) -> None:
    repeated = written(tmp_path, f'method = "rlvr"\n{line}\n')
    assert repeated.notes == ()
    assert repeated.config == asked("rlvr").config


# -- left out ---------------------------------------------------------------------------------------------------------


def test_a_preset_of_another_method_leaves_out_what_is_not_read_and_says_so() -> None:
    resolved = resolve(["gsm8k-opsd"], {"method": "rlvr"})
    assert resolved.notes == (
        "preset gsm8k-opsd: method `rlvr` does not read `teacher.weights`, `teacher.view`: left out",
    )
    assert resolved.config.teacher == asked("rlvr").config.teacher
    assert (resolved.config.prompts_per_step, resolved.config.optim.lr) == (16, 1e-5)
    assert resolve(["gsm8k-opsd"], {}).notes == resolve(["gsm8k-opsd"], {"method": "opsd"}).notes == ()


def test_many_keys_that_are_left_out_are_counted_by_section(tmp_path: Path) -> None:
    whole = written(tmp_path, to_toml(asked("rlsd", **{"credit.mix": 0.25}).config), method="rlvr")
    (note,) = whole.notes
    assert "does not read `credit` (7 keys), `teacher` (" in note
    assert whole.config == asked("rlvr").config


def test_what_a_file_says_of_the_method_of_a_preset_below_it_is_left_out_with_that_preset(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("distill.beta = 0.9\n", encoding="utf-8")
    targets = ["gsm8k-opsd", str(path)]
    assert resolve(targets, {}).config.distill.beta == 0.9
    for method in ("rlvr", "rlsd"):
        notes = resolve(targets, {"method": method}).notes
        assert notes[-1] == f"file {path}: method `{method}` does not read `distill.beta`: left out"


# -- what a run is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "key"), UNREAD)
def test_a_key_that_is_left_out_changes_neither_digest_nor_name(method: str, key: str, tmp_path: Path) -> None:
    others = f'method = "{readers(key)[0]}"\nsteps = 7\n'
    without = written(tmp_path, others, method=method)
    given = written(tmp_path, f"{others}{key} = {json.dumps(PROBES[key])}\n", method=method)
    assert len(given.notes) == 1
    assert given.config.digest() == without.config.digest()
    assert run_name(given) == run_name(without)


@pytest.mark.parametrize("method", METHODS)
def test_an_identity_is_of_the_keys_that_are_read_and_of_none_that_is_not(method: str) -> None:
    plain = asked(method).config
    parts = {key for key in FIELDS if key.startswith("reward.")}
    assert set(plain.identity()) == {key for key in FIELDS if reads(METHODS[method], key)} - PLACES - parts - {"steps"}
    for key in (key for reader, key in UNREAD if reader == method and not key.startswith("credit.")):
        section, name = key.split(".")
        tree = plain.model_dump()
        altered = config_type(method).model_validate(tree | {section: tree[section] | {name: PROBES[key]}})
        assert altered != plain
        assert altered.digest() == plain.digest()


# -- the key reference ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_key_reference_lists_exactly_what_is_read(method: str) -> None:
    listed = [key.name for key in config_keys(method=method)]
    assert sorted(listed) == sorted(key for key in FIELDS if reads(METHODS[method], key))
    assert list(flatten(asked(method).config)) == listed


def test_the_key_reference_of_a_part_that_is_not_read_names_those_that_read_it() -> None:
    with pytest.raises(RlsdError, match="method `rlvr` does not read `distill`") as caught:
        config_keys("distill", "rlvr")
    assert "`distill.beta`" in (caught.value.hint or "")
    assert ": read by `opsd`" in (caught.value.hint or "")
    with pytest.raises(RlsdError, match=r"method `opsd` does not read `credit.mix`") as caught:
        config_keys("credit.mix", "opsd")
    assert (caught.value.hint or "").startswith("`credit.mix`: read by `rlsd`")
    assert [key.name for key in config_keys("distill", "opsd")] == [key for key in FIELDS if key.startswith("distill.")]
