"""The parts of a score as they are asked for: layers, the command line, names of runs, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.reads import readers
from rlsd_cli.config.resolve import (
    COMMAND_LINE,
    Layer,
    Resolved,
    config_keys,
    merge,
    resolve,
    split_arguments,
    to_toml,
)
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods.table import METHODS
from rlsd_cli.runs.rundir import run_name

OWN = "./rewards.py:brevity"


def asked(*arguments: str, file: str = "", tmp_path: Path | None = None) -> Resolved:
    targets: list[str] = []
    if tmp_path:
        (tmp_path / "mine.toml").write_text(file, encoding="utf-8")
        targets = [str(tmp_path / "mine.toml")]
    more, overrides = split_arguments(arguments)
    assert more == []
    return resolve(targets, overrides)


def parts(*arguments: str, **options: Any) -> dict[str, float]:
    return asked(*arguments, **options).config.reward.parts


def test_by_default_the_score_is_the_verifiers() -> None:
    assert parts() == {"answer": 1.0}


def test_a_table_on_the_command_line_or_in_a_file_and_single_entries_add_to_what_is_below(tmp_path: Path) -> None:
    table = f'[reward.parts]\nformat = 0.1\n"{OWN}" = 0.2\n'
    assert parts(file=table, tmp_path=tmp_path) == {"answer": 1.0, "format": 0.1, OWN: 0.2}
    assert parts("reward.parts={format = 0.1, overlong = 1}") == {"answer": 1.0, "format": 0.1, "overlong": 1.0}
    changed = parts("reward.parts.format=0.3", "reward.parts.overlong=0.5", file=table, tmp_path=tmp_path)
    assert changed == {"answer": 1.0, "format": 0.3, "overlong": 0.5, OWN: 0.2}
    assert parts("reward.parts.format=0", "reward.parts.answer=0", file=table, tmp_path=tmp_path) == {OWN: 0.2}
    assert parts("reward.parts={answer = 2}", "reward.parts.format=1") == {"answer": 2.0, "format": 1.0}


@pytest.mark.parametrize("name", [OWN, "my.rewards:brevity", "/absolute/rewards.py:brevity"])
def test_a_function_is_named_on_the_command_line_with_or_without_quotes(name: str) -> None:
    assert parts(f"reward.parts.{name}=0.5") == parts(f'reward.parts."{name}"=0.5') == {"answer": 1.0, name: 0.5}


def test_the_order_in_which_parts_are_given_means_nothing() -> None:
    one = asked("reward.parts={format = 0.1, 'b:f' = 1, 'a:f' = 1, overlong = 0.5}").config
    other = asked("reward.parts={overlong = 0.5, 'a:f' = 1, 'b:f' = 1, format = 0.1}").config
    assert list(one.reward.parts) == list(other.reward.parts) == ["answer", "format", "overlong", "a:f", "b:f"]
    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    "arguments",
    [(), ("reward.parts.answer=0", "reward.parts.format=1"), (f"reward.parts.{OWN}=-0.5", "reward.parts.answer=2")],
)
def test_parts_written_as_toml_load_to_the_same(arguments: tuple[str, ...], tmp_path: Path) -> None:
    config = asked(*arguments).config
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    loaded = resolve([str(tmp_path / "config.toml")], {}).config
    assert loaded == config
    assert loaded.digest() == config.digest()


def test_an_entry_of_another_origin_than_the_table_is_said_to_be_of_the_last(tmp_path: Path) -> None:
    resolved = asked("reward.parts.format=0.3", file="[reward.parts]\noverlong = 0.1\n", tmp_path=tmp_path)
    assert resolved.origins["reward.parts"] == COMMAND_LINE
    assert resolved.changed == {"reward.parts.format": 0.3}


# -- what a run is ----------------------------------------------------------------------------------------------------


def test_runs_that_are_scored_by_the_verifier_alone_have_the_names_that_they_had() -> None:
    identity = Config().identity()
    assert not [key for key in identity if key.startswith("reward")]
    assert asked("reward.parts.answer=1", "reward.parts.format=0").config.digest() == asked().config.digest()


def test_each_change_of_a_part_is_another_run_with_its_name() -> None:
    base = "reward.parts.format=0.1"
    changes = [
        (base,),
        ("reward.parts.format=0.2",),
        (base, "reward.parts.overlong=1"),
        (base, "reward.parts.overlong=1", "reward.overlong_buffer=9"),
        (base, "reward.format_pattern=a"),
        (f"reward.parts.{OWN}=0.1",),
        ("reward.parts.answer=2",),
    ]
    assert len({asked(*change).config.digest() for change in [(), *changes]}) == len(changes) + 1
    assert run_name(asked(base)).startswith("quickstart-rlsd-format0.1-s0-")
    assert run_name(asked(f"reward.parts.{OWN}=0.2")).startswith("quickstart-rlsd-brevity0.2-s0-")


def test_methods_that_sample_read_parts_but_not_those_that_compare_scores_with_values_of_prefixes() -> None:
    sampling = [name for name, method in METHODS.items() if method.responses == "policy" and not method.continuations]
    assert readers("reward.parts") == readers("reward.format_pattern") == sampling
    assert {"rlvr", "rlsd"} <= set(sampling)
    for method in ("sft", "vineppo"):
        with pytest.raises(RlsdError, match=f"`reward.parts` = .* method `{method}` does not read it"):
            asked("reward.parts.format=0.1", f"method={method}")


def test_the_key_reference_says_that_parts_are_a_table() -> None:
    (key,) = config_keys("reward.parts")
    assert (key.kind, key.default) == ("table of floats", {"answer": 1.0})


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("reward.parts.formt=1",), "`reward.parts.formt` = 1 (command line): there is no such part; did you mean"),
        (("reward.parts.q=1",), "the parts are answer, format, overlong, `module:function` and `./file.py:function`"),
        (("reward.parts../rewards.txt:f=1",), "`reward.parts../rewards.txt:f` = 1 (command line): "),
        (("reward.parts={'./r.py' = 1}",), "`reward.parts../r.py` = 1 (command line): there is no such part"),
        (("reward.parts.format=high",), "`reward.parts.format` = 'high' (command line): input should be a valid num"),
        (("reward.parts.format=true",), "`reward.parts.format` = True (command line): input should be a valid num"),
        (('reward.parts.format="0.1"',), "`reward.parts.format` = '0.1' (command line): input should be a valid num"),
        (("reward.parts.format=nan",), "`reward.parts.format` = nan (command line): input should be"),
        (("reward.parts.format=inf",), "`reward.parts.format` = inf (command line): input should be"),
        (("reward.parts=3",), "`reward.parts` = 3 (command line): input should be a valid dictionary"),
        (("reward.parts.answer=0",), "no part is left"),
        (("reward.parts.overlong=-1",), "its weight is the size of the penalty, above 0"),
        (("reward.format_pattern=a",), "`reward.format_pattern` has no meaning without a part `format`"),
        (("reward.overlong_buffer=9",), "`reward.overlong_buffer` has no meaning without a part `overlong`"),
        (
            ("reward.parts.format=1", "reward.format_pattern=(a"),
            "`reward.format_pattern` = '(a' (command line): this is no regular expression: missing ), unterminated",
        ),
        (
            ("reward.parts.overlong=1", "reward.overlong_buffer=9", "rollout.max_new_tokens=8"),
            "`reward.overlong_buffer` cannot exceed `rollout.max_new_tokens`",
        ),
        (("reward.part.format=1",), "unknown key `reward.part.format`"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_the_key_and_a_way_out(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(RlsdError) as caught:
        asked(*arguments)
    assert words in caught.value.message


def test_every_bad_part_is_said_at_once() -> None:
    with pytest.raises(RlsdError) as caught:
        merge([Layer("file f", {"reward.parts": {"formt": 0.1}})], Layer(COMMAND_LINE, {"reward.parts.answer": "a"}))
    assert caught.value.message.count("\n") == 1
    assert "`reward.parts.formt` = 0.1" in caught.value.message
    assert "`reward.parts.answer` = 'a'" in caught.value.message


def test_the_buffer_is_a_fifth_of_the_longest_response_unless_it_is_said() -> None:
    assert [asked().config.reward.buffer(limit) for limit in (512, 10, 3)] == [102, 2, 1]
    assert asked("reward.parts.overlong=1", "reward.overlong_buffer=9").config.reward.buffer(512) == 9
