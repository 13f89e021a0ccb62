"""Which part of a response is the program."""

import pytest

from rlsd_verifiers.code.extract import complete, extract_code


@pytest.mark.parametrize(
    ("response", "text", "language"),
    [
        ("x = 1", "x = 1", "python"),
        ("    return 1\n", "    return 1\n", "python"),
        ("```python\nx = 1\n```", "x = 1\n", "python"),
        ("Here:\n```\nx = 1\n```\nDone.", "x = 1\n", "python"),
        ("```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```\nDone.", "x = 2\n", "python"),
        ("```python\nx = 1", "x = 1", "python"),
        ("```python\nx = 1\n```\nand\n```python\nx = 2", "x = 2", "python"),
        ("```PYTHON\nx = 1\n```", "x = 1\n", "python"),
        ("```py\nx = 1\n```", "x = 1\n", "python"),
        ("```python3\nx = 1\n```", "x = 1\n", "python"),
        ("```python title=a.py\nx = 1\n```", "x = 1\n", "python"),
        ("``` python\nx = 1\n```", "x = 1\n", "python"),
        ("~~~python\nx = 1\n~~~", "x = 1\n", "python"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n", "python"),
        ("```python\nx = 1\n````", "x = 1\n", "python"),
        ("~~~\nx = '```'\n```\n~~~", "x = '```'\n```\n", "python"),
        ("   ```python\nx = 1\n   ```", "x = 1\n", "python"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n", "python"),
        ("it is `x`:\n```python\nx = 1\n```", "x = 1\n", "python"),
        ("```cpp\nint main() {}\n```", "int main() {}\n", "C++"),
        ("```c++\nint main() {}\n```", "int main() {}\n", "C++"),
        ("```C++\nint main() {}\n```", "int main() {}\n", "C++"),
        ("```\n#include <iostream>\nint main() {}\n```", "#include <iostream>\nint main() {}\n", "C++"),
        ('#include "a.h"\nint main() {}', '#include "a.h"\nint main() {}', "C++"),
        ("```text\n#include <cmath>\n```", "#include <cmath>\n", "C++"),
        ("```python\n#include <this>\nx = 1\n```", "#include <this>\nx = 1\n", "python"),
        ("```text\nx = 1\n```", "x = 1\n", "python"),
        ("<think>```python\nx = 0\n```</think>```python\nx = 1\n```", "x = 1\n", "python"),
        ("<think>no</think>\n```python\nx = 1\n```", "x = 1\n", "python"),
        ("thinking</think>```python\nx = 1\n```", "x = 1\n", "python"),
    ],
)
def test_the_program_is_the_last_block_or_all_of_a_response_without_one(
    response: str, text: str, language: str
) -> None:
    code = extract_code(response)
    assert code is not None
    assert (code.text.strip("\r\n"), code.language.name) == (text.strip("\r\n"), language)


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n",
        "```python\n```",
        "```",
        "```python\n\n  \n```",
        "<think>```python\nx = 1\n```",
        "<think>x",
        "</think>",
    ],
)
def test_there_is_no_program_in_what_is_blank_or_still_thinking(response: str) -> None:
    assert extract_code(response) is None


def test_a_response_of_a_million_fences_is_read_at_once() -> None:
    for response in ("```\n" * 10**5, "~~~\n```\n" * 10**5, "`" * 10**6, "``` \t" * 10**5, "<think>" * 10**4):
        extract_code(response)


QUESTION = 'import math\n\ndef area(r: float) -> float:\n    """The area."""\n'


@pytest.mark.parametrize(
    ("code", "question", "entry_point", "is_completed"),
    [
        ("    return math.pi * r**2", QUESTION, "area", True),
        ("def area(r):\n    return 3", QUESTION, "area", True),
        ("    return 1", QUESTION, None, False),
        ("    return 1", QUESTION, "volume", False),
        ("def area(r): return 1", "Write a function `area`.", "area", False),
        ("def area(r): return 1", "Write def area(r), which is the area.", "area", False),
        ("def area(r): return 1", "", "area", False),
        ("x", "class A:\n    def area(self):\n        '''It.'''\n", "area", False),
        ("x", "def area(\0", "area", False),
    ],
)
def test_the_question_comes_first_where_it_begins_the_function(
    code: str, question: str, entry_point: str | None, is_completed: bool
) -> None:
    whole = complete(code, question, entry_point)
    assert whole.endswith(code)
    assert (whole != code) is is_completed
    if is_completed:
        assert whole.startswith(question.rstrip())
        compile(whole, "whole", "exec")
