"""`rlsd view` and `rlsd report` on real runs: tables, pages, and a browser where there is one."""

import base64
import gzip
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.errors import RlsdError
from rlsd_cli.report.filters import parse
from rlsd_cli.report.page import rollouts_data, rollouts_page
from rlsd_cli.report.rollouts import FIELDS, RECORDED, Shown, choose, shown_of
from rlsd_cli.report.screen import State, lines, pressed
from rlsd_cli.runs.rundir import RunDir, named_run
from tests.forked import rlsd

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return rlsd(*arguments, cwd=folder, environment={**os.environ, "COLUMNS": "120"})


@pytest.fixture(scope="module")
def latest(trained: Path) -> RunDir:
    return named_run(Path("latest"), trained / "runs")


@pytest.fixture(scope="module")
def shown(latest: RunDir) -> list[Shown]:
    return shown_of(latest, None)


def test_the_table_has_a_line_for_every_token_with_what_it_was_told(trained: Path, shown: list[Shown]) -> None:
    done = run(trained, "view", "latest", "--methods", "rlvr,opsd")
    assert done.returncode == 0, done.stderr
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header[-2:] == ["rlvr", "opsd"]
    assert len(rows) == sum(len(each.record.token_ids) for each in shown)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert {row["direction"] for row in table} <= {"up", "down", "neutral"}
    assert {row["direction"] for row in table} & {"up", "down"}
    for row in table:
        if float(row["rlvr"]):
            assert row["rlvr"] == row["advantage"], "GRPO tells every token the advantage"
            assert float(row["credit"]) == pytest.approx(float(row["weight"]) * float(row["advantage"]), abs=2e-3)
        if row["gap"] != "-":
            assert float(row["gap"]) == pytest.approx(float(row["teacher_logp"]) - float(row["logp"]), abs=2e-4)
    text = "".join(row["token"] for row in table[: len(shown[0].texts)])
    assert text == shown[0].record.response


def test_rollouts_are_filtered_sorted_and_one_object_each(trained: Path, shown: list[Shown]) -> None:
    done = run(trained, "view", "latest", "--where", 'outcome == "wrong"', "--sort", "tokens", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == sum(each.record.outcome == "wrong" for each in shown)
    lengths = [len(each["token_ids"]) for each in found]
    assert lengths == sorted(lengths, reverse=True)
    assert all("".join(each["tokens"]) == each["response"] for each in found)
    assert run(trained, "view", "latest", "--where", "outcom == 1").returncode == 2
    assert run(trained, "view", "latest", "--sort", "tokns").returncode == 2
    assert run(trained, "view", "latest", "--step", "9").returncode == 2
    assert run(trained, "view", "latest", "--methods", "rlsdd").returncode == 2


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("tokens < 150", True),
        ("not leaks and advantage <= -0.5", True),
        ("outcome in ['wrong', 'timeout'] or tokens > 9", True),
        ("1 < tokens < 5", False),
        ("score > 0.5", False),
        ("gap > 0", False),
    ],
)
def test_conditions_mean_what_they_say(text: str, holds: bool) -> None:
    fields = {**FIELDS, "tokens": 12, "leaks": False, "advantage": -0.5, "outcome": "wrong", "score": 0.0, "gap": None}
    assert parse(text, FIELDS)(fields) is holds


@pytest.mark.parametrize(
    "text", ["tokens <", "__import__('os')", "tokens.real > 1", "lambda: 1", "tokns > 1", "(x := 1)", "tokens ** 9"]
)
def test_what_is_no_condition_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(RlsdError, match="is no condition"):
        parse(text, FIELDS)


def test_keys_move_through_the_screen(shown: list[Shown]) -> None:
    state: State | None = State(shown, [RECORDED, "rlvr"], "a-run")
    assert state is not None
    assert f"[1 of {len(shown)}]" in lines(state, 60, 20, colour=False)[0]
    for key, words in (("n", "[2 of"), ("G", f"[{len(shown)} of"), ("g", "[1 of"), ("s", "by credit"), ("p", "[1 of")):
        state = pressed(state, key)
        assert state is not None
        assert words in lines(state, 60, 20, colour=False)[0]
    assert "method rlvr" in lines(pressed(state, "m") or state, 60, 20, colour=False)[2]
    assert "colour gap" in lines(pressed(state, "c") or state, 60, 20, colour=False)[2]
    assert "keys:" in lines(pressed(state, "?") or state, 60, 20, colour=False)[-1]
    assert pressed(state, "q") is None
    screen = lines(state, 60, 20, colour=False)
    assert len(screen) <= 20
    assert not any("\x1b" in line or len(line) > 60 for line in screen)
    assert "\x1b[" in "".join(lines(state, 60, 20, colour=True))
    nothing = State(shown, [RECORDED], "a-run", where="tokens > 9999")
    assert "no rollout" in lines(nothing, 60, 20, colour=False)[0]
    credits = [each.fields()["credit"] for each in choose(shown, None, "credit", reverse=True)]
    assert credits == sorted(credits)


@pytest.fixture(scope="module")
def reported(trained: Path) -> Path:
    done = run(
        trained,
        "report",
        "quickstart-rlvr-*",
        "quickstart-rlsd-*",
        "--step",
        "1",
        "--methods",
        "rlvr,opsd,fipo,sft",
        "--alternatives",
        "3",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report.html\n"
    return trained / "report.html"


def unpacked(page: str, name: str) -> Any:
    found = re.search(rf'id="chunk-{name}">([^<]*)<', page)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_the_page_has_everything_in_it_and_its_twin_the_same_numbers(reported: Path) -> None:
    page = reported.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", page), "nothing is fetched"
    twin = json.loads(reported.with_suffix(".json").read_text())
    assert twin["verdict"][0].startswith("rlsd ")
    assert [arm["name"] for arm in twin["arms"]] == ["rlvr", "rlsd"]
    assert {chart["key"] for chart in twin["curves"]} >= {"accuracy", "reward_mean", "entropy"}
    assert ["method", "'rlvr'", "'rlsd'"] in twin["differences"]["rows"]
    assert len(twin["runs"]) == 4
    assert len(twin["not_significant"]) + sum(
        line["verdict"] != "not distinguishable" for each in twin["comparisons"] for line in each["metrics"]
    ) == sum(len(each["metrics"]) for each in twin["comparisons"])
    assert "worked" in twin["rollouts"]["skipped"]["sft"] or "responses" in twin["rollouts"]["skipped"]["sft"]
    rollouts = [
        each for name in re.findall(r'id="chunk-(group-\d+)"', page) for each in unpacked(page, name)["rollouts"]
    ]
    assert any({"recorded", "rlvr", "fipo"} <= set(each["credit"]) for each in rollouts)
    assert all(len(row) == 3 for each in rollouts for row in each["alternatives"])
    assert len(unpacked(page, "problems")) == len(twin["problems"]["rows"])


def test_text_of_a_model_is_text_on_the_page(latest: RunDir, shown: list[Shown]) -> None:
    evil = "</script><script>alert(1)</script>"
    record = shown[0].record._replace(problem_id=evil, extracted=evil)
    page = rollouts_page(latest, [shown[0]._replace(record=record)], [], {})
    assert evil not in page


def test_what_cannot_be_written_is_said(trained: Path) -> None:
    done = run(trained, "report", "latest", "-o", "runs/latest/config.toml/report.html")
    assert done.returncode == 3
    assert "error: cannot write" in done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_the_report_in_a_browser(width: int, scheme: str, reported: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(reported.as_uri())
    page.wait_for_selector("[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is wider than the window"
    assert page.locator("figure svg path").count() > 4
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    page.get_by_role("button", name="group 0, 1", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".card.chosen .tokens:focus")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "place1" in page.locator(".about").inner_text().replace("\n", "").replace(" ", "")
    assert "likeliest" in page.locator(".about").inner_text()
    before = page.locator(".card.chosen .tokens").inner_html()
    page.locator("label:has-text('method') select").select_option("opsd")
    assert page.locator(".card.chosen .tokens").inner_html() != before
    page.locator("#problems .link").first.click()
    page.wait_for_selector("#problems .card")
    assert said == []
    page.close()


def test_two_thousand_rollouts_of_five_hundred_tokens_open_at_once(
    latest: RunDir, shown: list[Shown], tmp_path: Path, browser: Any
) -> None:
    record = shown[0].record
    length = 500
    numbers = [round(0.001 * place, 4) for place in range(length)]
    long = record._replace(
        response="7" * length,
        token_ids=[7] * length,
        starts=list(range(length + 1)),
        **dict.fromkeys(("student_logp", "teacher_logp", "credit", "entropy"), numbers),
        clipped=[0] * length,
        pull=None,
    )
    many = []
    for place in range(2000):
        own = long._replace(group=place // 8, sample=place % 8)
        many.append(
            shown[0]._replace(
                record=own,
                signals={RECORDED: shown[0].signals[RECORDED]._replace(credit=numbers, pull=None)},
                texts=["7"] * length,
            )
        )
    data, chunks = rollouts_data(latest, many[:8], [], {})
    assert len(chunks["group-0"]["rollouts"]) == 8
    path = tmp_path / "many.html"
    path.write_text(rollouts_page(latest, many, [], {}), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    started = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector(".card.chosen .tokens span")
    assert time.perf_counter() - started < 3
    assert page.locator(".card.chosen .tokens span").count() == length
    assert data["rows"]
    page.close()
