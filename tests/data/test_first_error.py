"""Where responses to sums go wrong: `[` and `]` stand around the place in a response."""

import re
from random import Random

import pytest

from rlsd_cli.data.problems import Problem
from rlsd_cli.data.tasks import TASKS, generate
from rlsd_cli.data.tasks.errors import FirstError

KNOWING = [name for name, task in TASKS.items() if task.first_error]


def first_error(task: str, question: str, response: str) -> FirstError | None:
    numbers = re.findall(r"[+-]?\d+", question.rpartition("|")[2].replace(" ", ""))
    find = TASKS[task].first_error
    assert find
    return find(Problem("id", "id", question, str(sum(map(int, numbers))), None), response)


@pytest.mark.parametrize(
    ("question", "marked", "step", "steps_after"),
    [
        ("Q11-3+6+94=", "11-3=8;8+6=1[5];15+94=109;#109", 1, 1),  # a wrong sum, and a step that is true to it
        ("Q37+58-21=", "37+58=[1]05;105-21=84;#84", 0, 1),  # one digit more
        ("Q37+58-21=", "37+58=9[;]9-21=-12;#-12", 0, 1),  # a digit is missing
        ("Q37+58-21=", "37+58=95[0];950-21=929;#929", 0, 1),  # a digit too many
        ("Q37+58-21=", "37+58=95;95-[1]2=83;#83", 1, 0),  # a term copied wrongly
        ("Q37+58-21=", "37+58=95;95[+]21=116;#116", 1, 0),  # its sign lost
        ("Q37+58-21=", "37+58=95;9[6]-21=75;#75", 1, 0),  # a total copied wrongly
        ("Q37+58-21=", "37+58=95;95-[3]7=58;#58", 1, 0),  # a term used again
        ("Q37+58-21=", "37+58=9[6];96-21=74;#74", 0, 1),  # two errors that make up for each other
        ("Q37+58-21=", "37+58=9[6];96-31=65;#65", 0, 1),  # two errors
        ("Q37+58-21=", "37+58=95;95-21=74;#7[5]", 2, 0),  # another result than the last total
        ("Q37+58-21=", "37+58=95;95-21=74;#7[]", 2, 0),  # the result stops too early
        ("Q37+58-21=", "37+58=95;[#]95", 1, 0),  # a term was left
        ("Q37+58-21=", "37+58=95;95-21=74;[7]4+1=75;#75", 2, 0),  # nothing was left to add
        ("Q37+58-21=", "58-21=37;37+37=7[5];#75", 1, 0),  # another order
        ("Q20-9+4=", "9-4=5;20-5=1[6];#16", 1, 0),  # what is to be subtracted first
        ("Q5-9+6=", "5-9=-[3];-3+6=3;#3", 0, 1),  # below zero
        ("Q7-5+5=", "5-5=0;7-0=[8];#8", 1, 0),
        ("Q7-5+5=", "5-5=0;7+0=[8];#8", 1, 0),
        ("Q37+58-21=", "37+58-21=7[5];#75", 0, 0),  # all in one step
        ("H74|Q37+58-21=", "37+58=95;95-21=74;#7[5]", 2, 0),
        ("Q37+58+21=", "58+21=79;37+7[8]=115;#115", 1, 0),
        ("Q37+58+21=", "21+37=58;58+58=11[5];#115", 1, 0),
    ],
)
def test_the_first_error_is_the_first_character_after_which_no_right_continuation_is_left(
    question: str, marked: str, step: int, steps_after: int
) -> None:
    response = marked.replace("[", "").replace("]", "")
    found = first_error("arithmetic", question, response)
    assert found == (marked.index("["), marked.index("]") - 1, "step", step, steps_after)
    spans = TASKS["arithmetic"].steps(response)  # type: ignore[misc]
    assert "".join(response[start:end] for start, end in spans) == response.rpartition("#")[0]
    if step < len(spans):
        assert spans[step][0] <= found.start < found.end <= spans[step][1]
    assert steps_after == max(0, len(spans) - step - 1)


def test_a_wrong_guess_goes_wrong_at_its_mark_and_a_right_one_nowhere() -> None:
    assert first_error("arithmetic", "Q37+58-21=", "#75") == (0, 1, "decision", 0, 0)
    assert first_error("arithmetic", "Q37+58-21=", "#74") is None
    assert first_error("sums", "What is 37 + 58?", "\n#### 94") == (1, 2, "decision", 0, 0)
    assert first_error("sums", "What is 37 + 58?", "It is \\boxed{94}.") == (6, 7, "decision", 0, 0)


@pytest.mark.parametrize(
    "response",
    [
        "37+58=95;95-21=74;#74",
        "58-21=37;37+37=74;#74",
        "58+37=95;-21+95=74;#74",
        "37-21=16;58+16=74;#74",
        "37+58-21=74;#74",
        "37+58=95;37+58=95;95-21=74;#74",
        "37+58=95;#74",
        "30+50=80;7+8=15;80+15=95;95-21=74;#74",
    ],
)
def test_true_steps_to_the_right_result_are_no_error_whatever_way_they_take(response: str) -> None:
    assert first_error("arithmetic", "Q37+58-21=", response) is None


@pytest.mark.parametrize(
    "response",
    [
        "",
        "75",
        "=;+#75",
        "37+58=96",
        "37+58=96;96-21",
        "37+58=96;;#75",
        "37+58=96;#75;",
        "#75;37+58=96;",
        "#" + "7" * 5000,
    ],
)
def test_a_response_that_is_written_otherwise_has_no_place_for_an_error(response: str) -> None:
    assert first_error("arithmetic", "Q37+58-21=", response) is None


@pytest.mark.parametrize(
    ("marked", "step", "steps_after"),
    [
        ("15 + 3 = 1[9]\n19 - 7 = 12\n#### 12", 0, 1),
        ("First, 15+3 = 18. Then 18 - [8] = 10.\nThe answer is 10.", 1, 0),
        ("15 + 3 - 7 = 1[2]", 0, 0),
        ("15 + 3 = 18\n18 - 7 = 11\n#### 1[2]", 2, 0),
        ("15 + 3 = 18. [The] answer is 18.", 1, 0),
        ("15 + 3 = 18.[]", 1, 0),
        ("15 + 3 = 1[.]\n1 - 7 = -6", 0, 1),
    ],
)
def test_equations_among_words_are_read_as_steps(marked: str, step: int, steps_after: int) -> None:
    response = marked.replace("[", "").replace("]", "")
    found = first_error("sums", "What is 15 + 3 - 7?", response)
    start = marked.index("answer") - 2 if "[The]" in marked else marked.index("[")
    end = min(start + 1, len(response))
    assert found == (start, end, "step", step, steps_after)


@pytest.mark.parametrize(
    "response",
    [
        "12",
        "15 + 3 - 7 = 18 - 7 = 12",
        "5 * 3 + 3 - 7 = 12",
        "(15 + 3) - 7 = 12",
        "15.5 + 3 = 18.5",
        "15 + 3 = 1,800",
        "15 + 3 = x",
        "15 + 3 = 20 - 2\n#### 12",
        "15 + 3 = 1,800\n#### 12",
        "The answer is 12. 15 + 3 - 7 = 11",
        "15 + 3 = 18, so it is 12",
        "15 + 3 = 18 and 18 - 7 = 11",
    ],
)
def test_words_that_cannot_be_read_as_such_equations_have_no_place_for_an_error(response: str) -> None:
    assert first_error("sums", "What is 15 + 3 - 7?", response) is None


@pytest.mark.parametrize("name", KNOWING)
def test_a_worked_solution_has_no_error_and_its_first_changed_digit_is_the_first_error(name: str) -> None:
    task, random = TASKS[name], Random(0)
    assert task.first_error
    assert task.steps
    for problem in generate(name, {"count": 300}):
        solution = problem.solution or ""
        assert task.first_error(problem, solution) is None
        spans = task.steps(solution)
        assert len(spans) == solution.count("=")
        step = random.randrange(len(spans))
        start, end = spans[step]
        place = random.choice([i for i in range(solution.index("=", start), end) if solution[i].isdigit()])
        changed = f"{solution[:place]}{(int(solution[place]) + random.randint(1, 9)) % 10}{solution[place + 1 :]}"
        assert task.first_error(problem, changed) == (place, place + 1, "step", step, len(spans) - step - 1)


def test_numbers_may_be_added_in_any_order() -> None:
    find, random = TASKS["routes"].first_error, Random(0)
    assert find
    for problem in generate("routes", {"count": 200, "terms": 5}):
        left = [int(number) for number in re.findall(r"\d+", problem.question)]
        steps = []
        while len(left) > 1:
            random.shuffle(left)
            first, second = left.pop(), left.pop()
            left.append(first + second)
            steps.append(f"{first}+{second}={first + second}")
        right = ";".join([*steps, f"#{problem.answer}"])
        assert find(problem, right) is None
        wrong = ";".join([*steps, f"#{int(problem.answer) + 1}"])
        assert find(problem, wrong) is not None
        assert right.startswith(wrong[: find(problem, wrong).start])  # type: ignore[union-attr]
        assert find(problem, wrong).step == len(steps)  # type: ignore[union-attr]
