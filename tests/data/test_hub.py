"""Data sets of the hub, from a hub on this machine that speaks as the real one does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("datasets") is None, reason="the package datasets is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "train.jsonl": b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(20)),
    "test.jsonl": b'{"question": "What is 7 + 1?", "answer": "8"}\n',
}


class Hub(BaseHTTPRequestHandler):
    """The few answers that `huggingface_hub` and `datasets` need about one data set, `owner/sums`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith(("/api/datasets/owner/sums/tree/", f"/api/datasets/owner/sums/revision/{COMMIT}/tree")):
            self._json([{"type": "file", "path": n, "size": len(data), "oid": "0" * 40} for n, data in FILES.items()])
        elif path in (
            "/api/datasets/owner/sums",
            *(f"/api/datasets/owner/sums/revision/{r}" for r in (COMMIT, "main")),
        ):
            self._json({"id": "owner/sums", "sha": COMMIT, "tags": [], "siblings": [{"rfilename": n} for n in FILES]})
        elif path == f"/datasets/owner/sums/resolve/{COMMIT}/{name}" and name in FILES:
            self._send(200, FILES[name], {"ETag": f'"{"0" * 40}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        elif path.startswith("/api/datasets/owner/sums/revision/"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/datasets/"):
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET  # noqa: N815

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def rlsd(hub: ThreadingHTTPServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
        "no_proxy": "*",
    }
    return subprocess.run(
        [sys.executable, "-m", "rlsd_cli", "data", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_data_set_of_the_hub_is_prepared_and_pinned_to_its_commit(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    done = rlsd(hub, tmp_path, "prepare", "owner/sums", "--against", "owner/sums:split=test", "--revision", "main")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "data/owner-sums/manifest.json").read_text(encoding="utf-8"))
    assert manifest["request"]["sources"] == [
        {"split": "train", "name": "owner/sums", "subset": None, "hub_split": "train", "revision": COMMIT},
        {"use": "overlap", "name": "owner/sums", "subset": None, "hub_split": "test", "revision": COMMIT},
    ]
    assert manifest["splits"]["train"]["rows"] == 20
    overlap = (tmp_path / "data/owner-sums/overlap.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert "owner/sums/train: row 7\towner/sums:split=test\t" in overlap[7]
    assert "\texact\t" in overlap[7]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("owner/sums:split=nope", "Available splits: ['train', 'test']"),
        ("owner/sums:nope", "Available: ['default']"),
        ("owner/none", "cannot load `owner/none` from the hub: there is no such data set, or it is private"),
        ("owner/sums:revision=nope", "cannot load `owner/sums` from the hub: it has no such revision"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub: ThreadingHTTPServer, tmp_path: Path, source: str, words: str) -> None:
    done = rlsd(hub, tmp_path, "check", source)
    assert (done.returncode, words in done.stderr) == (3, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_that_cannot_be_reached_is_an_error_of_the_machine(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "rlsd_cli", "data", "check", "owner/sums"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "cannot load `owner/sums` from the hub" in done.stderr
    assert hub
