import sys
from collections.abc import Callable

import pytest

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.policy.model import load_policy
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.transformers import TransformersSampler
from rlsd_cli.rollout.vllm import group_of, require_vllm


def test_the_config_chooses_the_engine(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained"}))
    assert isinstance(make_sampler(policy, configure()), TransformersSampler)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RlsdError, match=r"needs the package `vllm`") as caught:
        make_sampler(policy, configure({"rollout.engine": "vllm"}))
    assert caught.value.exit_code == 3


def test_an_engine_is_refused_beside_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RlsdError, match="in one process"):
        require_vllm()


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.layers.12.self_attn.q_proj.weight", "layers.12"),
        ("transformer.h.0.ln_1.weight", "h.0"),
        ("model.embed_tokens.weight", "embed_tokens"),
        ("lm_head.weight", "lm_head"),
    ],
)
def test_a_weight_belongs_to_its_layer(name: str, group: str) -> None:
    assert group_of(name) == group
