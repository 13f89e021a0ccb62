"""The embedded policy is what its documentation says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.data.problems import select
from rlsd_cli.data.prompts import prompt_ids, teacher_text
from rlsd_cli.data.sources import load_splits
from rlsd_cli.data.tasks import TASKS, generate
from rlsd_cli.grading.jobs import grade, open_pool
from rlsd_cli.policy.catalog import QUICKSTART, local_path
from rlsd_cli.policy.model import export_model, load_policy
from rlsd_cli.policy.quickstart import ALPHABET, SHAPES, UNK, tokenizer, untrained
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampling


def test_the_weights_fit_the_package_and_the_catalogue(configure: Callable[..., Config]) -> None:
    folder = local_path("quickstart")
    assert folder
    size = (folder / "model.safetensors").stat().st_size
    assert size == QUICKSTART.size_bytes <= 2_000_000
    policy = load_policy(configure())
    assert sum(parameter.numel() for parameter in policy.model.parameters()) == QUICKSTART.parameters


def test_the_packaged_tokenizer_is_the_one_in_the_code(configure: Callable[..., Config]) -> None:
    packaged, built = load_policy(configure()).tokenizer, tokenizer()
    text = "".join(ALPHABET[2:])
    ids = built(text)["input_ids"]
    assert ids == list(range(2, len(ALPHABET)))
    assert packaged(text)["input_ids"] == ids
    assert packaged.decode(ids) == built.decode(ids) == text
    assert packaged.chat_template == built.chat_template


@pytest.mark.parametrize(
    ("view", "least", "most"), [("none", 0.15, 0.40), ("answer", 0.98, 1.0), ("solution", 0.98, 1.0)]
)
def test_it_guesses_alone_and_is_right_with_either_privileged_view(
    configure: Callable[..., Config], view: str, least: float, most: float
) -> None:
    config = configure({"teacher.view": view})
    policy = load_policy(config)
    problems = select(load_splits(config).held_out, 200)
    prompts = [prompt_ids(teacher_text(problem, config), config, policy.tokenizer) for problem in problems]
    rollouts = TransformersSampler(policy, 256).sample(prompts, [""] * len(prompts), 1, Sampling(56, 0.0), "seed")
    responses = [policy.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in rollouts]
    with open_pool(config) as pool:
        verdicts = grade(problems, responses, config, pool)
    assert least <= sum(verdict.score for verdict in verdicts) / len(verdicts) <= most


def test_an_exported_model_is_the_same_in_another_type(tmp_path: Path, configure: Callable[..., Config]) -> None:
    source = local_path("quickstart")
    assert source
    export_model(source, tmp_path / "out", "bfloat16")
    first, second = load_policy(configure()), load_policy(configure({"model": str(tmp_path / "out")}))
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not (tmp_path / "out" / "trainer_state").exists()


def test_the_untrained_policies_are_chosen_by_name_and_differ_in_alphabet_and_room(
    configure: Callable[..., Config],
) -> None:
    sizes = {}
    for name in ("quickstart-untrained", "tiny-untrained"):
        policy = load_policy(configure({"model": name}))
        sizes[name] = (len(policy.tokenizer), policy.context_length)
        assert policy.model.get_input_embeddings().num_embeddings == len(policy.tokenizer)
        again, _ = untrained(0, name)
        for ours, theirs in zip(policy.model.parameters(), again.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    assert sizes == {"quickstart-untrained": (20, 256), "tiny-untrained": (99, 1024)}


def test_the_tiny_alphabet_holds_every_character_of_every_task_and_reads_it_back() -> None:
    tiny = tokenizer("tiny-untrained")
    texts = ["\n\n two  blanks , \\boxed{x}~", "".join(SHAPES["tiny-untrained"].alphabet[3:])]
    texts += [text for name in TASKS for p in generate(name, {"count": 20}) for text in (p.question, p.solution or "")]
    for text in texts:
        ids = tiny(text)["input_ids"]
        assert len(ids) == len(text)
        assert tiny.decode(ids) == text
    unknown = tiny("né\N{MINUS SIGN}1")["input_ids"]
    assert tiny.convert_ids_to_tokens(unknown) == ["n", UNK, UNK, "1"]
    message = [{"role": "user", "content": "a|b\nc"}]
    assert tiny.apply_chat_template(message, add_generation_prompt=True, tokenize=False) == "a|b\nc\n"
