"""A real vLLM server on this machine, for tests."""

import contextlib
import copy
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from safetensors.torch import save_file

from rlsd_cli.policy.adapter import merged_weights
from rlsd_cli.policy.model import Policy

STARTS_WITHIN = 180.0


class Server:
    """A server's process, which can be stopped and started again at the same address."""

    def __init__(self, folder: Path, logprobs_mode: str = "processed_logprobs") -> None:
        self.folder, self.logprobs_mode = folder, logprobs_mode
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        settings = {
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = f"{sys.executable} -m vllm.entrypoints.openai.api_server --model {self.folder} --host 127.0.0.1"
        command += f" --port {self.port} --dtype float32 --enforce-eager --max-num-seqs 16"
        command += f" --logprobs-mode {self.logprobs_mode}"
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command.split(), env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health").is_success:
                    return
            time.sleep(0.5)
        raise RuntimeError((self.folder / "server.log").read_text()[-3000:])

    def stop(self) -> None:
        """At once, with all it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


@contextlib.contextmanager
def served(policy: Policy, folder: Path, **options: str) -> Iterator[Server]:
    """A server that is ready, of the policy's weights as they are now; of its head see `rollout.vllm_sampler`."""
    policy.save(folder)
    config = copy.deepcopy(policy.model.config)
    config.tie_word_embeddings = False
    config.save_pretrained(folder)
    save_file({name: value.clone() for name, value in merged_weights(policy.model)}, folder / "model.safetensors")
    server = Server(folder, **options)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()
