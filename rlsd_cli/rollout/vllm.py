"""Sampling with vLLM in the trainer's own process, from the trainer's weights.

After every update the engine takes over all weights and forgets the prefixes it has computed with the old ones. Then a
fixed prompt is scored by both sides: an engine that would sample from other weights stops the run.
"""

import copy
import gc
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import EXIT_MACHINE, EXIT_NO, RlsdError, first_line
from rlsd_cli.policy.adapter import merged_weights
from rlsd_cli.policy.batch import make_batch
from rlsd_cli.policy.meter import num_processes
from rlsd_cli.policy.model import ROUNDING_GAP, Policy
from rlsd_cli.policy.scoring import score_tokens
from rlsd_cli.rollout.draws import row_key
from rlsd_cli.rollout.sampler import Finished, Rollout, Sampling

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Read when vLLM is loaded. The engine is in this process, so that it can be given tensors. On a CPU it has 1 GiB of
cache, and leaves the threads, which are also the trainer's, where they are."""
CANARY_TOKENS = 32
"""Length of the prompt that both sides score."""


class Mismatch(NamedTuple):
    """Gaps between log-probabilities of engine and trainer on the fixed prompt, nats."""

    mean: float
    largest: float


class VllmSampler:
    """A vLLM engine that lives beside the policy; on a GPU it sleeps, without weights and cache, during updates."""

    def __init__(self, policy: Policy, config: Config) -> None:
        self.vllm = require_vllm()
        self.policy = policy
        self.settings = config.rollout
        wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": policy.sampling_dtype}
        self.dtype = wanted[config.rollout.dtype]
        self.on_gpu = policy.device.type == "cuda"
        self.awake, self.restarted = True, False
        self.engine = self._start()
        self.mismatch = Mismatch(0.0, 0.0)

    def _start(self) -> Any:
        """The engine, with weights still to come: only the shape of the model is read from its directory."""
        config = copy.deepcopy(self.policy.model.config)
        config.architectures = [type(self.policy.model).__name__]
        if not self.on_gpu:  # there vLLM packs a tied head once, and does not pack it again with new weights
            config.tie_word_embeddings = False
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            return self.vllm.LLM(
                model=folder,
                skip_tokenizer_init=True,
                load_format="dummy",
                dtype=self.dtype,
                seed=0,
                enforce_eager=not self.on_gpu,
                enable_prefix_caching=True,
                enable_sleep_mode=self.on_gpu,
                gpu_memory_utilization=self.settings.gpu_share,
                max_model_len=-1,  # the model's own, or what fits into the cache
                max_num_seqs=self.settings.batch_size,
                logprobs_mode="processed_logprobs",
            )

    # -- weights ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sync(self) -> None:
        """Take over the policy's weights.

        Raises:
            RlsdError: (exit 1) the engine computes something else from them than the trainer.
        """
        if not self.awake:
            self.engine.wake_up(tags=["weights"])
        self._load(self._weights())
        if not self.awake:
            self.engine.wake_up(tags=["kv_cache"])
        self.awake = True
        self.check()

    def _load(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self.engine.reset_prefix_cache()

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        return merged_weights(self.policy.model)

    def check(self) -> None:
        """Score the fixed prompt on both sides.

        Raises:
            RlsdError: (exit 1) they are too far apart.
        """
        gaps = (self._engine_logp() - self._trainer_logp()).abs()
        self.mismatch = Mismatch(gaps.mean().item(), gaps.max().item())
        rounding = max(ROUNDING_GAP[self.dtype], ROUNDING_GAP[self.policy.compute_dtype])
        allowed = self.settings.sync_tolerance or rounding
        if not self.mismatch.mean <= allowed:
            raise RlsdError(
                f"vLLM does not sample from the policy's weights: on a fixed prompt its log-probabilities are "
                f"{self.mismatch.mean:.2g} nats off, {allowed:g} are allowed; {self._suspects()}",
                hint="report it with the versions in `environment.json`, or use `rollout.engine=transformers`",
                exit_code=EXIT_NO,
            )

    def _suspects(self) -> str:
        """The groups of weights that, sent once more, change what the engine computes."""
        groups = dict.fromkeys(group_of(name) for name, _ in merged_weights(self.policy.model))
        found, before = [], self._engine_logp()
        for group in groups:
            self._load((name, value) for name, value in merged_weights(self.policy.model) if group_of(name) == group)
            after = self._engine_logp()
            if not torch.equal(before, after):
                found.append(f"`{group}`")
            before = after
        return f"it had others for {', '.join(found)}" if found else "it has all weights, and computes something else"

    def _canary(self) -> list[int]:
        vocabulary = self.policy.model.get_input_embeddings().num_embeddings
        return [(7 + 31 * place) % vocabulary for place in range(CANARY_TOKENS)]

    def _engine_logp(self) -> Tensor:
        """Log-probability of each token of the prompt but the first."""
        ids = self._canary()
        params = self.vllm.SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
        (output,) = self.engine.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        return torch.tensor(
            [known[token].logprob for token, known in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
        )

    def _trainer_logp(self) -> Tensor:
        ids = self._canary()
        batch = make_batch([ids[:1]], [ids[1:]], self.policy.pad_id, self.policy.device, packed=self.policy.packs)
        return score_tokens(self.policy, batch, batch.mask, 1.0).logp[0].float().cpu()

    # -- sampling ---------------------------------------------------------------------------------------------------

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        samples_per_prompt: int,
        sampling: Sampling,
        seed: str,
        finished: Finished | None = None,
    ) -> list[Rollout]:
        places = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples_per_prompt)]
        requests = {
            place: (prompts[prompt], self._params(sampling, row_key(seed, keys[prompt], sample)))
            for place, (prompt, sample) in enumerate(places)
        }
        self._submit(requests)
        rollouts: dict[int, Rollout] = {}
        while len(rollouts) < len(requests):
            try:
                outputs = self.engine.llm_engine.step()
            except Exception as error:
                self._restart(error)
                self._submit({place: request for place, request in requests.items() if place not in rollouts})
                continue
            for output in outputs:
                if output.finished:
                    place = int(output.request_id)
                    rollouts[place] = self._rollout(output.outputs[0])
                    if finished:
                        finished(place, rollouts[place])
        return [rollouts[place] for place in range(len(places))]

    def _submit(self, requests: Mapping[int, tuple[Sequence[int], Any]]) -> None:
        for place, (ids, params) in requests.items():
            try:
                self.engine.llm_engine.add_request(str(place), {"prompt_token_ids": list(ids)}, params)
            except ValueError as error:
                raise RlsdError(
                    f"vLLM does not take a prompt of {len(ids)} tokens: {first_line(error)}",
                    hint="give it more room: `rollout.gpu_share`, on a CPU VLLM_CPU_KVCACHE_SPACE (GiB)",
                    exit_code=EXIT_MACHINE,
                ) from error

    def _restart(self, error: Exception) -> None:
        """Another engine with the policy's current weights, once a run.

        Raises:
            RlsdError: (exit 3) it was started again before, or cannot be.
        """
        if self.restarted:
            raise _gone(error) from error
        self.restarted = True
        logging.warning("vLLM failed and is started again: %s", first_line(error))
        try:
            self.close()
            self.engine = self._start()
            self.awake = True
            self.sync()
        except Exception as again:
            raise _gone(again) from error

    def close(self) -> None:
        """Let the engine go, and its share of the GPU. A process can have one at a time."""
        self.engine.llm_engine.engine_core.shutdown()
        self.engine = None
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def _params(self, sampling: Sampling, key: int) -> Any:
        return self.vllm.SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=key % 2**63,
            stop_token_ids=sorted(self.policy.eos_ids),
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
            output_kind=self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _rollout(self, completion: Any) -> Rollout:
        ids = list(completion.token_ids)
        logps = [known[token].logprob for token, known in zip(ids, completion.logprobs, strict=True)]
        return Rollout(ids, logps, truncated=ids[-1] not in self.policy.eos_ids)

    def rest(self) -> None:
        if self.on_gpu:
            self.engine.sleep(level=2)
            self.awake = False


def group_of(name: str) -> str:
    """The layer that a weight belongs to (`layers.3`), or what it is beside the layers (`embed_tokens`)."""
    numbered = re.search(r"(?:^|\.)(\w+\.\d+)\.", name)
    return numbered[1] if numbered else name.split(".")[-2]


def _gone(error: Exception) -> RlsdError:
    return RlsdError(
        f"vLLM failed, and again after it was started anew: {type(error).__name__}: {first_line(error)}",
        hint="the last step is saved and the same command continues; or use `rollout.engine=transformers`",
        exit_code=EXIT_MACHINE,
    )


def require_vllm() -> Any:
    """The package, loaded with its engine in this process.

    Raises:
        RlsdError: it is not installed (exit 3), or this is one of several processes.
    """
    if num_processes() > 1:
        raise RlsdError(
            "`rollout.engine=vllm` runs in one process", hint="leave out `torchrun`, or sample with transformers"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
        import vllm.sampling_params
    except ImportError as error:
        raise RlsdError(
            f"`rollout.engine=vllm` needs the package `vllm` ({error})",
            hint="`pip install 'rlsd[vllm]'`",
            exit_code=EXIT_MACHINE,
        ) from error
    return vllm
