"""The folder of a run: made at once, locked while in use, readable anywhere.

config.toml        complete: `rlsd train runs/NAME/config.toml`
command.txt        as typed, and where
environment.json   versions, machine, commit
data.json          how many problems, and what they hash to
inputs.json        what its data files, the sources of its verifier and rewards, and its model hash to
plan.json          how the model is run on this machine: types, packing, compiled layers, micro-batches
code.patch         uncommitted changes of the working directory, if it is a repository
status.json        created | running | interrupted | done | failed, and the result
metrics.jsonl      one object a step
rollouts/          000010.jsonl.gz: every rollout of a step
evals/             SUITE/000020/samples.jsonl, summary.json
checkpoints/       000020/: a model directory, with the trainer's state
logs/
"""

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from rlsd_cli import __version__
from rlsd_cli.config.resolve import LOCATIONS, Layer, Resolved, merge, read_toml, to_toml
from rlsd_cli.config.schema import PLACES, Config
from rlsd_cli.errors import EXIT_BUSY, RlsdError, did_you_mean
from rlsd_cli.runs.inputs import Input, Inputs, changes
from rlsd_cli.runs.records import RolloutRecord, read_record

STALE_SECONDS = 600.0
COPY_AGAIN = "copy the run again from where it was made"
TRAINER_STATE = "trainer_state"
"""The file of a checkpoint that is written last."""
PACKAGES = ("torch", "transformers", "tokenizers", "pydantic", "typer", "sympy", "math-verify", "vllm")


class RunDir(NamedTuple):
    """Paths and files of one run."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def config(self) -> Config:
        """The config; raises RlsdError for one that this version cannot read."""
        return merge([read_toml(self.path / "config.toml", f"run {self.name}")], Layer("", {})).config

    def extend(self, config: Config) -> None:
        """Let a run have the steps of a config, which is otherwise its own."""
        write_text(self.path / "config.toml", to_toml(config))

    def status(self) -> dict[str, Any]:
        return read_json(self.path / "status.json")

    def set_status(self, **values: Any) -> None:
        """Merge values into status.json, with a heartbeat; readers never see half a file."""
        known = self.status() if (self.path / "status.json").is_file() else {}
        here = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
        write_json(self.path / "status.json", known | values | here)

    def pin_data(self, data: Mapping[str, Any]) -> None:
        """Keep digests of the problems of the run; raises RlsdError if they were others when it began."""
        known = self.data()
        if known is None:
            write_json(self.path / "data.json", data)
            return
        for name in (name for name in data if known.get(name) != data[name]):
            was, now = (each[name]["problems"] for each in (known, data))
            raise RlsdError(
                f"{self.path} began with other {name.replace('_', '-')} problems ({was:,} then, {now:,} now)",
                hint="put the data back, or start another attempt beside it with `--again`",
                exit_code=EXIT_BUSY,
            )

    def data(self) -> dict[str, Any] | None:
        """How many problems each split had, and what they hashed to; None before the run began."""
        return self._read("data.json")

    def pin_inputs(self, inputs: Inputs, keys: Sequence[str]) -> None:
        """Keep digests of the inputs of the run; raises RlsdError if one under these keys was another when it began."""
        known = self.inputs()
        if not known:
            write_json(self.path / "inputs.json", {key: value._asdict() for key, value in inputs.items()})
        elif found := changes(known, inputs, keys):
            raise RlsdError(
                "\n".join(f"{self.path}: {change.in_words()}" for change in found),
                hint="put it back, or start another attempt beside it with `--again`",
                exit_code=EXIT_BUSY,
            )

    def inputs(self) -> dict[str, Input]:
        """What the run was made from when it began; empty for one of a version that did not keep it."""
        return {key: Input(**value) for key, value in (self._read("inputs.json") or {}).items()}

    def plan(self) -> dict[str, Any] | None:
        """The plan of the run: types, packing, micro-batches; None before it began."""
        return self._read("plan.json")

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return read_json(path) if path.is_file() else None

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        write_json(self.path / "plan.json", plan)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Every step's line; one that a dying process left unfinished is not a line."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        return [json.loads(line) for line in lines]

    def forget_after(self, step: int) -> None:
        """Drop what was recorded after `step`, which is about to be done again."""
        kept = [row for row in self.metrics() if row["step"] <= step]
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
        for path in [*self.path.glob("rollouts/*.jsonl.gz"), *self.path.glob("evals/*/*")]:
            if (stem := path.name.split(".")[0]).isdigit() and int(stem) > step:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def rollouts_file(self, step: int) -> Path:
        """Where the rollouts of a step are."""
        return self.path / "rollouts" / f"{step:06d}.jsonl.gz"

    def write_rollouts(self, step: int, records: Sequence[RolloutRecord]) -> str:
        """Write the rollouts of a step, and return the SHA-256 of their lines, by which they are known again."""
        lines = "".join(json.dumps(record.row()) + "\n" for record in records).encode()
        path = self.rollouts_file(step)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(lines, compresslevel=3, mtime=0))
        return hashlib.sha256(lines).hexdigest()

    def rollouts(self, step: int) -> list[RolloutRecord]:
        """The rollouts of a step, as they were written.

        Raises:
            RlsdError: there are none, they cannot be read, or they are others than the step's metrics say.
        """
        path = self.rollouts_file(step)
        known = next((row.get("rollouts_sha256") for row in self.metrics() if row["step"] == step), None)
        try:
            lines = gzip.decompress(path.read_bytes())
            records = [read_record(json.loads(line)) for line in lines.splitlines()]
        except FileNotFoundError as error:
            raise RlsdError(f"{self.path} has no rollouts of step {step}", hint=f"{path} is not there") from error
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise RlsdError(
                f"{path} cannot be read: {error}", hint="copy the run again from where it was made"
            ) from error
        if known != hashlib.sha256(lines).hexdigest():
            raise RlsdError(
                f"{path} is not what the run wrote: its lines do not have the SHA-256 that metrics.jsonl holds",
                hint=COPY_AGAIN,
            )
        return records

    def evaluation_dir(self, suite: str, step: int) -> Path:
        """Where an evaluation made after a step is or will be (0: before training)."""
        return self.path / "evals" / suite / f"{step:06d}"

    def write_evaluation(self, suite: str, step: int, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        write_evaluation(self.evaluation_dir(suite, step), rows, summary)

    def has_evaluation(self, suite: str, step: int) -> bool:
        return (self.evaluation_dir(suite, step) / "summary.json").is_file()

    def evaluation(self, suite: str, step: int) -> dict[str, Any]:
        """The summary of an evaluation made after a step."""
        return read_json(self.evaluation_dir(suite, step) / "summary.json")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run; raises RlsdError (exit 4) while another process does."""
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise self._busy() from error
            status = self.status()
            elsewhere = status.get("host") not in (None, socket.gethostname())
            if elsewhere and status["status"] == "running" and time.time() - status["heartbeat"] < STALE_SECONDS:
                raise self._busy()
            yield

    def _busy(self) -> RlsdError:
        status = self.status()
        return RlsdError(
            f"{self.path} is in use by process {status['pid']} on {status['host']}, at step {status['step']}",
            hint="wait for it, or start another attempt beside it with `--again`",
            exit_code=EXIT_BUSY,
        )


def run_name(resolved: Resolved) -> str:
    """Preset, method, what was overridden, seed, and four hex digits of the config's hash."""
    config = resolved.config
    method = [] if config.method in resolved.base.split("-") else [config.method]
    identity = f"s{config.seed}-{config.digest()[:4]}"
    if re.search(rf"-{re.escape(identity)}(-\d+)?$", resolved.base):  # the config.toml of a run, unchanged
        return resolved.base
    unnamed = {"seed", "method", *PLACES, *(["steps"] if config.can_be_extended else [])}
    changed = [_slug(key, value) for key, value in resolved.changed.items() if key not in unnamed]
    return "-".join([resolved.base, *method, *changed, identity])


def _slug(key: str, value: Any) -> str:
    """A changed value in a run's name: `lr2e-06`, `datatrain`; the hash tells apart what is cut off."""
    text = Path(str(value)).stem if key in LOCATIONS else str(value)
    return re.sub(r"[^A-Za-z0-9.+_]+", "_", re.split("[.:]", key)[-1] + text)[:24]


def find_run(root: Path, resolved: Resolved, *, again: bool) -> RunDir:
    """Where the run of a config is or will be; with `again`, a new place beside it."""
    _refuse_more_steps(root, resolved)
    name = run_name(resolved)
    run = RunDir(root / name)
    attempt = 1
    while again and run.path.exists():
        attempt += 1
        run = RunDir(root / f"{name}-{attempt}")
    if run.path.exists() and not (run.path / "config.toml").is_file():
        raise RlsdError(f"{run.path} is not a run", hint="move it away, or use another `--root`", exit_code=EXIT_BUSY)
    if run.path.exists() and run.config().identity() != resolved.config.identity():
        raise RlsdError(
            f"{run.path} holds a run of another config",
            hint="start another attempt beside it with `--again`, or use another `--root`",
            exit_code=EXIT_BUSY,
        )
    return run


def _refuse_more_steps(root: Path, resolved: Resolved) -> None:
    """Refuse to extend a run whose steps depend on how many there are.

    Raises:
        RlsdError: the config is that of a run but for its steps, and its learning rate follows them.
    """
    run, config = RunDir(root / resolved.base), resolved.config
    if set(resolved.changed) != {"steps"} or config.can_be_extended or not (run.path / "config.toml").is_file():
        return
    raise RlsdError(
        f"{run.path} cannot have {config.steps} steps: its learning rate follows its {run.config().steps} "
        f"(`optim.schedule={config.optim.schedule}`)",
        hint=f"only `optim.schedule=constant` can be extended; `model={run.name}` begins another run where it ended",
        exit_code=EXIT_BUSY,
    )


def create(run: RunDir, resolved: Resolved) -> None:
    """Make the folder with everything that describes the run; whole or not at all, and only once."""
    run.path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{run.name}-", dir=run.path.parent))
    draft.chmod(0o755)
    try:
        (draft / "logs").mkdir()
        write_text(draft / "config.toml", to_toml(resolved.config))
        write_text(draft / "command.txt", f"{shlex.join(['rlsd', *sys.argv[1:]])}\n{Path.cwd()}\n")
        write_json(draft / "environment.json", environment(resolved.config))
        if patch := _git("diff", "HEAD"):
            write_text(draft / "code.patch", patch)
        RunDir(draft).set_status(status="created", run=str(run.path), method=resolved.config.method, step=0)
        draft.rename(run.path)
    except OSError as error:
        if run.path.exists():
            raise RlsdError(f"{run.path} was made by another process", exit_code=EXIT_BUSY) from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def point_latest(run: RunDir) -> None:
    """Let `latest` in the root point at a run."""
    link = run.path.parent / "latest"
    draft = run.path.parent / f".latest-{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(run.name)
    draft.replace(link)


def newest_checkpoint(run: RunDir) -> Path | None:
    """The last whole checkpoint of a run."""
    found = sorted(path.parent for path in run.checkpoints.glob(f"[0-9]*/{TRAINER_STATE}"))
    return found[-1] if found else None


def newest_finished(root: Path) -> RunDir | None:
    """The run under a root that finished last."""
    done = [(status["heartbeat"], run) for run in list_runs(root) if (status := run.status())["status"] == "done"]
    return max(done, key=lambda pair: pair[0])[1] if done else None


def named_run(name: Path, root: Path) -> RunDir:
    """The run at a path, or of a name under a root; raises RlsdError where there is none."""
    for path in (name, root / name):
        if (path / "status.json").is_file():
            return RunDir(path.resolve())
    runs = [run.name for run in list_runs(root)]
    hint = did_you_mean(str(name), runs) or f"runs are looked for under {root}"
    raise RlsdError(f"no run named `{name}`", hint=hint)


def list_runs(root: Path) -> list[RunDir]:
    found = sorted(path.parent for path in root.glob("*/status.json")) if root.is_dir() else []
    return [RunDir(path) for path in found if not path.is_symlink() and not path.name.startswith(".")]


def environment(config: Config) -> dict[str, Any]:
    """Versions, machine and commit: what the result may depend on besides the config."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "rlsd": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "commit": (_git("rev-parse", "HEAD") or "").strip() or None,
        "dirty": bool(_git("status", "--porcelain")),
        "seed": config.seed,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def model_dir(root: Path, model: str, digest: str | None) -> Path:
    """The folder under a root for what belongs to a model and to no run: its name, and hex digits of its digest."""
    folder = Path(model).expanduser()
    name = folder.resolve().name if folder.is_dir() else model.replace("/", "--")
    known = [digest.split()[-1][:8]] if digest else []
    return root / "models" / "-".join([re.sub(r"[^A-Za-z0-9.+_-]+", "_", name), *known])


def write_evaluation(folder: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / "summary.json", summary)


def write_text(path: Path, text: str) -> None:
    """Replace a file at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object that `write_json` wrote."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")
