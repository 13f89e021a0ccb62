"""Sampling with vLLM in the trainer's own process, from the trainer's weights.

After every update the engine takes over all weights and forgets the prefixes it has computed with the old ones. Then a
fixed prompt is scored by both sides: an engine that would sample from other weights stops the run.
"""

import copy
import gc
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.ranks import num_processes
from rlsd_cli.errors import EXIT_MACHINE, RlsdError, first_line
from rlsd_cli.policy.adapter import merged_weights
from rlsd_cli.policy.model import ROUNDING_GAP, Policy
from rlsd_cli.rollout.canary import Mismatch, Weights, canary, compare, trainers_logp
from rlsd_cli.rollout.draws import row_key
from rlsd_cli.rollout.sampler import Completion, Finished, Sampling

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Read when vLLM is loaded. The engine is in this process, so that it can be given tensors. On a CPU it has 1 GiB of
cache, and leaves the threads, which are also the trainer's, where they are."""


class VllmSampler:
    """A vLLM engine that lives beside the policy; on a GPU it sleeps, without weights and cache, during updates."""

    name = "vLLM"

    def __init__(self, policy: Policy, config: Config) -> None:
        self.vllm = require_vllm()
        self.policy = policy
        self.settings = config.rollout
        self.dtype = policy.sampling_dtype
        self.on_gpu = policy.device.type == "cuda"
        self.awake, self.restarted = True, False
        self.alone = num_processes() == 1 and policy.layout == "whole"
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
                # each of several processes has an engine of its own, within the group that they already are
                distributed_executor_backend="external_launcher" if num_processes() > 1 else None,
            )

    # -- weights ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update_weights(self) -> None:
        """Take over the policy's weights.

        Raises:
            RlsdError: (exit 1) the engine computes something else from them than the trainer.
        """
        if not self.awake:
            self.engine.wake_up(tags=["weights"])
        self.load(self._weights())
        if not self.awake:
            self.engine.wake_up(tags=["kv_cache"])
        self.awake = True
        allowed = self.settings.sync_tolerance or max(ROUNDING_GAP[self.dtype], ROUNDING_GAP[self.policy.compute_dtype])
        expected = trainers_logp(self.policy)
        self.mismatch = compare(self, canary(self.policy), expected, allowed, lambda: merged_weights(self.policy.model))

    def load(self, weights: Weights) -> None:
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self.engine.reset_prefix_cache()

    def _weights(self) -> Weights:
        return merged_weights(self.policy.model)

    def score(self, ids: Sequence[int]) -> Tensor:
        params = self.vllm.SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
        (output,) = self.engine.generate([{"prompt_token_ids": list(ids)}], params, use_tqdm=False)
        return torch.tensor(
            [known[token].logprob for token, known in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
        )

    # -- sampling ---------------------------------------------------------------------------------------------------

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        samples_per_prompt: int,
        sampling: Sampling,
        seed: str,
        finished: Finished | None = None,
        limits: Sequence[int] | None = None,
    ) -> list[Completion]:
        limits = limits or [sampling.max_new_tokens] * len(prompts)
        places = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples_per_prompt)]
        requests = {
            place: (prompts[prompt], self._params(sampling, limits[prompt], row_key(seed, keys[prompt], sample)))
            for place, (prompt, sample) in enumerate(places)
        }
        self._submit(requests)
        rollouts: dict[int, Completion] = {}
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
            RlsdError: (exit 3) it was started again before, or cannot be: the trainer uses its process group.
        """
        if self.restarted or not self.alone:
            raise self._gone(error) from error
        self.restarted = True
        logging.warning("vLLM failed and is started again: %s", first_line(error))
        try:
            self.close()
            self.engine = self._start()
            self.awake = True
            self.update_weights()
        except Exception as again:
            raise self._gone(again) from error

    def _gone(self, error: Exception) -> RlsdError:
        again = ", and again after it was started anew" if self.restarted else ""
        return RlsdError(
            f"vLLM failed{again}: {type(error).__name__}: {first_line(error)}",
            hint="the last step is saved and the same command continues; or use `rollout.engine=transformers`",
            exit_code=EXIT_MACHINE,
        )

    def close(self) -> None:
        """Let the engine go, and its share of the GPU. A process can have one at a time; its group goes with it."""
        if self.engine is None:
            return
        self.engine.llm_engine.engine_core.shutdown()
        self.engine = None
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def _params(self, sampling: Sampling, limit: int, key: int) -> Any:
        return self.vllm.SamplingParams(
            max_tokens=limit,
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

    def _rollout(self, completion: Any) -> Completion:
        ids = list(completion.token_ids)
        logps = [known[token].logprob for token, known in zip(ids, completion.logprobs, strict=True)]
        return Completion(ids, logps, truncated=ids[-1] not in self.policy.eos_ids)

    def sleep(self) -> None:
        if self.on_gpu:
            self.engine.sleep(level=2)
            self.awake = False


def require_vllm() -> Any:
    """The package, loaded with its engine in this process.

    Raises:
        RlsdError: (exit 3) it is not installed.
    """
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
