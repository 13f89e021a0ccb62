"""What a program in a jail cannot do, at every level that can be had here, for root and for an ordinary user."""

import functools
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_sandbox import Level, RefusedError, Sandbox, SandboxError, Settings

HERE = Path(__file__).resolve().parent
SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY_USER = 12345
LEVELS = [Level.NAMESPACES, Level.BUBBLEWRAP, Level.LANDLOCK]

_found = importlib.util.spec_from_file_location("sandbox_probes", HERE / "probes.py")
assert _found
assert _found.loader
probes = importlib.util.module_from_spec(_found)
_found.loader.exec_module(probes)

IN_NAMESPACES_ONLY = {
    "no device",
    "no way to be root",
    "no interface but its own",
    "a process namespace of its own",
    "a host name of its own",
}
"""What Landlock alone cannot do."""


@pytest.fixture(scope="module")
def readable_by_all() -> Iterator[Path]:
    """A copy of the package that an ordinary user can read, and a file that programs shall not see."""
    with tempfile.TemporaryDirectory(prefix="rlsd-walls-") as name:
        folder = Path(name)
        shutil.copytree(
            Path(sys.modules["rlsd_sandbox"].__file__ or "").parent,
            folder / "rlsd_sandbox",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(HERE / "probes.py", folder)
        for user in (os.getuid(), ORDINARY_USER):
            hidden = folder / f"hidden-{user}"
            hidden.mkdir()
            (hidden / "secret").write_text("secret")
            hidden.chmod(0o777)
        folder.chmod(0o755)
        yield folder


def hidden(folder: Path, user: int) -> list[str]:
    """Files and folders of this machine that the user may read and a program may not."""
    home = Path.home()
    own = [path for path in home.glob("*") if not path.is_symlink() and not sys.base_prefix.startswith(str(path))]
    places = [
        folder / f"hidden-{user}" / "secret",
        folder / f"hidden-{user}",
        HERE,
        *HERE.parents[1].glob("*.toml"),
        *own[:5],
    ]
    system = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/ssl", "/var/log", "/sys/fs/cgroup", "/run"]
    return [*map(str, places), *filter(os.path.lexists, system)]


@functools.cache
def results(folder: Path, level: Level, user: int) -> dict[str, Any]:
    """What every probe found; the same for all tests of one level and user."""
    other = {} if user == os.getuid() else {"user": user, "group": user, "extra_groups": []}
    python = sys.executable if user == os.getuid() else SYSTEM_PYTHON
    done = subprocess.run(
        [python, str(folder / "probes.py"), str(folder), level, *hidden(folder, user)],
        capture_output=True,
        cwd="/",
        timeout=120,
        env={"PATH": os.environ["PATH"]},
        check=False,
        **other,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def has_system_python() -> bool:
    script = "import sys; sys.exit(sys.version_info < (3, 11))"
    return Path(SYSTEM_PYTHON).exists() and subprocess.run([SYSTEM_PYTHON, "-c", script], check=False).returncode == 0


@pytest.fixture(params=["this user", "an ordinary user"], scope="module")
def user(request: pytest.FixtureRequest) -> int:
    if request.param == "this user":
        return os.getuid()
    if os.getuid() != 0 or not has_system_python():
        pytest.skip("it takes root and a Python that everyone can read to be another user")
    return ORDINARY_USER


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system calls have other numbers here")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("wall", probes.PROBES)
def test_a_program_gets_nowhere(readable_by_all: Path, level: Level, user: int, wall: str) -> None:
    found = results(readable_by_all, level, user)
    if "refused" in found:
        pytest.skip(found["refused"])
    if level is Level.LANDLOCK and wall in IN_NAMESPACES_ONLY:
        pytest.skip("Landlock alone cannot do that")
    assert found["user"] == user
    assert found["probes"][wall] == "held"


@pytest.mark.parametrize("level", LEVELS)
def test_the_name_says_which_walls_there_are(readable_by_all: Path, level: Level, user: int) -> None:
    found = results(readable_by_all, level, user)
    if "refused" in found:
        pytest.skip(found["refused"])
    walls = found["name"].split(", ")
    assert walls[0].startswith(level)
    assert {"seccomp", "rlimits"} <= set(walls)
    assert "UNSAFE" not in found["name"]


def test_the_zygote_is_still_the_same_after_programs_have_tried_to_end_it() -> None:
    """At every level: were it another one, the run before would have been an error."""
    for level in LEVELS:
        with Sandbox(Settings(level=level)) as sandbox:
            try:
                sandbox.start()
            except RefusedError:
                continue
            who = b"import os; print(os.getppid())"
            before = sandbox.execute("script", who, seconds=5).stdout
            attack = b"import os\nfor n in range(1, 65):\n    try: os.kill(os.getppid(), n)\n    except OSError: pass"
            assert sandbox.execute("script", attack, seconds=5).status == 0
            assert sandbox.execute("script", who, seconds=5).stdout == before


# -- what cannot be had ------------------------------------------------------------------------------------------------


def test_automatic_takes_the_strongest_level_that_can_be_had() -> None:
    for level in LEVELS:
        with Sandbox(Settings(level=level)) as sandbox:
            try:
                sandbox.start()
            except RefusedError:
                continue
        break
    else:
        pytest.skip("no jail can be had here")
    with Sandbox() as sandbox:
        sandbox.start()
        assert sandbox.level is level


def test_no_jail_is_refused_unless_it_is_allowed_to_be_unsafe() -> None:
    with Sandbox(Settings(level="none")) as sandbox, pytest.raises(RefusedError):
        sandbox.start()
    with Sandbox(Settings(level="none")) as sandbox, pytest.raises(SandboxError):
        sandbox.execute("script", b"print(1)", seconds=5)


def test_without_a_jail_the_name_says_unsafe_and_harmless_programs_run() -> None:
    with Sandbox(Settings(level="none", allow_unsafe=True)) as sandbox:
        assert sandbox.execute("script", b"print(1)", seconds=5).stdout == b"1\n"
        assert sandbox.level is Level.NONE
        assert sandbox.name.startswith("UNSAFE")


def test_to_allow_the_unsafe_does_not_weaken_a_jail_that_can_be_had() -> None:
    with Sandbox(Settings(allow_unsafe=True)) as sandbox, Sandbox() as usual:
        try:
            usual.start()
        except RefusedError:
            pytest.skip("no jail can be had here")
        sandbox.start()
        assert sandbox.name == usual.name


def test_a_module_that_is_not_installed_is_refused_by_name() -> None:
    with Sandbox(Settings(imports=("no_such_module_here",))) as sandbox:
        for _ in range(2):
            with pytest.raises(RefusedError, match="no_such_module_here"):
                sandbox.start()


WITHOUT_NAMESPACES = """
import sys
sys.path.insert(0, sys.argv[1])
from rlsd_sandbox import RefusedError, Sandbox, Settings
unsafe = Settings(level="namespaces", allow_unsafe=True)
for given in (Settings(level="namespaces"), Settings(level="bubblewrap"), unsafe):
    try:
        Sandbox(given).start()
    except RefusedError as error:
        print("refused", given.level in str(error))
    else:
        print("started")
with Sandbox(Settings()) as sandbox:
    try:
        sandbox.start()
    except RefusedError as error:
        print("refused", all(level in str(error) for level in ("namespaces", "bubblewrap", "landlock")))
    else:
        print(sandbox.level)
"""


def test_where_no_namespace_can_be_made_the_levels_that_need_one_are_refused(readable_by_all: Path) -> None:
    script = f'echo 0 > /proc/sys/user/max_user_namespaces && exec "{sys.executable}" -c "$1" "$2"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        script,
        "sh",
        WITHOUT_NAMESPACES,
        str(readable_by_all),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare`")
    if done.returncode and not done.stdout:
        pytest.skip(f"namespaces cannot be forbidden here: {done.stderr}")
    assert done.stdout.splitlines()[:3] == ["refused True"] * 3
    assert done.stdout.splitlines()[3] in ("landlock", "refused True")
