from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_cli.config.resolve import (
    COMMAND_LINE,
    Layer,
    config_keys,
    merge,
    parse_value,
    preset_names,
    presets_dir,
    read_toml,
    resolve,
    split_arguments,
    to_toml,
)
from rlsd_cli.config.schema import Config, fields_of, flatten
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods.table import METHODS

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "model": st.text(),
        "prompt.system": st.text(),
        "prompt.template": st.text().map("{question}".__add__),
        "prompt.thinking": st.booleans(),
        "credit.mix": st.floats(0, 1),
        "credit.tokens": st.sampled_from(["all", "thought"]),
        "loss.dual_clip": st.floats(1, 1e9, exclude_min=True),
        "optim.lr": st.floats(1e-300, 1e300),
        "evaluation.max_new_tokens": st.integers(1, 2**31),
    },
)


def on_the_command_line(values: dict[str, Any]) -> list[str]:
    return [f"{key}={tomli_w.dumps({'_': value}).removeprefix('_ = ')}" for key, value in values.items()]


def from_text(toml: str) -> Config:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(toml, encoding="utf-8")
        return resolve([str(path)], {}).config


@settings(deadline=None)
@given(VALUES)
def test_a_config_written_as_toml_loads_to_the_same_config(values: dict[str, Any]) -> None:
    config = merge([], Layer(COMMAND_LINE, values)).config
    loaded = from_text(to_toml(config))
    assert loaded == config
    assert loaded.digest() == config.digest()


@settings(deadline=None)
@given(VALUES)
def test_key_equals_value_means_what_the_same_lines_of_a_file_mean(values: dict[str, Any]) -> None:
    overrides = split_arguments(on_the_command_line(values))[1]
    typed = merge([], Layer(COMMAND_LINE, overrides)).config
    filed = from_text("".join(on_the_command_line(values)))
    assert typed == filed
    assert typed.digest() == filed.digest()
    assert values.items() <= flatten(typed).items()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("3", 3),
        ("true", True),
        ("none", None),
        ('"none"', "none"),
        ('"a b"', "a b"),
        ("None", "None"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("two words", "two words"),
        ("{question}=?", "{question}=?"),
        ("", ""),
    ],
)
def test_a_value_is_toml_or_none_or_a_bare_word(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_only_the_first_equals_sign_splits_and_a_path_is_no_key() -> None:
    arguments = ["quickstart", "prompt.template={question}=", "runs/a=b/config.toml", "seed = 3"]
    targets, overrides = split_arguments(arguments)
    assert targets == ["quickstart", "runs/a=b/config.toml"]
    assert overrides == {"prompt.template": "{question}=", "seed": 3}


def test_none_takes_an_optional_value_back_and_is_refused_elsewhere() -> None:
    preset = Layer("preset p", {"loss.dual_clip": 3.0})
    assert merge([preset], Layer(COMMAND_LINE, {"loss.dual_clip": None})).config.loss.dual_clip is None
    with pytest.raises(RlsdError, match=r"`seed` = None \(command line\)"):
        merge([preset], Layer(COMMAND_LINE, {"seed": None}))


def test_later_layers_win_and_every_value_knows_its_origin() -> None:
    preset = Layer("preset p", {"method": "sft", "steps": 11, "seed": 1, "model": "m"})
    file = Layer("file f", {"steps": 12, "seed": 2})
    resolved = merge([preset, file], Layer(COMMAND_LINE, {"seed": 3}))
    values, origins = flatten(resolved.config), resolved.origins
    assert {key: (values[key], origins[key]) for key in ("optim.eps", "optim.lr", "model", "steps", "seed")} == {
        "optim.eps": (1e-8, "default"),
        "optim.lr": (1e-5, "method sft"),
        "model": ("m", "preset p"),
        "steps": (12, "file f"),
        "seed": (3, "command line"),
    }
    assert list(origins) == list(fields_of("sft"))


def test_a_presets_value_ranks_above_the_methods_own_default() -> None:
    preset = Layer("preset p", {"teacher.view": "none"})
    resolved = merge([preset], Layer(COMMAND_LINE, {"method": "opsd"}))
    config, origins = resolved.config, resolved.origins
    assert (config.teacher.view, origins["teacher.view"]) == ("none", "preset p")
    assert (config.teacher.weights, origins["teacher.weights"]) == ("frozen", "method opsd")


def test_only_the_chosen_methods_defaults_apply() -> None:
    preset = Layer("preset p", {"method": "sft"})
    config = merge([preset], Layer(COMMAND_LINE, {"method": "rlsd"})).config
    assert (config.samples_per_prompt, config.optim.lr) == (8, 1e-6)


def test_every_fault_of_every_layer_is_reported_at_once_with_its_origin_and_a_way_out() -> None:
    preset = Layer("preset p", {"credit.mixx": 1, "steps": 0})
    line = Layer(COMMAND_LINE, {"mix": 0.3, "credit": 1, "optim.lr": -1, "model": 3, "zzz": 1})
    with pytest.raises(RlsdError) as caught:
        merge([preset], line)
    assert sorted(caught.value.message.splitlines()) == [
        "`credit` = 1 (command line): this is a section, not a key",
        "`model` = 3 (command line): input should be a valid string",
        "`optim.lr` = -1 (command line): input should be greater than 0",
        "`steps` = 0 (preset p): input should be greater than or equal to 1",
        "unknown key `credit.mixx` in preset p",
        "unknown key `mix` in command line",
        "unknown key `zzz` in command line",
    ]
    hints = caught.value.hint or ""
    assert "did you mean `credit.mix` or" in hints
    assert "did you mean `credit.mix`?" in hints
    assert "its keys: `credit." in hints
    assert "`rlsd config keys` lists them all" in hints


def test_an_unknown_method_is_told_which_there_are() -> None:
    with pytest.raises(RlsdError, match=r"`method` = 'rlsdd' \(command line\)") as caught:
        merge([], Layer(COMMAND_LINE, {"method": "rlsdd"}))
    assert caught.value.hint == "did you mean `rlsd` or `rlcsd`?"
    with pytest.raises(RlsdError) as caught:
        merge([], Layer(COMMAND_LINE, {"method": "zzz"}))
    assert caught.value.hint == f"methods: {', '.join(METHODS)}"


def test_another_name_of_a_method_is_that_method_and_is_said() -> None:
    grpo, rlvr = (merge([], Layer(COMMAND_LINE, {"method": name})) for name in ("grpo", "rlvr"))
    assert grpo.config == rlvr.config
    assert grpo.config.method == "rlvr"
    assert grpo.notes == (f"`grpo` is the method `rlvr`: {METHODS['rlvr'].summary}",)
    assert rlvr.notes == ()
    assert merge([Layer("preset p", {"method": "grpo"})], Layer(COMMAND_LINE, {})).config == rlvr.config


def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("steps = \n", encoding="utf-8")
    with pytest.raises(RlsdError, match=r"broken\.toml is not valid TOML"):
        read_toml(path, "file")
    path.write_bytes(b"\xff")
    with pytest.raises(RlsdError, match=r"broken\.toml is not valid TOML"):
        read_toml(path, "file")


def test_several_targets_are_layers_in_their_order_and_name_the_run_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("steps = 7\n", encoding="utf-8")
    resolved = resolve(["quickstart", str(path)], {})
    assert resolved.base == "quickstart+mine"
    assert (resolved.config.steps, resolved.origins["steps"]) == (7, f"file {path}")
    assert resolved.config.data == "arithmetic"
    assert resolve([str(path), "quickstart"], {}).config.steps == resolve(["quickstart"], {}).config.steps != 7


def test_no_target_means_quickstart() -> None:
    assert resolve([], {}) == resolve(["quickstart"], {})


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_resolves_and_says_what_it_is_and_what_it_needs(name: str) -> None:
    about, needs, run = (presets_dir() / f"{name}.toml").read_text(encoding="utf-8").splitlines()[:3]
    assert resolve([name], {}).base == name
    assert about.removeprefix("# ").strip("# ")
    assert needs.startswith("# Needs: ")
    assert run.startswith(("# Run:   rlsd train", f"# Run:   rlsd eval {name}"))


@pytest.mark.parametrize("method", METHODS)
def test_the_key_reference_covers_every_value_of_a_config_and_no_other(method: str) -> None:
    keys = {key.name: key for key in config_keys(method=method)}
    values = flatten(merge([], Layer(COMMAND_LINE, {"method": method})).config)
    assert list(keys) == list(values)
    for name, value in values.items():
        assert name == "method" or keys[name].default == value
        assert keys[name].description.strip()
        assert keys[name].kind.strip()


def test_the_key_reference_can_be_narrowed_and_knows_bounds() -> None:
    assert {key.name.split(".")[0] for key in config_keys("optim")} == {"optim"}
    assert [key.kind for key in config_keys("optim.lr")] == ["float > 0"]
    assert [key.kind for key in config_keys("loss.dual_clip")] == ["float > 1 or none"]
    assert [key.kind for key in config_keys("credit.tokens")] == ["all|thought"]
    assert [key.kind for key in config_keys("credit.mix")] == ["float >= 0, <= 1"]
    with pytest.raises(RlsdError, match="`optimm`") as caught:
        config_keys("optimm")
    assert (caught.value.hint or "").startswith("did you mean `optim`")


def test_a_truth_value_is_not_a_number() -> None:
    with pytest.raises(RlsdError, match=r"`steps` = 'true' \(command line\): input should be a valid integer"):
        resolve(["quickstart"], {"steps": True})


def test_none_is_a_word_where_a_key_takes_it_as_one() -> None:
    words = {"teacher.view": None, "advantage.baseline": None, "advantage.scale": None, "prompt.system": None}
    resolved = resolve(["quickstart"], words)
    assert resolved.config.teacher.view == resolved.config.advantage.baseline == "none"
    assert resolved.config.prompt.system is None
    assert resolved.changed["teacher.view"] == "none"
    assert "prompt.system" not in resolved.changed
