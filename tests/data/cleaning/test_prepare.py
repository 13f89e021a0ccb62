"""Sources into clean files: what goes, what stays, what is said about it."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rlsd_cli.data.cleaning.folder import is_current
from rlsd_cli.data.cleaning.prepare import Lengths, Options, prepare, request
from rlsd_cli.data.inputs import find_inputs, split_of
from rlsd_cli.data.problems import Problem, content_hash, is_held_out, read_problems
from rlsd_cli.data.readers import read_rows
from rlsd_cli.errors import RlsdError

SHARED = Path(__file__).resolve().parents[4] / "shared"
needs_gsm8k = pytest.mark.skipif(not (SHARED / "data/gsm8k").is_dir(), reason="no GSM8K beside the project")

STORY = "A baker makes {} loaves before noon and {} loaves after noon, and sells {} of them to the school next door."


def row(question: str, answer: Any = "1", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, **more}


def stories(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = Random(seed)
    words = [a + b for a in "bdfgklmnprst" for b in ("al", "en", "or", "ut")]
    return [row(" ".join(random.choices(words, k=20)) + "?", str(random.randint(0, 99))) for _ in range(count)]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return str(path)


class Result:
    """A prepared folder, read back."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    def rows(self, split: str = "train") -> list[dict[str, Any]]:
        return [found.fields or {} for found in read_rows(self.folder / f"{split}.jsonl")]

    def report(self) -> list[tuple[str, str, bool]]:
        rows = [found.fields or {} for found in read_rows(self.folder / "report.jsonl")]
        return [(each["where"], each["reason"], each["removed"]) for each in rows]

    def overlaps(self) -> list[list[str]]:
        lines = (self.folder / "overlap.tsv").read_text(encoding="utf-8").splitlines()[1:]
        return [line.split("\t") for line in lines]


def run(tmp_path: Path, *sources: str, against: tuple[str, ...] = (), measure: Any = None, **options: Any) -> Result:
    inputs = find_inputs(sources, against).inputs
    folder = tmp_path / f"out-{len([*tmp_path.glob('out-*')])}"
    chosen = Options(**options)
    return Result(folder, prepare(inputs, chosen, folder, request(inputs, chosen, {}), measure=measure))


# -- duplicates ----------------------------------------------------------------------------------------------------


def test_of_repeats_the_first_stays_and_a_contradiction_loses_all_its_rows(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    rows = [
        row(story, "35"),
        row("Another question.", "7"),
        row(story.replace(" ", "  "), "35"),
        row(story + " Thanks!", "35"),
        row(STORY.format(13, 30, 7), "36"),
        row("Which one?", "1"),
        row("Which one?", "2"),
        row("Another question.", "7.0"),
        row("Which of these?", "A", choices=["x", "y"]),
        row("Which of these?", "A", choices=["y", "x"]),
    ]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert [each["source"] for each in done.rows()] == [f"in.jsonl:{line}" for line in (1, 2, 5, 9, 10)]
    assert done.report() == [
        ("in.jsonl:3", "duplicate", True),
        ("in.jsonl:4", "near_duplicate", True),
        ("in.jsonl:6", "conflict", True),
        ("in.jsonl:7", "conflict", True),
        ("in.jsonl:8", "duplicate", True),
    ]
    assert done.manifest["splits"]["train"]["rows"] == 10
    assert done.manifest["splits"]["train"]["removed"] == {"conflict": 2, "duplicate": 2, "near_duplicate": 1}


def test_a_near_repeat_of_a_repeat_is_one_of_the_row_that_stays(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    rows = [row(story), row(story), row(story + " Thanks."), row(story + " Thanks."), row(story + " Please.")]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert len(done.rows()) == 1
    details = [json.loads(line)["detail"] for line in (done.folder / "report.jsonl").read_text().splitlines()]
    assert all(detail.endswith(("in.jsonl:1", "in.jsonl:3")) for detail in details)


def test_the_same_story_with_other_numbers_is_another_problem_though_the_answer_is_the_same(tmp_path: Path) -> None:
    long = "Once upon a time, when the old mill still stood by the river, there was a baker. " + STORY
    rows = [
        row(long.format(12, 30, 7), "35"),
        row(long.format(30, 12, 7), "35"),
        row(long.format(12, 30, 7) + " Ok?", "35"),
    ]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert [where for where, _, _ in done.report()] == ["in.jsonl:3"]


def test_duplicates_can_be_kept_and_the_threshold_moved(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    source = write(tmp_path / "in.jsonl", [row(story), row(story), row(story + " Thanks."), row(f"Now: {story} Ok?")])
    assert len(run(tmp_path, source).rows()) == 1
    assert len(run(tmp_path, source, near=0.97).rows()) == 3
    assert len(run(tmp_path, source, near=0.97, keep_duplicates=True).rows()) == 4


def test_near_repeats_have_the_same_numbers_and_the_same_reference_each_for_itself(tmp_path: Path) -> None:
    angle = (
        "In the big right triangle that the child drew with chalk, one angle has {} degrees. What has the other one?"
    )
    same = "Which number is it that the oracle wrote down on a small clay tablet long ago, if it is {} and no other?"
    rows = [
        row(angle.format(30), "60"),
        row(angle.format(60), "30"),
        row(same.format(25), "25"),
        row(same.format(26), "26"),
    ]
    assert len(run(tmp_path, write(tmp_path / "in.jsonl", rows)).rows()) == 4


def test_a_contradiction_does_not_hide_near_repeats_behind_it(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    rows = [row(story, "1"), row(story + " Ok!", "1"), row(story + " Ok?", "1"), row(story, "2")]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert [each["source"] for each in done.rows()] == ["in.jsonl:2"]


def test_a_repeat_that_may_stay_goes_where_the_first_of_it_goes(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    rows = [row(story + " Ok."), row(story), row(story), row("q"), row("q")]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows), keep_duplicates=True)
    assert [each["source"] for each in done.rows()] == ["in.jsonl:1", "in.jsonl:4", "in.jsonl:5"]
    assert [reason for _, reason, _ in done.report()] == ["near_duplicate", "near_duplicate"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Yes", "yes"), (r"\dfrac{\pi}{2}", r"\frac{\pi}{2}"), ("7", "7.0"), ("1,080", "1080"), (r"\frac12", "0.5")],
)
def test_references_that_are_equal_do_not_contradict_each_other(tmp_path: Path, first: str, second: str) -> None:
    done = run(tmp_path, write(tmp_path / "in.jsonl", [row("q", first), row("q", second), row("w", "1")]))
    assert [reason for _, reason, _ in done.report()] == ["duplicate"]


def test_programs_that_differ_in_indents_alone_are_two_and_tests_that_differ_in_trailing_blanks_one(
    tmp_path: Path,
) -> None:
    loop = "What does this print?\nfor i in range(3):\n    x = i\n{}print(x)"
    rows = [row(loop.format("    "), "0 1 2"), row(loop.format(""), "2"), row(loop.format("    ") + "\n", "0 1 2")]
    rows += [{"question": "Write f.", "tests": "assert f(1)\nassert f(2)"}]
    rows += [{"question": "Write f.", "tests": "assert f(1) \nassert f(2)\n"}]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert [(where, reason) for where, reason, _ in done.report()] == [
        ("in.jsonl:3", "duplicate"),
        ("in.jsonl:5", "duplicate"),
    ]
    assert len({each["id"] for each in done.rows()}) == 3
    assert len(read_problems(done.folder / "train.jsonl")) == 3


def test_choices_are_part_of_the_question(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    asked = [row("Which is true?", "A", choices=[f"choice {n} of many", f"other {n} of all"]) for n in range(40)]
    write(folder / "train.jsonl", asked[:20])
    write(folder / "test.jsonl", [*asked[20:], asked[3]])
    done = run(tmp_path, str(folder))
    assert len(done.rows()) == 20
    assert done.manifest["splits"]["train"]["overlaps"]["exact"] == 1
    split = run(tmp_path, write(tmp_path / "all.jsonl", asked), holdout=0.5)
    assert 8 < len(split.rows("test")) < 32


def test_options_under_letters_become_choices_of_another_column(tmp_path: Path) -> None:
    options = {"C": "x = 3", "A": "x = 1", "B": "x = 2", "D": None}
    rows = [row("Which?", "C", options=options), row("Which is it?", "B", options={"A": "1", "C": "2"})]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows), columns={"choices": "options"})
    assert [each["choices"] for each in done.rows()] == [["x = 1", "x = 2", "x = 3"]]
    assert done.report() == [("in.jsonl:2", "unreadable", True)]
    (problem,) = read_problems(done.folder / "train.jsonl")
    assert problem.choices == ("x = 1", "x = 2", "x = 3")


def test_two_preparations_of_one_folder_do_not_replace_each_other(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", stories(3))
    inputs, folder = find_inputs([source]).inputs, tmp_path / "out"

    def other(_: Problem) -> Lengths:
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text('{"request": {"by": "another"}}', encoding="utf-8")
        return Lengths(1, None)

    with pytest.raises(RlsdError, match="was written by another process meanwhile") as caught:
        prepare(inputs, Options(), folder, {"by": "this"}, measure=other)
    assert caught.value.exit_code == 4
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["request"] == {"by": "another"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_row_is_a_problem_or_is_accounted_for(tmp_path: Path) -> None:
    random, rows = Random(1), stories(400)
    rows += [random.choice(rows) for _ in range(100)]
    rows += [each | {"answer": "1000"} for each in random.sample(rows, 50)]
    rows += [row("", "1"), {"question": "no answer"}]
    random.shuffle(rows)
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    lines = {each["source"] for each in done.rows()} | {where for where, _, removed in done.report() if removed}
    assert lines == {f"in.jsonl:{line}" for line in range(1, len(rows) + 1)}
    assert len(done.rows()) + len(done.report()) == len(rows)
    by_question: dict[str, set[str]] = {}
    for each in rows:
        by_question.setdefault(each["question"], set()).add(each.get("answer", ""))
    clean = {
        question for question, answers in by_question.items() if question and answers != {""} and len(answers) == 1
    }
    assert {each["question"] for each in done.rows()} == clean


def test_an_evaluation_split_stays_whole(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "train.jsonl", stories(3))
    write(folder / "test.jsonl", [row("q"), row("q"), row("w", "1"), row("w", "2"), {"question": "none"}])
    done = run(tmp_path, str(folder))
    assert [each["question"] for each in done.rows("test")] == ["q", "q", "w", "w"]
    assert done.manifest["splits"]["test"]["noted"] == {"conflict": 2, "duplicate": 1}
    assert done.manifest["splits"]["test"]["removed"] == {"unreadable": 1}


# -- overlap -------------------------------------------------------------------------------------------------------


def test_training_problems_that_hold_an_evaluation_problem_are_listed_and_removed_on_request(tmp_path: Path) -> None:
    folder, held = tmp_path / "in", STORY.format(12, 30, 7)
    write(folder / "train.jsonl", [*stories(5), row(STORY.format(99, 1, 2), "98"), row(held + " Why?", "35")])
    write(folder / "test.jsonl", [row(held, "35", id="t1")])
    extra = write(tmp_path / "extra.jsonl", [stories(5)[2] | {"id": "x1"}])
    done = run(tmp_path, str(folder), against=(extra,))
    assert [line[:5] for line in done.overlaps()] == [
        ["train.jsonl:3", "extra.jsonl", "x1", "exact", "1.000"],
        ["train.jsonl:6", "test", "t1", "numbers", "1.000"],
        ["train.jsonl:7", "test", "t1", "near", "1.000"],
    ]
    assert done.manifest["splits"]["train"]["overlaps"] == {"exact": 1, "near": 1, "numbers": 1}
    assert len(done.rows()) == 7
    removed = run(tmp_path, str(folder), against=(extra,), remove_overlap=True)
    assert [each["source"] for each in removed.rows()] == [f"train.jsonl:{line}" for line in (1, 2, 4, 5)]
    assert Counter(reason for _, reason, _ in removed.report()) == {"overlap": 3}


def test_no_question_goes_for_the_sake_of_one_that_goes_too(tmp_path: Path) -> None:
    """Near repeats on both sides of the split, and an overlap that is removed: one of each stays."""
    rows = []
    for number in range(40):
        story = " ".join(Random(number).choices(STORY.split(), k=25)) + f" {number}."
        rows += [row(story, str(number)), row(f"{story} Ok?", str(number))]
    source = write(tmp_path / "in.jsonl", rows)
    for options in ({}, {"keep_duplicates": True}, {"min_pass_rate": 0.5}):
        done = run(tmp_path, source, holdout=0.5, remove_overlap=True, **options)
        left = {each["answer"] for each in done.rows() + done.rows("test")}
        assert left == {str(number) for number in range(40)}
    against = write(tmp_path / "held.jsonl", [rows[0], row("x")])
    done = run(tmp_path, source, against=(against,), remove_overlap=True)
    assert {each["answer"] for each in done.rows()} >= {str(number) for number in range(1, 40)}


def test_what_is_held_out_and_goes_is_no_evaluation_problem(tmp_path: Path) -> None:
    story = STORY.format(12, 30, 7)
    sides = {
        is_held_out(Problem("", content_hash(text), text, ""), 0.5): text
        for text in (story + "!" * n for n in range(9))
    }
    rows = [row(sides[True], "35", pass_rate=0.0), row(sides[False], "35", pass_rate=0.5), *stories(30)]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows), holdout=0.5, remove_overlap=True, min_pass_rate=0.1)
    assert sides[False] in {each["question"] for each in done.rows()}


def test_names_of_columns_do_not_apply_to_what_train_is_compared_with(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"question": "What is it?", "gold": "1"}])
    against = write(tmp_path / "held.jsonl", [row("What is it?"), row("")])
    done = run(tmp_path, source, against=(against,), columns={"answer": "gold"})
    assert done.manifest["evaluation_problems"] == {"held.jsonl": 1}
    assert done.manifest["splits"]["train"]["overlaps"] == {"exact": 1}
    assert [(where.rpartition("/")[2], removed) for where, _, removed in done.report()] == [("held.jsonl:2", False)]
    empty = write(tmp_path / "empty.jsonl", [row("")])
    with pytest.raises(RlsdError, match="nothing could be compared with it"):
        run(tmp_path, source, against=(empty,), columns={"answer": "gold"})


def test_of_a_generated_task_only_the_same_question_is_an_overlap_or_a_repeat(tmp_path: Path) -> None:
    done = run(tmp_path, "sums:count=400", holdout=0.1, remove_overlap=True)
    assert len(done.rows()) > 300
    assert done.manifest["splits"]["train"]["overlaps"] == {}
    assert len(run(tmp_path, "knights:count=300").rows()) > 250
    with pytest.raises(RlsdError, match="holds several demonstrations"):
        run(tmp_path, "arithmetic-warmup:count=10")


@needs_gsm8k
def test_planted_evaluation_problems_are_all_found_in_gsm8k(tmp_path: Path) -> None:
    random = Random(0)
    train = read_problems(SHARED / "data/gsm8k/train.jsonl")[:1000]
    test = read_problems(SHARED / "data/gsm8k/test.jsonl")
    planted = random.sample(test, 50)
    changed = [re.sub(r"\d+", lambda _: str(random.randint(2, 999)), each.question) for each in planted]
    spaced = [question.replace(" ", random.choice(("  ", "\n"))).replace(", ", " , ") for question in changed]
    rows = [row(each.question, each.answer) for each in train]
    rows += [row(question, "1") for question in spaced[:40]] + [row(each.question) for each in planted[40:]]
    folder = tmp_path / "in"
    write(folder / "train.jsonl", rows)
    write(folder / "test.jsonl", [row(each.question, each.answer, id=each.id) for each in test])
    found = {(int(line[0].split(":")[1]), line[2]): line[3] for line in run(tmp_path, str(folder)).overlaps()}
    expected = {(1001 + index, each.id): "numbers" if index < 40 else "exact" for index, each in enumerate(planted)}
    assert {place: found.get(place) for place in expected} == expected
    assert sum(line <= 1000 for line, _ in found) <= 1


# -- what is written -----------------------------------------------------------------------------------------------


def test_ids_are_hashes_of_content_and_nothing_that_a_row_held_is_lost(tmp_path: Path) -> None:
    rows = [
        row("q 1", 2.5, id="a", colour="red", meta={"level": 3}, solution="s", hints=["h"], pass_rate=0.5),
        row("q 2", id="a", when="now"),
    ]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert done.rows() == [
        {
            "id": content_hash("q 1"),
            "question": "q 1",
            "answer": "2.5",
            "solution": "s",
            "hints": ["h"],
            "pass_rate": 0.5,
            "source": "in.jsonl:1",
            "source_id": "a",
            "meta": {"level": 3, "colour": "red"},
        },
        {
            "id": content_hash("q 2"),
            "question": "q 2",
            "answer": "1",
            "source": "in.jsonl:2",
            "source_id": "a",
            "meta": {"when": "now"},
        },
    ]
    assert done.report() == [("in.jsonl:2", "duplicate_id", False)]
    assert done.manifest["splits"]["train"]["other_columns"] == {"colour": 1, "when": 1}


def test_a_column_named_source_is_not_the_place_of_a_row_and_odd_values_can_be_read_again(tmp_path: Path) -> None:
    line = '{"question": "q", "answer": "1", "source": 5, "x": NaN, "y": 1e999, "z": [1]}'
    (tmp_path / "in.json").write_text(f"[{line}, {line}]", encoding="utf-8")
    done = run(tmp_path, str(tmp_path / "in.json"))
    (kept,) = read_problems(done.folder / "train.jsonl")
    assert kept.question == "q"
    assert done.rows()[0]["source"] == "in.json:1"
    assert done.rows()[0]["meta"] == {"source": 5, "x": None, "y": "1e999", "z": [1]}
    assert done.report() == [("in.json:1", "duplicate", True)]


def test_half_a_character_is_a_fault_in_a_field_and_kept_as_an_escape_elsewhere(tmp_path: Path) -> None:
    rows = [row("q", choices=["\ud800"]), row("w", colour="\ud800"), row("e", tests=[{"input": "\ud800"}])]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows))
    assert [each["question"] for each in done.rows()] == ["w", "e"]
    assert done.rows()[0]["meta"] == {"colour": "\ud800"}
    (line,) = (done.folder / "report.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["detail"] == "field `choices` holds half a character ('\\ud800')"


def test_equal_input_gives_equal_bytes_wherever_it_lies(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there" / "deeper"]
    for folder in folders:
        write(folder / "train.jsonl", [*stories(50), row("", "1"), row(STORY, "1"), row(STORY + " Ok.", "1")])
        write(folder / "test.jsonl", [*stories(5), row("x", "1")])
    first, second = (run(tmp_path, str(folder), shuffle=3) for folder in folders)
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == ["manifest.json", "overlap.tsv", "report.jsonl", "test.jsonl", "train.jsonl"]
    for name in names:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_preparing_what_is_prepared_changes_nothing(tmp_path: Path) -> None:
    once = run(tmp_path, write(tmp_path / "train.jsonl", [*stories(20), row("q", "1", id="a", colour="red")]))
    twice = run(tmp_path, str(once.folder / "train.jsonl"))
    assert (once.folder / "train.jsonl").read_bytes() == (twice.folder / "train.jsonl").read_bytes()


def test_a_split_by_hash_is_that_of_training(tmp_path: Path) -> None:
    done = run(tmp_path, write(tmp_path / "in.jsonl", stories(300)), holdout=0.2)
    train, test = read_problems(done.folder / "train.jsonl"), read_problems(done.folder / "test.jsonl")
    assert len(train) + len(test) == 300
    assert 30 < len(test) < 90
    assert all(is_held_out(each, 0.2) for each in test)
    assert not any(is_held_out(each, 0.2) for each in train)


def test_a_shuffle_is_stable_when_rows_are_added_or_moved(tmp_path: Path) -> None:
    rows = stories(60)
    before = [each["question"] for each in run(tmp_path, write(tmp_path / "a.jsonl", rows), shuffle=1).rows()]
    more = Random(5).sample([*rows, *stories(30, seed=9)], 90)
    after = [each["question"] for each in run(tmp_path, write(tmp_path / "b.jsonl", more), shuffle=1).rows()]
    assert before != [each["question"] for each in rows]
    assert [question for question in after if question in set(before)] == before
    other = [each["question"] for each in run(tmp_path, write(tmp_path / "a.jsonl", rows), shuffle=2).rows()]
    assert sorted(other) == sorted(before)
    assert other != before


def test_problems_can_be_left_out_by_pass_rate_and_by_length(tmp_path: Path) -> None:
    rates = [row(f"q {n}", pass_rate=n / 4) for n in range(5)] + [row("q without")]
    done = run(tmp_path, write(tmp_path / "in.jsonl", rates), min_pass_rate=0.1, max_pass_rate=0.9)
    assert [each["question"] for each in done.rows()] == ["q 1", "q 2", "q 3", "q without"]
    assert [reason for _, reason, _ in done.report()] == ["too_hard", "too_easy"]

    def measure(problem: Problem) -> Lengths:
        size = len(problem.question)
        return Lengths(size, size + 1, "too many" if size > 4 else None)

    done = run(tmp_path, write(tmp_path / "in.jsonl", [row("q" * n, str(n)) for n in range(1, 7)]), measure=measure)
    assert len(done.rows()) == 4
    assert [where for where, reason, _ in done.report() if reason == "too_long"] == ["in.jsonl:5", "in.jsonl:6"]
    assert done.manifest["splits"]["train"]["tokens"]["student"] == {"median": 3, "p99": 6, "max": 6}


def test_columns_of_other_names_are_mapped_and_their_absence_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "reward": {"truth": 7}}, {"prompt": "w", "reward": {}}, {"text": "x"}]
    columns = {"question": "prompt", "answer": "reward.truth"}
    done = run(tmp_path, write(tmp_path / "in.jsonl", rows), columns=columns)
    assert [(each["question"], each["answer"]) for each in done.rows()] == [("q", "7")]
    details = [json.loads(line)["detail"] for line in (done.folder / "report.jsonl").read_text().splitlines()]
    assert details == [
        "column `reward.truth`, which is mapped to `answer`, is missing; there is `prompt`, `reward`",
        "column `prompt`, which is mapped to `question`, is missing; there is `text`",
    ]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(_: Problem) -> Lengths:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, write(tmp_path / "in.jsonl", stories(3)), measure=fail)
    with pytest.raises(RlsdError, match=r"no problem is left for train, of 1 rows: 1 unreadable"):
        run(tmp_path, write(tmp_path / "in.jsonl", [row("")]))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_folder_is_current_until_source_options_or_result_change(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", stories(5))
    inputs = find_inputs([source]).inputs
    folder, options = tmp_path / "done", Options()
    assert not is_current(folder, request(inputs, options, {}))
    prepare(inputs, options, folder, request(inputs, options, {}))
    assert is_current(folder, request(inputs, options, {}))
    assert not is_current(folder, request(inputs, Options(shuffle=1), {}))
    assert not is_current(folder, request(inputs, options, {"model": "m"}))
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    assert not is_current(folder, request(inputs, options, {}))
    prepare(inputs, options, folder, request(inputs, options, {}))
    write(Path(source), stories(6))
    assert not is_current(folder, request(find_inputs([source]).inputs, options, {}))


# -- inputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("test-00000-of-00002.parquet", "test"),
        ("validation.csv", "validation"),
        ("Dev.json", "dev"),
        ("testimony.jsonl", "train"),
        ("my_test.jsonl", "train"),
    ],
)
def test_a_file_belongs_to_the_split_that_its_name_opens_with(name: str, split: str) -> None:
    assert split_of(name) == split


def test_a_folder_stands_for_its_problem_files_and_the_others_are_named(tmp_path: Path) -> None:
    for name in ("data/train-0.jsonl", "data/train-1.jsonl", "data/test-0.jsonl"):
        write(tmp_path / "in" / name, stories(1))
    for name in ("LICENSE", "dataset_info.json", ".hidden/x.jsonl"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("{}")
    found = find_inputs([str(tmp_path / "in")])
    assert [(Path(each.source.text).name, each.split) for each in found.inputs] == [
        ("test-0.jsonl", "test"),
        ("train-0.jsonl", "train"),
        ("train-1.jsonl", "train"),
    ]
    assert [each.name for each in found.inputs] == ["data/test-0.jsonl", "data/train-0.jsonl", "data/train-1.jsonl"]
    write(tmp_path / "hub" / "test" / "0000.jsonl", stories(1))
    write(tmp_path / "hub" / "train" / "0000.jsonl", stories(1))
    assert [(each.name, each.split) for each in find_inputs([str(tmp_path / "hub")]).inputs] == [
        ("test/0000.jsonl", "test"),
        ("train/0000.jsonl", "train"),
    ]
    assert sorted(path.name for path in found.skipped) == ["LICENSE", "dataset_info.json"]
    assert found.name == "in"
    (tmp_path / "empty").mkdir()
    with pytest.raises(RlsdError, match="holds no problem file"):
        find_inputs([str(tmp_path / "empty")])
    assert find_inputs(["countdown:numbers=3"]).name == "countdown-numbers-3"


@needs_gsm8k
def test_gsm8k_as_it_is_published_is_what_it_is_in_our_fields(tmp_path: Path) -> None:
    ours = [found.fields or {} for found in read_rows(SHARED / "data/gsm8k/test.jsonl")]
    published = [row(each["question"], f"{each['meta']['solution_annotated']}\n#### {each['answer']}") for each in ours]
    done = run(tmp_path, write(tmp_path / "test.jsonl", published))
    kept = ("question", "answer", "solution")
    assert [[each[name] for name in kept] for each in done.rows("test")] == [
        [each[name] for name in kept] for each in ours
    ]
