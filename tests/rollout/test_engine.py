import http.server
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.interrupts import Interrupted, Interrupts
from rlsd_cli.policy.model import load_policy
from rlsd_cli.rollout import vllm_servers
from rlsd_cli.rollout.canary import group_of
from rlsd_cli.rollout.engine import make_sampler
from rlsd_cli.rollout.hf_sampler import TransformersSampler
from rlsd_cli.rollout.sampler import Sampling


def test_the_config_chooses_the_engine(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(configure({"model": "quickstart-untrained"}))
    assert isinstance(make_sampler(policy, configure()), TransformersSampler)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RlsdError, match=r"needs the package `vllm`") as caught:
        make_sampler(policy, configure({"rollout.engine": "vllm"}))
    assert caught.value.exit_code == 3


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


def test_an_address_of_something_else_is_told_apart(configure: Callable[..., Config]) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}"
        config = configure({"model": "quickstart-untrained", "rollout.engine": "vllm", "rollout.servers": [url]})
        sampler = make_sampler(load_policy(config), config)
        with pytest.raises(RlsdError, match=f"{url} does not know /server_info") as caught:
            sampler.update_weights()
        web.shutdown()
    assert caught.value.exit_code == 3
    assert "VLLM_SERVER_DEV_MODE=1" in (caught.value.hint or "")


def test_a_server_that_is_not_there_is_waited_for_and_given_up(configure: Callable[..., Config]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    places = {"rollout.servers": [url], "rollout.server_timeout": 0.1}
    config = configure({"model": "quickstart-untrained", "rollout.engine": "vllm"} | places)
    with pytest.raises(RlsdError, match=r"has not answered for 0.1 s \(ConnectError") as caught:
        make_sampler(load_policy(config), config).update_weights()
    assert caught.value.exit_code == 3


def test_a_folder_for_weights_has_to_be_there(configure: Callable[..., Config], tmp_path: Path) -> None:
    places = {"rollout.servers": ["http://localhost:1"], "rollout.weights_folder": str(tmp_path / "none")}
    config = configure({"model": "quickstart-untrained", "rollout.engine": "vllm"} | places)
    with pytest.raises(RlsdError, match=r"`rollout.weights_folder` = .*none'"):
        make_sampler(load_policy(config), config).update_weights()


def test_weights_are_written_in_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_servers, "FILE_BYTES", 100)
    weights = {f"layers.{number}.weight": torch.full((10,), float(number)) for number in range(10)}
    vllm_servers._write(iter(weights.items()), torch.float32, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    read = dict(vllm_servers._read(tmp_path))
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_server(configure: Callable[..., Config], number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = configure({"model": "quickstart-untrained", "rollout.engine": "vllm", "rollout.servers": [url]})
        sampler = make_sampler(load_policy(config), config)
        timer = threading.Timer(0.5, os.kill, [os.getpid(), number])
        with Interrupts().installed():
            timer.start()
            with pytest.raises(Interrupted) as caught:
                sampler.sample([[1, 2]], ["a"], 4, Sampling(5), "seed")
    assert caught.value.exit_code == 128 + number
