from typing import Any, get_args

import pytest
from pydantic import ValidationError

from rlsd_cli.config.methods import METHODS
from rlsd_cli.config.resolve import COMMAND_LINE, FIELDS, Layer, flatten, merge
from rlsd_cli.config.schema import Config, Section
from rlsd_cli.errors import RlsdError

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
    assert config.row is METHODS[name]
    assert dict(METHODS[name].defaults).items() <= flatten(config).items()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"samples_per_prompt": 1}, "leaves every group of `rlsd` without a baseline"),
        ({"optim__layout": "sharded", "optim__state": "8bit"}, "`optim.state=8bit` cannot be split"),
        ({"optim__layout": "offloaded", "teacher__device": "cpu"}, "`teacher.device=cpu` has no meaning for"),
        ({"method": "rlvr", "samples_per_prompt": 1}, "leaves every group of `rlvr` without a baseline"),
        ({"optim__updates_per_batch": 33, "prompts_per_step": 32}, "`optim.updates_per_batch` cannot exceed"),
        ({"loss__dual_clip": 3.0, "loss__surrogate": "cispo"}, "`loss.dual_clip` has no meaning"),
        ({"distill__top_k": 8, "distill__divergence": "sampled_token"}, "`distill.top_k` has no meaning"),
        ({"distill__divergence": "pointwise_clipped_forward_kl"}, "needs `distill.token_clip`"),
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
        {"distill__top_k": 8, "distill__divergence": "jsd"},
        {"distill__divergence": "pointwise_clipped_forward_kl", "distill__token_clip": 0.05},
    ],
)
def test_their_neighbours_are_not(values: dict[str, Any]) -> None:
    config = flatten(changed(**values))
    assert {key.replace("__", "."): value for key, value in values.items()}.items() <= config.items()


def test_a_method_that_reads_solutions_has_groups_of_one() -> None:
    assert Config(method="sft", samples_per_prompt=8, prompts_per_step=4).rollouts_per_step == 4
    assert Config(method="opsd", samples_per_prompt=8, prompts_per_step=4).rollouts_per_step == 32
