"""The same run in one process and in several."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.distributed.world import World
from tests.distributed import world_worker
from tests.forked import Command, together

SMALL = {
    "prompts_per_step": 3,
    "samples_per_prompt": 4,
    "evaluation.problems": 5,
    "steps": 2,
    "optim.lr": 1e-4,
    "optim.tokens_per_microbatch": 200,
    "dtype": "float32",
    "verification.workers": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "rlvr": {"method": "rlvr"},
    "rlsd": {"method": "rlsd", "rollout.refill": 2, "loss.reduction": "token_mean"},
    "opsd": {"method": "opsd"},
    "updates": {"method": "rlsd", "optim.updates_per_batch": 3},
    "sft": {"method": "sft"},
    "idle": {"method": "rlvr", "prompts_per_step": 1, "advantage.scale": "batch_std", "evaluation.problems": 1},
    "adapter": {"method": "rlsd", "adapter.rank": 4, "loss.kl_coef": 0.1},
}
WHOLE = dict.fromkeys(CASES, "whole")
SPLIT = {
    "rlvr": "sharded",
    "rlsd": "sharded",
    "opsd": "sharded",
    "updates": "offloaded",
    "sft": "sharded",
    "idle": "sharded",
    "adapter": "offloaded",
}
"""Where the weights of each case lie when they are split."""
MEASURED = ("seconds", "peak_memory_mb")


def launch(num_processes: int, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    return [*command, *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def results(num_processes: int, layouts: Mapping[str, str]) -> list[dict[str, Any]]:
    """What becomes of cases, each in its layout."""
    return two_steps(num_processes, [[SMALL, CASES[case] | {"optim.layout": at}] for case, at in layouts.items()])


def two_steps(num_processes: int, runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What `world_worker.py` says of runs: settings as far as they are read, and settings."""
    if num_processes == 1:
        return [world_worker.two_steps(*run, World()) for run in runs]
    commands = [
        Command([json.dumps(runs)], Path.cwd(), environment() | variables, main=world_worker.main)
        for variables in ranks(num_processes)
    ]
    written = together(commands, 280)
    assert all(command.returncode == 0 for command in commands), "".join(complaint for _, complaint in written)
    found: list[dict[str, Any]] = json.loads(written[0][0].splitlines()[-1])
    return found


def ranks(num_processes: int) -> list[dict[str, str]]:
    """What `torchrun` tells each of its processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    size = str(num_processes)
    world = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [world | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]


def close(one: Any, other: Any, what: str = "") -> None:
    """Numbers within 1e-5 of one another, all else equal."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), what
        for key, value in one.items():
            if not key.endswith(MEASURED):
                close(value, other[key], f"{what}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), what
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            close(a, b, f"{what}[{place}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5), what
    else:
        assert one == other, what


@pytest.fixture(scope="module")
def alone() -> list[dict[str, Any]]:
    return results(1, WHOLE)


@pytest.mark.parametrize(
    ("num_processes", "layouts"),
    [
        (2, WHOLE),
        (2, SPLIT),
        pytest.param(4, WHOLE, marks=pytest.mark.slow),
        pytest.param(4, SPLIT, marks=pytest.mark.slow),
        pytest.param(1, dict.fromkeys(CASES, "offloaded"), marks=pytest.mark.slow),
    ],
    ids=["2", "2-split", "4", "4-split", "1-offloaded"],
)
def test_every_method_does_the_same_in_several_processes(
    num_processes: int, layouts: Mapping[str, str], alone: list[dict[str, Any]]
) -> None:
    for case, one, other in zip(CASES, alone, results(num_processes, layouts), strict=True):
        assert len(other["weights"]) == num_processes
        assert len(set(other["weights"])) == 1, case
        assert sum(row["credit"] is not None or case in ("opsd", "sft") for row in other["rollouts"]) > 0
        close(one | {"weights": one["weights"][0]}, other | {"weights": other["weights"][0]}, case)


def test_items_are_dealt_out_and_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(range(7))
    worlds = [World(rank, 3) for rank in range(3)]
    assert [world.local(items) for world in worlds] == [[0, 3, 6], [1, 4], [2, 5]]
    assert World().all_items([]) == []
    monkeypatch.setattr(World, "all_gather", lambda *_: [world.local(items) for world in worlds])
    assert worlds[0].all_items([0, 3, 6]) == items


def run_rlsd(num_processes: int, root: Path, *arguments: str) -> "subprocess.Popen[str]":
    module = ["-m", "rlsd_cli", "--root", str(root), "train", "quickstart", "--json"]
    settings = [f"{key}={value}" for key, value in (SMALL | {"steps": 4, "checkpoint.every": 1}).items()]
    command = launch(num_processes, *module, *settings, *arguments) if num_processes > 1 else [sys.executable, *module]
    command += [] if num_processes > 1 else [*settings, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def losses(root: Path) -> list[float]:
    lines = (root / "latest" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def wait_for(ready: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if ready():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("nothing happened")


def checkpoints(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("latest/checkpoints/[0-9]*/trainer_state"))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("layout", ["whole", "sharded"])
def test_a_run_continues_in_another_number_of_processes(before: int, after: int, layout: str, tmp_path: Path) -> None:
    same = f"optim.layout={layout}"
    whole = run_rlsd(1, tmp_path / "whole", same)
    assert whole.wait(120) == 0, whole.communicate()
    root = tmp_path / "cut"
    first = run_rlsd(before, root, same)
    wait_for(lambda: bool(checkpoints(root)), first)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode != 0
    second = run_rlsd(after, root, same)
    said, complaint = second.communicate(timeout=120)
    assert second.returncode == 0, complaint
    assert json.loads(said)["status"] == "done"
    assert losses(root) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert len(list(root.glob("quickstart*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["whole", "sharded"])
def test_a_process_that_is_killed_ends_all_and_the_run_continues(layout: str, tmp_path: Path) -> None:
    settings = ["steps=60", f"optim.layout={layout}"]
    first = run_rlsd(2, tmp_path, *settings)
    wait_for(lambda: bool(checkpoints(tmp_path)), first)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    first.communicate(timeout=60)
    assert first.returncode != 0
    status = json.loads((tmp_path / "latest" / "status.json").read_text())
    assert status["status"] in ("failed", "interrupted", "running")
    second = run_rlsd(1, tmp_path, *settings)
    wait_for(lambda: int(checkpoints(tmp_path)[-1]) > status["step"], second)
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=60)
    assert len(losses(tmp_path)) > status["step"]


def test_what_a_process_finds_wrong_ends_all(tmp_path: Path) -> None:
    arguments = ["train", "quickstart", "data=arithmetic:count=400", "teacher.max_prompt_tokens=1"]
    commands = [Command(arguments, tmp_path, environment() | variables) for variables in ranks(2)]
    written = together(commands, 120)
    assert all(command.returncode for command in commands)
    assert any("training problems are too long: the teacher prompt of `" in complaint for _, complaint in written)
