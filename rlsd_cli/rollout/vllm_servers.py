"""Sampling with vLLM servers elsewhere, from the trainer's weights.

Weights pass through a folder that both sides see: after every update the leading process writes them, tells each server
to take them over, and compares a fixed prompt. A server knows the version of its weights by a name that is drawn anew
for each update, so one that was started again, or that serves another run, is noticed before it is trusted.
"""

import asyncio
import logging
import os
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlsd_cli.config.schema import Config
from rlsd_cli.distributed.world import World
from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError
from rlsd_cli.policy.adapter import merged_weights
from rlsd_cli.policy.model import DTYPES, ROUNDING_GAP, Policy
from rlsd_cli.rollout.canary import Mismatch, Weights, canary, compare, trainers_logp
from rlsd_cli.rollout.draws import row_key
from rlsd_cli.rollout.sampler import Completion, Finished, Sampling

T = TypeVar("T")

FILE_BYTES = 1 << 30
"""A file of weights is closed once it is larger."""
RETRY_SECONDS = 1.0
FRESH = "default"
"""What a server that has just been started calls its weights."""


class Update(NamedTuple):
    """Weights that the servers are to have: what they are called, where they lie, what the trainer scores by them."""

    version: str
    folder: str
    canary_logp: Tensor


class ServerSampler:
    """Sends each prompt's requests to one of the servers; all processes of a run share them."""

    def __init__(self, policy: Policy, config: Config, world: World) -> None:
        self.policy = policy
        self.settings = config.rollout
        self.world = world
        self.urls = [url.rstrip("/") for url in config.rollout.servers]
        self.dtype = policy.sampling_dtype
        self.mismatch = Mismatch(0.0, 0.0)
        self._written: tempfile.TemporaryDirectory[str] | None = None
        self._update: Update

    # -- weights ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update_weights(self) -> None:
        """Have every server take over the policy's weights.

        Raises:
            RlsdError: a server computes something else from them than the trainer (exit 1), has not been started as
                it must be, or is gone (exit 3).
        """
        before = self._written
        self._written = self._folder() if self.world.is_leader else None
        _write(merged_weights(self.policy.model), self.dtype, Path(self._written.name) if self._written else None)
        expected = trainers_logp(self.policy)
        folder = self._written.name if self._written else ""
        self._update = self.world.broadcast(lambda: Update(uuid.uuid4().hex, folder, expected))
        self.mismatch = self.world.broadcast(lambda: asyncio.run(self._give_all()))
        if before:
            before.cleanup()

    async def _give_all(self) -> Mismatch:
        async with self._client() as client:
            return max(await _together(self._give(client, url) for url in self.urls))

    async def _give(self, client: "_Client", url: str) -> Mismatch:
        """Have a server take over the weights, and compare."""
        dtype = await client.dtype(url)
        await client.load(url, self._update.folder)
        mismatch = await asyncio.to_thread(self._compare, url, dtype)
        await client.name_weights(url, self._update.version)
        return mismatch

    def _compare(self, url: str, dtype: str) -> Mismatch:
        types = {self.dtype, self.policy.compute_dtype, DTYPES.get(dtype, torch.bfloat16)}
        allowed = self.settings.sync_tolerance or max(ROUNDING_GAP[one] for one in types)
        folder, expected = Path(self._update.folder), self._update.canary_logp
        return compare(_Remote(self, url), canary(self.policy), expected, allowed, lambda: _read(folder))

    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        wanted = self.settings.weights_folder
        try:
            folder = tempfile.TemporaryDirectory(prefix="rlsd-weights-", dir=Path(wanted).resolve() if wanted else None)
        except OSError as error:
            raise RlsdError(f"`rollout.weights_folder` = {wanted!r}: {error.strerror}") from error
        Path(folder.name).chmod(0o755)
        return folder

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
        limit_of = limits or [sampling.max_new_tokens] * len(prompts)
        rollouts: dict[int, Completion] = {}

        async def draw(client: "_Client", gate: asyncio.Semaphore, place: int) -> None:
            prompt, sample = divmod(place, samples_per_prompt)
            url, key = self._server_of(prompt), row_key(seed, keys[prompt], sample)
            body = self._request(prompts[prompt], sampling, limit_of[prompt], key)
            async with gate:
                choice = await client.complete(url, body, lambda: self._ensure(client, url))
            rollouts[place] = self._rollout(choice)
            if finished:
                finished(place, rollouts[place])

        async def draw_all() -> None:
            gate = asyncio.Semaphore(self.settings.batch_size)
            async with self._client() as client:
                used = {self._server_of(prompt) for prompt in range(len(prompts))}
                await _together(self._ensure(client, url) for url in used)
                await _together(draw(client, gate, place) for place in range(len(prompts) * samples_per_prompt))
                await _together(self._ensure(client, url, restarts=False) for url in used)

        asyncio.run(draw_all())
        return [rollouts[place] for place in range(len(rollouts))]

    async def _ensure(self, client: "_Client", url: str, *, restarts: bool = True) -> None:
        """Give a server that was started again its weights.

        Raises:
            RlsdError: (exit 4) it has others, or was started again when that may not be.
        """
        async with client.locks[url]:
            version = await client.weights_of(url)
            if version == FRESH and restarts:
                await self._give(client, url)
            elif version != self._update.version:
                raise RlsdError(
                    f"the vLLM server {url} no longer has this run's weights: another run or evaluation has used it",
                    hint="use a server for one at a time; the last step is saved and the same command continues",
                    exit_code=EXIT_BUSY,
                )

    def _server_of(self, prompt: int) -> str:
        """One server for all samples of a prompt, which it reads once."""
        return self.urls[(self.world.rank + prompt) % len(self.urls)]

    def _request(self, ids: Sequence[int], sampling: Sampling, limit: int, key: int) -> dict[str, Any]:
        """All that shapes a draw is said: a server takes what is left out from the model's generation config."""
        return {
            "prompt": list(ids),
            "max_tokens": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": key % 2**63,
            "stop_token_ids": sorted(self.policy.eos_ids),
            "ignore_eos": True,
            "logprobs": 0,
            "return_token_ids": True,
        }

    def _rollout(self, choice: dict[str, Any]) -> Completion:
        ids = choice["token_ids"]
        return Completion(ids, choice["logprobs"]["token_logprobs"], truncated=ids[-1] not in self.policy.eos_ids)

    def sleep(self) -> None:
        """The servers have devices of their own."""

    def close(self) -> None:
        """Remove the weights from the folder."""
        if self._written:
            self._written.cleanup()

    def _client(self) -> "_Client":
        return _Client(self.settings.server_timeout)


async def _together(tasks: Iterator[Awaitable[T]]) -> list[T]:
    return await asyncio.gather(*tasks)


class _Remote:
    """A server as the fixed prompt's comparison sees it."""

    def __init__(self, sampler: ServerSampler, url: str) -> None:
        self.sampler, self.url = sampler, url
        self.name = f"the vLLM server {url}"

    def load(self, weights: Weights) -> None:
        with self.sampler._folder() as folder:
            _write(weights, self.sampler.dtype, Path(folder))
            asyncio.run(self._load(folder))

    async def _load(self, folder: str) -> None:
        async with self.sampler._client() as client:
            await client.load(self.url, folder)

    def score(self, ids: Sequence[int]) -> Tensor:
        return asyncio.run(self._score(ids))

    async def _score(self, ids: Sequence[int]) -> Tensor:
        async with self.sampler._client() as client:
            return await client.score(self.url, ids)


class _Client:
    """What is said to servers, and what they answer; one that is away is waited for."""

    def __init__(self, timeout: float) -> None:
        key = os.environ.get("VLLM_API_KEY")
        self.timeout = timeout
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self.locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.away: set[str] = set()

    async def __aenter__(self) -> "_Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def dtype(self, url: str) -> str:
        """The type that a server computes in.

        Raises:
            RlsdError: (exit 3) it would not say the log-probabilities that it samples by.
        """
        told = await self._ask(url, "GET", "/server_info?config_format=json")
        model = told["vllm_config"]["model_config"]
        if model["logprobs_mode"] != "processed_logprobs":
            raise _unfit(url, f"tells `{model['logprobs_mode']}`, not the log-probabilities that it samples by")
        return str(model["dtype"]).removeprefix("torch.")

    async def load(self, url: str, folder: str) -> None:
        """Have a server take over the weights of a folder, and forget what it computed with the old ones."""
        body = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
        await self._ask(
            url,
            "POST",
            "/collective_rpc",
            body,
            refused=f"it must see {folder} (`rollout.weights_folder`); start it again, it may have failed over that",
        )
        await self._ask(url, "POST", "/reset_prefix_cache")

    async def name_weights(self, url: str, version: str) -> None:
        await self._ask(url, "POST", "/update_weight_version", {"new_version": version})

    async def weights_of(self, url: str) -> str:
        return str((await self._ask(url, "GET", "/weight_info"))["weight_version"])

    async def score(self, url: str, ids: Sequence[int]) -> Tensor:
        body = {"prompt": list(ids), "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0}
        answer = await self._ask(url, "POST", "/v1/completions", body)
        known = answer["choices"][0]["prompt_logprobs"]
        return torch.tensor([one[str(token)]["logprob"] for token, one in zip(ids[1:], known[1:], strict=True)])

    async def complete(self, url: str, body: dict[str, Any], ensure: Callable[[], Awaitable[None]]) -> Any:
        """A response. A server that was away is asked again, once `ensure` has seen to its weights."""
        return (await self._ask(url, "POST", "/v1/completions", body, ensure=ensure))["choices"][0]

    async def _ask(
        self,
        url: str,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        refused: str | None = None,
        ensure: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """A server's answer. It is asked again while it is away or fails, unless there is a hint for when it `refused`.

        Raises:
            RlsdError: (exit 3) it stayed away, or does not do what it is asked for.
        """
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                response = await self.http.request(method, url + path, json=body)
            except httpx.TransportError as error:
                failure = f"{type(error).__name__}: {error}".removesuffix(": ")
            else:
                if response.is_success:
                    self.away.discard(url)
                    return response.json()
                failure = _said(response)
                if response.status_code == httpx.codes.NOT_FOUND:
                    raise _unfit(url, f"does not know {path.partition('?')[0]}")
                if response.is_client_error or refused:
                    raise RlsdError(
                        f"the vLLM server {url} refuses {path}: {failure}", hint=refused, exit_code=EXIT_MACHINE
                    )
            if time.monotonic() > deadline:
                raise RlsdError(
                    f"the vLLM server {url} has not answered for {self.timeout:g} s ({failure})",
                    hint="start it again; the last step is saved and the same command continues",
                    exit_code=EXIT_MACHINE,
                )
            if url not in self.away:
                logging.warning("the vLLM server %s is away and is waited for: %s", url, failure)
            self.away.add(url)
            await asyncio.sleep(RETRY_SECONDS)
            if ensure:
                await ensure()


def _said(response: httpx.Response) -> str:
    """The message of an answer that is none."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _unfit(url: str, why: str) -> RlsdError:
    return RlsdError(
        f"the vLLM server {url} {why}",
        hint="start it with VLLM_SERVER_DEV_MODE=1 and `--logprobs-mode processed_logprobs`, see docs/scaling.md",
        exit_code=EXIT_MACHINE,
    )


def _write(weights: Weights, dtype: torch.dtype, folder: Path | None) -> None:
    """Go through all weights, and write them as a model directory has them if there is a folder."""
    part: dict[str, Tensor] = {}
    number = 0

    def close() -> None:
        nonlocal number
        if folder and part:
            save_file(part, folder / f"model-{number:05}.safetensors", metadata={"format": "pt"})
        number += 1
        part.clear()

    for name, value in weights:
        if folder:
            part[name] = value.to("cpu", dtype, copy=True).contiguous()
            if sum(tensor.nbytes for tensor in part.values()) > FILE_BYTES:
                close()
    close()


def _read(folder: Path) -> Weights:
    for file in sorted(folder.glob("*.safetensors")):
        yield from load_file(file).items()
