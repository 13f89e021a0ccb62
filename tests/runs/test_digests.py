"""Files as digests: any change that matters gives another, and nothing is loaded for it."""

import sys
from pathlib import Path

import pytest

from rlsd_cli.errors import RlsdError
from rlsd_cli.runs import digests
from rlsd_cli.runs.digests import file_digest, source_of, weights_digest


def test_of_large_weights_size_header_and_blocks_from_end_to_end_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MIB", 16)
    monkeypatch.setattr(digests, "HASHED_WHOLE_BYTES", 1000)
    header = 400
    content = bytearray(header.to_bytes(8, "little") + bytes(4000))
    path = tmp_path / "model.safetensors"

    def digest(*flipped: int, more: int = 0) -> str:
        changed = bytearray(content) + bytes(more)
        for place in flipped:
            changed[place] ^= 1
        path.write_bytes(changed)
        return weights_digest(path)

    blocks = [(len(content) - 16) * block // 7 for block in range(8)]
    places = [300, 8 + header - 1, *(start + 15 for start in blocks), len(content) - 1]
    found = {digest(), digest(more=1), *(digest(place) for place in places)}
    assert len(found) == 2 + len(set(places))
    assert digest(blocks[3] + 100) == digest()
    assert digest(0) != digest(), "a header that says another length"
    path.write_bytes(bytes(500))
    small = weights_digest(path)
    assert small == file_digest(path)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RlsdError, match=r"cannot read .*gone\.jsonl: No such file"):
        file_digest(tmp_path / "gone.jsonl")


def test_the_source_of_a_verifier_is_found_as_python_finds_it_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere, here / "package"):
        folder.mkdir()
    for path in (here / "mine.py", here / "package" / "__init__.py", here / "package" / "inner.py"):
        path.write_text("raise SystemExit('run')")
    for name in ("mine", "only", "inner"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(elsewhere)])
    assert source_of("mine") == here / "mine.py"
    assert source_of("only") == elsewhere / "only.py"
    assert source_of("package") == here / "package" / "__init__.py"
    assert source_of("package.inner") == here / "package" / "inner.py"
    for absent in ("nowhere", "mine.inner", "package.nowhere", "math"):
        assert source_of(absent) is None, absent
