"""Rows as GSM8K, MATH, SVAMP, HumanEval and MBPP publish them, flat and with their particulars in `meta`."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd_cli.data.layouts import in_own_fields
from rlsd_cli.data.problems import read_problems
from rlsd_cli.errors import RlsdError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

PROMPT = 'def double(x):\n    """Twice x."""\n'
CHECK = "def check(candidate):\n    assert candidate(2) == 4\n"
ASSERTS = ["assert root(9) == 3", "assert root(\n    0) == 0"]
CODE = "def root(x):\n    return math.sqrt(x)"

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": PROMPT,
    "canonical_solution": "    return 2 * x\n",
    "test": CHECK,
    "entry_point": "double",
}
HUMANEVAL_IN_META = {
    "id": "HumanEval/0",
    "question": PROMPT,
    "answer": None,
    "solution": "    return 2 * x\n",
    "meta": {"test": CHECK, "entry_point": "double"},
}
MBPP_FULL = {
    "task_id": 7,
    "text": "Find the root.",
    "code": CODE,
    "test_list": ASSERTS,
    "test_setup_code": "import math",
    "challenge_test_list": ["assert False"],
}
MBPP_SANITIZED = {
    "task_id": 7,
    "prompt": "Find the root.",
    "code": CODE,
    "test_list": ASSERTS,
    "test_imports": ["import math"],
    "source_file": "f",
}
MBPP_IN_META = {
    "id": "mbpp/7",
    "question": "Find the root.",
    "answer": None,
    "solution": CODE,
    "meta": {"test_list": ASSERTS, "test_imports": ["import math"], "split": "test"},
}
MBPP_FULL_IN_META = MBPP_IN_META | {"meta": {"test_list": ASSERTS, "test_setup_code": "import math"}}


def passes(program: str) -> bool:
    try:
        exec(program, {})
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("row", [HUMANEVAL, HUMANEVAL_IN_META], ids=["flat", "in meta"])
def test_humaneval_asks_to_complete_the_prompt_and_its_tests_check_the_entry_point(row: dict[str, Any]) -> None:
    own = in_own_fields(row)
    assert (own["id"], own["question"], own["entry_point"]) == ("HumanEval/0", PROMPT, "double")
    assert own["solution"] == "    return 2 * x\n"
    assert own["tests"] == CHECK + "\n\ncheck(double)\n"
    assert passes(PROMPT + own["solution"] + own["tests"])
    assert not passes(f"{PROMPT}    return x\n{own['tests']}")


@pytest.mark.parametrize(
    "row",
    [MBPP_FULL, MBPP_SANITIZED, MBPP_IN_META, MBPP_FULL_IN_META],
    ids=["full", "sanitized", "in meta", "full, in meta"],
)
def test_mbpp_shows_its_asserts_and_tests_with_what_they_import(row: dict[str, Any]) -> None:
    own = in_own_fields(row)
    assert own["id"] == "mbpp/7"
    assert own["question"].startswith("Find the root.\n\n")
    assert own["question"].endswith(":\n" + "\n".join(ASSERTS))
    assert "import math" not in own["question"]
    assert own["tests"] == "import math\nassert root(9) == 3\nassert root(\n    0) == 0\n"
    assert own["solution"] == CODE
    assert own.get("entry_point") is None
    assert passes(f"{CODE}\n{own['tests']}")
    assert not passes(f"def root(x): return x\n{own['tests']}")


def test_mbpp_without_set_up_tests_with_the_asserts_alone() -> None:
    bare = {"test_list": ["assert f()"], "test_setup_code": "", "test_imports": [], "text": "t"}
    own = in_own_fields(bare)
    assert own["tests"] == "assert f()\n"
    assert own["id"] is own["solution"] is None


def test_gsm8k_gives_the_number_behind_the_marks_and_the_working_without_its_calculator() -> None:
    working = "Half is 48/2 = <<48/2=24>>24.\nBoth are $<<48+24=72>>72."
    own = in_own_fields({"question": "How many?", "answer": f"{working}\n#### 1,072", "kind": "train"})
    assert own == {
        "question": "How many?",
        "answer": "1,072",
        "solution": "Half is 48/2 = 24.\nBoth are $72.",
        "kind": "train",
    }


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ({"solution": r"So \boxed{1}, no: \boxed{\frac{1}{2}}."}, r"\frac{1}{2}"),
        ({"solution": "So it is 7.", "answer": "7", "unique_id": "algebra/7"}, "7"),
        ({"answer": 9}, 9),
    ],
    ids=["boxed", "MATH-500", "without a solution"],
)
def test_math_gives_the_last_box_or_the_answer_that_stands_beside_it(more: dict[str, Any], answer: object) -> None:
    own = in_own_fields({"problem": "Find it.", "level": "Level 5", **more})
    assert (own["question"], own["answer"], own["solution"]) == ("Find it.", answer, more.get("solution"))
    assert own["id"] == more.get("unique_id")
    assert own["level"] == "Level 5"
    assert "problem" not in own


def test_svamp_puts_body_and_question_together_and_writes_whole_numbers_whole() -> None:
    row = {
        "ID": "chal-1",
        "Body": "A pack costs 76",
        "Question": "How much?",
        "Equation": "( 76.0 - 25.0 )",
        "Type": "-",
    }
    own = in_own_fields(row | {"Answer": 51.0})
    assert own == {
        "id": "svamp/chal-1",
        "question": "A pack costs 76. How much?",
        "answer": "51",
        "solution": "( 76.0 - 25.0 )",
        "Type": "-",
    }
    assert in_own_fields(row | {"Answer": 0.5})["answer"] == 0.5


@pytest.mark.parametrize("row", [HUMANEVAL, MBPP_FULL])
def test_a_problem_of_a_benchmark_may_name_its_verifier(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row | {"verifier": "mine"}), encoding="utf-8")
    (problem,) = read_problems(path)
    assert problem.verifier == "mine"


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "answer": "a", "test": True, "test_list": 3},
        {"question": "q", "answer": 0, "meta": {"test": "t", "entry_point": "f"}},
        {"question": "q", "tests": "assert f()", "entry_point": "f", "test": "other"},
        {"question": "q", "meta": "test"},
        {"question": "q", "answer": "#### 7", "problem": "p", "Body": "b", "Question": "x", "Answer": 1},
        {"question": "q"},
        {},
    ],
)
def test_a_row_in_our_own_layout_passes_unchanged(row: dict[str, Any]) -> None:
    assert in_own_fields(row) is row


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (HUMANEVAL | {"prompt": None}, "field `question` or `prompt` is missing"),
        (HUMANEVAL | {"prompt": ["p"]}, "field `prompt` must be text, found list"),
        (HUMANEVAL | {"entry_point": None}, "field `entry_point` is missing"),
        (HUMANEVAL | {"entry_point": " "}, "field `entry_point` is empty"),
        (HUMANEVAL | {"test": ["t"]}, "field `test` must be text, found list"),
        (HUMANEVAL | {"test": ""}, "field `test` is empty"),
        (HUMANEVAL | {"canonical_solution": 1}, "field `canonical_solution` must be text, found int"),
        (HUMANEVAL_IN_META | {"question": ""}, "field `question` is empty"),
        (MBPP_FULL | {"text": None}, "field `question` or `text` or `prompt` is missing"),
        (MBPP_FULL | {"test_list": []}, "field `test_list` is empty"),
        (MBPP_FULL | {"test_list": "assert f()"}, "field `test_list` must be a list of text"),
        (MBPP_FULL | {"test_list": [1]}, "field `test_list` must be a list of text"),
        (MBPP_FULL | {"test_setup_code": ["import math"]}, "field `test_setup_code` must be text, found list"),
        (MBPP_SANITIZED | {"test_imports": "import math"}, "field `test_imports` must be a list of text"),
        (MBPP_SANITIZED | {"code": 1}, "field `code` must be text, found int"),
        ({"problem": "p", "solution": "no box"}, "field `solution` holds no boxed answer, and there is no `answer`"),
        ({"problem": "", "answer": "7"}, "field `problem` is empty"),
        ({"Body": "b", "Question": None, "Answer": 1.0}, "field `Question` is missing"),
    ],
)
def test_a_fault_in_a_layout_is_named_by_file_line_and_field(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"{json.dumps(HUMANEVAL)}\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(RlsdError) as caught:
        read_problems(path)
    assert caught.value.message == f"{path}:2: {words}"


@pytest.mark.skipif(not DATA.is_dir(), reason="the published files are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "count"), [("humaneval/test.jsonl", 164), ("mbpp/full.jsonl", 974), ("mbpp/sanitized.jsonl", 427)]
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_published_files_load_whole_as_programs_with_tests(file: str, count: int) -> None:
    problems = read_problems(DATA / file)
    assert len(problems) == len({problem.id for problem in problems}) == count
    for problem in problems:
        prefix = problem.question if problem.entry_point else ""
        compile(f"{prefix}{problem.solution}\n{problem.tests}", problem.id, "exec")
        assert (problem.entry_point is not None) == file.startswith("humaneval")
