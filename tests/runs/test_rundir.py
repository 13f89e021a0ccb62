import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.config.reads import reads
from rlsd_cli.config.resolve import read_toml, resolve
from rlsd_cli.config.schema import flatten
from rlsd_cli.errors import EXIT_BUSY, RlsdError
from rlsd_cli.methods.table import METHODS
from rlsd_cli.runs import rundir
from rlsd_cli.runs.rundir import (
    TRAINER_STATE,
    RunDir,
    create,
    find_run,
    list_runs,
    newest_checkpoint,
    newest_finished,
    point_latest,
    run_name,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def made(root: Path) -> Callable[..., RunDir]:
    """Makes the folder of a run."""

    def make(again: bool = False, **overrides: Any) -> RunDir:
        resolved = resolve([], overrides)
        run = find_run(root, resolved, again=again)
        create(run, resolved)
        return run

    return make


@contextmanager
def held_elsewhere(run: RunDir) -> Iterator[None]:
    """The run, locked by another process."""
    program = (
        "import sys; from pathlib import Path; from rlsd_cli.runs.rundir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield
        assert holder.stdin
        holder.stdin.close()


def exit_code(work: Callable[[], object]) -> int:
    with pytest.raises(RlsdError) as caught:
        work()
    return caught.value.exit_code


# -- making ---------------------------------------------------------------------------------------------------------


def test_a_new_run_holds_all_that_describes_it_and_nothing_else(made: Callable[..., RunDir], root: Path) -> None:
    run = made(seed=3)
    expected = {"config.toml", "command.txt", "environment.json", "status.json", "logs"}
    assert {path.name for path in run.path.iterdir()} == expected
    assert [path.name for path in root.iterdir()] == [run.name]
    status = run.status()
    assert (status["status"], status["step"], status["method"]) == ("created", 0, "rlsd")
    assert (status["run"], status["pid"], status["host"]) == (str(run.path), os.getpid(), socket.gethostname())


def test_making_a_run_fails_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    resolved = resolve([], {})
    run = find_run(root, resolved, again=False)
    monkeypatch.setattr(rundir, "write_json", full)
    with pytest.raises(OSError, match="no space left"):
        create(run, resolved)
    assert list(root.iterdir()) == []


def test_of_several_that_make_a_run_at_once_one_succeeds_and_the_others_exit_4(root: Path) -> None:
    resolved = resolve([], {})
    run = find_run(root, resolved, again=False)

    def attempt(_: int) -> int:
        try:
            create(run, resolved)
        except RlsdError as error:
            return error.exit_code
        return 0

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [0, EXIT_BUSY, EXIT_BUSY, EXIT_BUSY]
    assert [path.name for path in root.iterdir()] == [run.name]
    assert run.config() == resolved.config


def test_the_config_of_a_run_reproduces_its_digest(made: Callable[..., RunDir]) -> None:
    overrides = {"prompt.system": 'say "x"\n{y}', "optim.lr": 3e-7, "loss.dual_clip": 3.0, "rollout.dtype": "float32"}
    run, config = made(**overrides), resolve([], overrides).config
    assert run.config() == config
    assert run.config().digest() == config.digest()
    assert resolve([str(run.path / "config.toml")], {}).config.digest() == config.digest()


@pytest.mark.parametrize("method", METHODS)
def test_the_config_of_a_run_holds_exactly_the_keys_that_its_method_reads_and_is_the_same_run(
    method: str, made: Callable[..., RunDir]
) -> None:
    resolved = resolve([], {"method": method})
    run = made(method=method)
    written = read_toml(run.path / "config.toml", "run").values
    values = flatten(resolved.config)
    assert [key for key in written if not reads(METHODS[method], key)] == []
    assert [key for key, value in values.items() if value is not None and written.get(key) != value] == []
    again = resolve([str(run.path / "config.toml")], {})
    assert again.notes == ()
    assert again.config.identity() == resolved.config.identity()
    assert run_name(again) == run.name


# -- names ----------------------------------------------------------------------------------------------------------


def name(*targets: str, **overrides: Any) -> str:
    return run_name(resolve(targets, overrides))


def test_the_name_tells_preset_method_overrides_seed_and_hash() -> None:
    config = resolve([], {"seed": 4, "credit.mix": 0.25, "data": "some/where/my problems.jsonl"}).config
    assert name(seed=4, **{"credit.mix": 0.25, "data": "some/where/my problems.jsonl"}) == (
        f"quickstart-rlsd-mix0.25-datamy_problems-s4-{config.digest()[:4]}"
    )


def test_a_method_has_one_name_whether_the_preset_or_the_command_line_chose_it(tmp_path: Path) -> None:
    assert name(method="rlsd") == name()
    (tmp_path / "mine.toml").write_text('method = "rlvr"\n', encoding="utf-8")
    (tmp_path / "mine-rlvr.toml").write_text('method = "rlvr"\n', encoding="utf-8")
    assert name(str(tmp_path / "mine.toml"), method="rlvr") == name(str(tmp_path / "mine.toml"))
    assert name(str(tmp_path / "mine-rlvr.toml")) == name(str(tmp_path / "mine.toml"))
    assert name(method="rlvr") == f"quickstart-rlvr-s0-{resolve([], {'method': 'rlvr'}).config.digest()[:4]}"
    assert name(method="grpo") == name(method="rlvr")


def test_saying_what_holds_anyway_does_not_change_the_name() -> None:
    assert name(**{"credit.mix": 0.5, "optim.lr": 5e-5, "prompt.system": None}) == name()
    assert name(method="opsd", **{"teacher.view": "solution"}) == name(method="opsd")


def test_a_run_may_find_its_servers_elsewhere(made: Callable[..., RunDir]) -> None:
    vllm = {"rollout.engine": "vllm"}
    elsewhere = vllm | {"rollout.servers": ["http://node7:8000"], "rollout.weights_folder": "/shared"}
    assert name(**elsewhere) == name(**vllm) != name()
    run = made(**vllm)
    assert find_run(run.path.parent, resolve([], elsewhere), again=False).path == run.path


def test_different_configs_have_different_names_even_where_the_words_agree() -> None:
    names = [name(**{"prompt.system": text}) for text in ("a b", "a_b", "a" * 40, "a" * 41)]
    assert len(set(names)) == 4
    assert all("/" not in each and " " not in each for each in names)


def test_again_finds_the_first_free_place_beside_the_run(made: Callable[..., RunDir]) -> None:
    names = [made(again=True).name for _ in range(3)]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]


def test_the_place_of_a_run_is_its_own(made: Callable[..., RunDir], root: Path) -> None:
    run = made()
    assert find_run(root, resolve([], {}), again=False) == run
    (run.path / "config.toml").write_text("seed = 7\n", encoding="utf-8")
    assert exit_code(lambda: find_run(root, resolve([], {}), again=False)) == EXIT_BUSY
    assert find_run(root, resolve([], {}), again=True).name == f"{run.name}-2"


# -- locking --------------------------------------------------------------------------------------------------------


def test_a_run_held_by_another_process_cannot_be_held_until_it_lets_go(made: Callable[..., RunDir]) -> None:
    run = made()
    with held_elsewhere(run):
        assert exit_code(lambda: run.lock().__enter__()) == EXIT_BUSY
    with run.lock():
        pass


@pytest.mark.parametrize(
    ("status", "seconds_ago", "busy"),
    [("running", 1.0, True), ("running", rundir.STALE_SECONDS + 1, False), ("interrupted", 1.0, False)],
)
def test_a_live_heartbeat_from_another_machine_holds_a_run(
    status: str, seconds_ago: float, busy: bool, made: Callable[..., RunDir]
) -> None:
    run = made()
    run.set_status(status=status)
    elsewhere = {"host": "another-machine", "heartbeat": time.time() - seconds_ago}
    rundir.write_json(run.path / "status.json", run.status() | elsewhere)
    if busy:
        assert exit_code(lambda: run.lock().__enter__()) == EXIT_BUSY
    else:
        with run.lock():
            pass


# -- records --------------------------------------------------------------------------------------------------------


def test_only_what_came_after_a_step_is_forgotten(made: Callable[..., RunDir]) -> None:
    run = made()
    for step in range(1, 5):
        run.append_metrics({"step": step, "text": "\u2028"})
        run.write_rollouts(step, [])
        run.write_evaluation("suite", step, [{}], {"mean": step})
    run.write_evaluation("suite", 0, [{}], {"mean": 0})
    (run.checkpoints / "000004").mkdir(parents=True)
    run.forget_after(2)
    assert [row["step"] for row in run.metrics()] == [1, 2]
    assert sorted(path.name for path in run.path.glob("rollouts/*")) == ["000001.jsonl.gz", "000002.jsonl.gz"]
    assert [step for step in range(5) if run.has_evaluation("suite", step)] == [0, 1, 2]
    assert run.evaluation("suite", 2) == {"mean": 2}
    assert (run.checkpoints / "000004").is_dir()
    assert run.config() == resolve([], {}).config


def test_status_values_add_up_and_the_heart_beats(made: Callable[..., RunDir]) -> None:
    run = made()
    before = time.time()
    run.set_status(status="running", step=1)
    run.set_status(step=2)
    status = run.status()
    assert (status["status"], status["step"], status["method"]) == ("running", 2, "rlsd")
    assert before <= status["heartbeat"] <= time.time()


def test_the_newest_checkpoint_is_the_last_whole_one(made: Callable[..., RunDir]) -> None:
    run = made()
    for folder, files, newest in (
        (".000010-1", [TRAINER_STATE], None),
        ("000010", [TRAINER_STATE], "000010"),
        ("000020", [TRAINER_STATE], "000020"),
        ("000030", ["config.json"], "000020"),
    ):
        (run.checkpoints / folder).mkdir(parents=True)
        for file in files:
            (run.checkpoints / folder / file).touch()
        assert newest_checkpoint(run) == (run.checkpoints / newest if newest else None)


def test_latest_points_at_the_newest_run_and_is_not_a_run_of_its_own(made: Callable[..., RunDir], root: Path) -> None:
    first, second = made(), made(seed=1)
    for run in (first, second):
        point_latest(run)
        assert (root / "latest").resolve() == run.path
    (root / ".draft").mkdir()
    (root / ".draft" / "status.json").touch()
    assert list_runs(root) == sorted([first, second])
    assert list_runs(root / "missing") == []


def test_the_newest_finished_run_is_the_one_that_ended_last(made: Callable[..., RunDir], root: Path) -> None:
    assert newest_finished(root) is None
    runs = [made(seed=seed) for seed in range(3)]
    for run in (runs[1], runs[0]):
        run.set_status(status="done")
    runs[2].set_status(status="interrupted")
    assert newest_finished(root) == runs[0]


def test_an_unfinished_last_line_is_not_a_step(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.append_metrics({"step": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "rew')
    assert run.metrics() == [{"step": 1}]
    run.forget_after(1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    resolved = resolve(["quickstart"], {})
    (tmp_path / run_name(resolved)).mkdir()
    with pytest.raises(RlsdError, match="is not a run") as caught:
        find_run(tmp_path, resolved, again=False)
    assert caught.value.exit_code == 4


def test_the_config_of_a_run_names_that_run(tmp_path: Path) -> None:
    resolved = resolve(["quickstart"], {"steps": 7})
    run = find_run(tmp_path, resolved, again=False)
    create(run, resolved)
    again = resolve([str(run.path / "config.toml")], {})
    assert find_run(tmp_path, again, again=False) == run
    assert run_name(resolve([str(run.path / "config.toml")], {"steps": 8})) == run.name, "more of the same run"
    assert run_name(resolve([str(run.path / "config.toml")], {"prompts_per_step": 8})) != run.name


def test_a_run_is_continued_on_the_problems_it_was_begun_on_and_no_others(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    begun = {"train": {"problems": 1200, "sha256": "a"}, "held_out": {"problems": 7, "sha256": "b"}}
    run.pin_data(begun)
    run.pin_data(begun)
    with pytest.raises(RlsdError, match=r"other held-out problems \(7 then, 7 now\)") as caught:
        run.pin_data(begun | {"held_out": {"problems": 7, "sha256": "c"}})
    assert caught.value.exit_code == EXIT_BUSY
    with pytest.raises(RlsdError, match=r"other train problems \(1,200 then, 9 now\)"):
        run.pin_data(begun | {"train": {"problems": 9, "sha256": "a"}})
    assert json.loads((tmp_path / "data.json").read_text(encoding="utf-8")) == begun
