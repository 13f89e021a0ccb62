"""The languages of programs.

Python runs as it is, in the interpreter that is already loaded. Any other language has a compiler, which runs in the
jail, reads the text and leaves an executable.
"""

import json
import shutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Language(NamedTuple):
    """A language of programs.

    tags: the words behind a fence that name it.
    compiler: the command of its compiler, to which the output file is appended.
    """

    name: str
    tags: frozenset[str]
    compiler: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """How the sandbox runs it."""
        return "binary" if self.compiler else "script"

    @property
    def is_installed(self) -> bool:
        return not self.compiler or shutil.which(self.compiler[0], path="/usr/local/bin:/usr/bin:/bin") is not None

    def compile_script(self) -> bytes:
        """A Python program that compiles its input to its output. Its exit status is the compiler's."""
        return _COMPILE.format(command=json.dumps([*self.compiler, "-o", "program", "-"])).encode()


_COMPILE = """
import subprocess, sys
done = subprocess.run({command})
if done.returncode == 0:
    with open("program", "rb") as file:
        sys.stdout.buffer.write(file.read())
sys.exit(done.returncode)
"""

PYTHON = Language("python", frozenset("python python3 py py3".split()))

LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "python": PYTHON,
        "cpp": Language("C++", frozenset("cpp c++ cc cxx".split()), ("g++", "-O2", "-std=c++17", "-x", "c++")),
    }
)
