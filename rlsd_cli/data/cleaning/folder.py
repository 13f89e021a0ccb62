"""The folder of a preparation: made beside its place, put there when all is done, and known by its manifest."""

import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlsd_cli.data.inputs import sha256
from rlsd_cli.errors import EXIT_BUSY, EXIT_MACHINE, RlsdError

MANIFEST, REPORT, OVERLAP = "manifest.json", "report.jsonl", "overlap.tsv"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a preparation; None where there is none that one could have written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) and "request" in manifest
    return manifest if whole else None


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_bytes(text.encode(errors="backslashreplace"))


def problem_files(manifest: Mapping[str, Any]) -> list[str]:
    """The files of problems among those of a preparation."""
    return [name for name in manifest["files"] if name not in (REPORT, OVERLAP)]


def is_current(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """True where a folder holds the result of this request, unchanged."""
    manifest = read_manifest(folder)
    if manifest is None or manifest["request"] != wanted:
        return False
    return all(
        (folder / name).is_file() and file_facts(folder / name) == facts for name, facts in manifest["files"].items()
    )


def others_in(folder: Path) -> list[Path]:
    """What lies in a folder and is of no preparation."""
    manifest = read_manifest(folder)
    own = {MANIFEST, *manifest["files"]} if manifest else set()
    return sorted(path for path in folder.iterdir() if path.name not in own)


def file_facts(path: Path) -> dict[str, Any]:
    """Lines, bytes and checksum of a file."""
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    return {"lines": lines, "bytes": path.stat().st_size, "sha256": sha256(path)}


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which takes its place if nothing goes wrong."""
    draft, old = (folder.parent / f".{folder.name}.{os.getpid()}{suffix}" for suffix in ("", ".old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft.mkdir()
        before = _stamp(folder)
        try:
            yield draft
            if _stamp(folder) != before:
                raise RlsdError(f"{folder} was written by another process meanwhile", exit_code=EXIT_BUSY)
            if folder.exists():
                folder.rename(old)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise RlsdError(f"cannot write {folder}: {error.strerror or error}", exit_code=EXIT_MACHINE) from error


def _stamp(folder: Path) -> int | None:
    """When the manifest of a folder was written; None without one."""
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _sweep(folder: Path) -> None:
    """Remove what processes left beside a folder that were killed while they worked on it."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        owner = path.name.removeprefix(f".{folder.name}.").removesuffix(".old")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True)
