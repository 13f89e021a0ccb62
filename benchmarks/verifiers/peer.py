"""math-verify as the peer of the verifier benchmark: in processes of its own, at its defaults, killed if it hangs.

Run as a program it grades the lines it reads, `[gold, response, bare, options]`, and answers `[equal, seconds]`.
"""

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Self

KILL_SECONDS = 45.0
"""Longer than its own timeouts add up to in the worst case: 5 s for each parsing and for each comparison."""

PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime")


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


class Reply(NamedTuple):
    """What math-verify said; None if it had to be killed, or died."""

    equal: bool | None
    seconds: float


class Peer:
    """One process of math-verify, started when needed and again after it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def grade(self, line: str) -> Reply:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        started = time.perf_counter()
        answer = ""
        with suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], KILL_SECONDS)
            answer = process.stdout.readline() if ready else ""
        if not answer:
            self.close()
            return Reply(None, time.perf_counter() - started)
        return Reply(*json.loads(answer))

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def grader() -> Callable[[str], tuple[bool, float]]:
    """Imports math-verify; gives a function from a line to whether it calls the pair equal, and the seconds it took."""
    import logging

    from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    configs: dict[str, Any] = {
        "latex": LatexExtractionConfig(),
        "expr": ExprExtractionConfig(),
        "choice": StringExtractionConfig(),
    }

    def grade(line: str) -> tuple[bool, float]:
        gold, response, bare, options = json.loads(line)
        config = [configs[name] for name in options.pop("targets", ("latex", "expr"))]
        started = time.perf_counter()
        if bare:
            gold, response = f"\\boxed{{{gold}}}", f"\\boxed{{{response}}}"
        try:
            wanted = parse(gold, config) or parse(f"\\boxed{{{gold}}}")
            equal = verify(wanted, parse(response, config), **options)
        except Exception:
            equal = False
        return bool(equal), time.perf_counter() - started

    return grade


def main() -> None:
    grade = grader()
    for line in sys.stdin:
        print(json.dumps(grade(line)), flush=True)


if __name__ == "__main__":
    main()
