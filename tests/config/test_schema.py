from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from rlsd_cli.config.choices import CHOICES
from rlsd_cli.config.reads import readers
from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, merge, preset_names, resolve, to_toml
from rlsd_cli.config.schema import Config, flatten
from rlsd_cli.errors import RlsdError
from rlsd_cli.fields import Section
from rlsd_cli.methods.table import METHODS

OPTIONAL = [key for key, info in FIELDS.items() if type(None) in get_args(info.annotation)]
SECTIONS = [name for name, info in Config.model_fields.items() if isinstance(info.default, Section)]


def changed(**values: Any) -> Config:
    return merge([], Layer(COMMAND_LINE, {key.replace("__", "."): value for key, value in values.items()})).config


@pytest.mark.parametrize("key", OPTIONAL)
def test_a_value_that_may_be_none_is_none_by_default_because_toml_cannot_say_it(key: str) -> None:
    assert FIELDS[key].default is None


@pytest.mark.parametrize("section", [None, *SECTIONS])
def test_nothing_can_be_changed_after_the_fact(section: str | None) -> None:
    node = getattr(Config(), section) if section else Config()
    name = next(iter(type(node).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(node, name, getattr(node, name))


def test_each_change_changes_the_digest() -> None:
    configs = [
        Config(),
        changed(seed=1),
        changed(credit__mix=0.25),
        changed(prompt__system=""),
        changed(evaluation__max_new_tokens=512),
        changed(method="rlvr"),
    ]
    assert len({config.digest() for config in configs}) == len(configs)
    assert Config().digest() == changed(credit__mix=Config().credit.mix, method="rlsd").digest()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_valid_on_its_own_defaults(name: str) -> None:
    config = changed(method=name)
    assert config.recipe is METHODS[name]
    assert dict(METHODS[name].defaults).items() <= flatten(config).items()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"samples_per_prompt": 1}, "leaves every group of `rlsd` without a baseline"),
        ({"optim__layout": "sharded", "optim__state": "8bit"}, "`optim.state=8bit` cannot be sharded"),
        ({"optim__layout": "offloaded", "teacher__device": "cpu"}, "`teacher.device=cpu` has no meaning for"),
        ({"method": "rlvr", "samples_per_prompt": 1}, "leaves every group of `rlvr` without a baseline"),
        ({"optim__updates_per_batch": 33, "prompts_per_step": 32}, "`optim.updates_per_batch` cannot exceed"),
        ({"loss__dual_clip": 3.0, "loss__surrogate": "cispo"}, "`loss.dual_clip` has no meaning"),
        (
            {"method": "opsd", "distill__top_k": 8, "distill__divergence": "sampled_token"},
            "`distill.top_k` has no meaning",
        ),
        (
            {"method": "opsd", "distill__divergence": "pointwise_clipped_forward_kl", "distill__token_clip": None},
            "needs `distill.token_clip`",
        ),
        ({"prompt__template": "no question"}, "`prompt.template` must contain `{question}`"),
        ({"teacher__template": "{prompt}"}, "`teacher.template` must contain `{reference}`"),
    ],
)
def test_combinations_that_cannot_do_what_they_say_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RlsdError, match=words):
        changed(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"samples_per_prompt": 1, "advantage__baseline": "none"},
        {"method": "opsd", "samples_per_prompt": 1},
        {"optim__updates_per_batch": 32, "prompts_per_step": 32},
        {"loss__dual_clip": 3.0, "loss__surrogate": "gspo"},
        {"method": "opsd", "distill__top_k": 8, "distill__divergence": "jsd"},
        {"method": "opsd", "loss__kl_coef": 0.1},
        {"method": "opsd", "distill__divergence": "pointwise_clipped_forward_kl", "distill__token_clip": 0.05},
    ],
)
def test_their_neighbours_are_not(values: dict[str, Any]) -> None:
    config = flatten(changed(**values))
    assert {key.replace("__", "."): value for key, value in values.items()}.items() <= config.items()


def test_a_method_that_reads_solutions_has_groups_of_one() -> None:
    assert changed(method="sft", prompts_per_step=4).rollouts_per_step == 4
    assert changed(method="opsd", samples_per_prompt=8, prompts_per_step=4).rollouts_per_step == 32


# -- choices that bring defaults --------------------------------------------------------------------------------------


def test_every_choice_is_one_that_the_key_takes_and_brings_the_same_keys_as_its_neighbours() -> None:
    for key, options in CHOICES.items():
        assert tuple(options) == get_args(FIELDS[key].annotation)
        assert len({tuple(brought) for brought in options.values()}) == 1
        for name, brought in options.items():
            others = next(other for other in options if other != name)
            layers = [Layer("one", {"method": readers(key)[0], key: others}), Layer("another", {key: name})]
            assert brought.items() <= flatten(merge(layers, Layer(COMMAND_LINE, {})).config).items()


def test_gspo_brings_the_clips_of_its_paper_over_those_of_a_preset_and_under_those_that_are_given() -> None:
    preset = Layer("preset", {"loss.clip_low": 0.2, "loss.clip_high": 0.28})

    def clips(**given: Any) -> tuple[float, float]:
        loss = merge([preset], Layer(COMMAND_LINE, {f"loss.{key}": value for key, value in given.items()})).config.loss
        return loss.clip_low, loss.clip_high

    assert clips() == clips(surrogate="clipped") == clips(surrogate="cispo") == (0.2, 0.28)
    assert clips(surrogate="gspo") == (3e-4, 4e-4)
    assert clips(surrogate="gspo", clip_low=1e-3) == (1e-3, 4e-4)


def test_choosing_again_what_is_chosen_brings_nothing() -> None:
    study = Layer("file", {"method": "opsd", "distill.divergence": "forward_kl", "distill.token_clip": 0.1})
    again = merge([study], Layer(COMMAND_LINE, {"distill.divergence": "forward_kl"}))
    other = merge([study], Layer(COMMAND_LINE, {"distill.divergence": "jsd"}))
    assert again.config.distill.token_clip == 0.1
    assert other.config.distill.token_clip is None
    assert other.origins["distill.token_clip"] == "distill.divergence=jsd"


def test_opsd_is_that_of_its_source_and_sdpos_divergence_comes_without_a_clip() -> None:
    distill = changed(method="opsd").distill
    assert (distill.divergence, distill.token_clip) == ("forward_kl", 0.05)
    assert changed(method="opsd", distill__divergence="reverse_kl").distill.token_clip is None


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_a_none_against_a_methods_default_survives_a_file(divergence: str, tmp_path: Path) -> None:
    values = {"method": "opsd", "distill.divergence": divergence, "distill.token_clip": None}
    config = merge([], Layer(COMMAND_LINE, values)).config
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert resolve([str(path)], {}).config == config


# -- presets that reproduce -------------------------------------------------------------------------------------------

SHARED: dict[str, Any] = {  # algorithms.md 1.6: the paper (section 5.1), and the official script
    "method": "rlsd",
    "prompt.thinking": False,
    "prompts_per_step": 256,
    "samples_per_prompt": 8,
    "rollout.temperature": 1.0,
    "rollout.max_new_tokens": 4096,
    "rollout.refill": 0,
    "advantage.baseline": "mean",
    "advantage.scale": "group_std",
    "advantage.ddof": 1,
    "advantage.eps": 1e-6,
    "credit.mix": 0.5,
    "credit.mix_warmup_steps": 0,
    "credit.mix_first_index": 1,
    "credit.clip": 0.2,
    "credit.tokens": "all",
    "credit.rollouts": "all",
    "loss.surrogate": "clipped",
    "loss.clip_low": 0.2,
    "loss.clip_high": 0.28,
    "loss.kl_coef": 0.0,
    "loss.rollout_correction": "none",
    "teacher.weights": "snapshot",
    "teacher.view": "answer",
    "optim.lr": 1e-6,
    "optim.schedule": "constant",
    "optim.warmup_steps": 0,
    "optim.weight_decay": 0.01,
    "optim.beta1": 0.9,
    "optim.beta2": 0.999,
    "optim.max_grad_norm": 1.0,
    "optim.updates_per_batch": 1,
}
PAPER = {
    "steps": 200,
    "credit.mix_decay_steps": 50,
    "loss.dual_clip": None,
    "loss.reduction": "sequence_mean",
    "teacher.sync_every": 10,
    "teacher.max_prompt_tokens": 4096,
}
OFFICIAL = {
    "steps": 4800,  # ten epochs of its 123,000 problems, in round hundreds
    "credit.mix_decay_steps": 60,
    "loss.dual_clip": 3.0,
    "loss.reduction": "token_mean",
    "teacher.sync_every": 20,
    "teacher.max_prompt_tokens": 16384,
    "evaluation.temperature": 0.7,
    "evaluation.top_p": 0.8,
    "evaluation.top_k": 20,
}


@pytest.mark.parametrize(("preset", "own"), [("rlsd-paper", PAPER), ("rlsd-official", OFFICIAL)])
def test_the_presets_of_rlsd_hold_every_number_of_their_source(preset: str, own: dict[str, Any]) -> None:
    expected = SHARED | own
    found = flatten(resolve([preset], {}).config)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("preset", [name for name in preset_names() if name.endswith("opsd")])
def test_the_presets_of_opsd_have_its_learning_rate_and_divergence(preset: str) -> None:
    """RLSD, arXiv 2604.03128, section 5.1, trains OPSD with 1e-5 where it trains GRPO and RLSD with 1e-6."""
    config = resolve([preset], {}).config
    assert (config.optim.lr, config.distill.divergence, config.distill.token_clip) == (1e-5, "forward_kl", 0.05)
