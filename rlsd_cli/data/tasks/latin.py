"""Latin squares with blanks: every row and every column holds each digit once.

A move is forced when one digit is left for a cell, or one cell of a row or column for a digit. Cells are emptied one at
a time, each where a forced move fills it again. So there is one solution, and the worked solution is the chain of moves
that finds it.
"""

from itertools import product
from random import Random
from typing import NamedTuple

from rlsd_cli.data.problems import Problem, content_hash
from rlsd_cli.errors import RlsdError

Grid = list[list[int]]
"""Rows of digits from 1; 0 is an empty cell."""


class Move(NamedTuple):
    """A digit for a cell, counted from 0, and what forces it."""

    row: int
    column: int
    digit: int
    reason: str


def draw(random: Random, size: int = 4, blanks: int = 8) -> Problem:
    """A square of so many rows with so many empty cells."""
    if blanks > size * size * 5 // 8:
        raise RlsdError(
            f"task `latin`: `blanks` = {blanks} is more than {size * size * 5 // 8}, the most for `size` = {size}",
            hint="five cells in eight can be empty",
        )
    grid = None
    while grid is None:
        square = _square(random, size)
        grid = _with_blanks(random, square, blanks)
    lines = [f"r{row + 1}c{column + 1}: {reason}" for row, column, _, reason in forced_moves(grid)]
    question = (
        f"Fill the blanks so that every row and every column holds each of the digits 1 to {size} once:\n"
        f"{show(grid, chr(10))}\n"
        "Answer with the rows from top to bottom, separated by slashes, without spaces."
    )
    answer = show(square, "/")
    fingerprint = content_hash(question)
    solution = "\n".join([*lines, f"\\boxed{{{answer}}}"])
    return Problem(fingerprint, fingerprint, question, answer, solution, verifier="exact")


def show(grid: Grid, separator: str) -> str:
    """Rows of digits, `_` for an empty cell."""
    return separator.join("".join(str(digit or "_") for digit in row) for row in grid)


def forced_moves(grid: Grid) -> list[Move]:
    """The forced moves that fill a square one after the other, or as many as there are."""
    filled, moves = [row[:] for row in grid], list[Move]()
    while move := next((move for row, column in _cells(grid) if (move := _forced(filled, row, column))), None):
        filled[move.row][move.column] = move.digit
        moves.append(move)
    return moves


def _forced(grid: Grid, row: int, column: int) -> Move | None:
    """The forced move of a cell; None where it is full, or none is."""
    options = _options(grid, row, column)
    if len(options) == 1:
        taken = "".join(str(digit) for digit in range(1, len(grid) + 1) if digit not in options)
        return Move(row, column, min(options), f"{taken} are taken, so {min(options)}")
    lines = {
        "row": [_options(grid, row, other) for other in range(len(grid)) if other != column],
        "column": [_options(grid, other, column) for other in range(len(grid)) if other != row],
    }
    for digit in sorted(options):
        for name, others in lines.items():
            if not any(digit in each for each in others):
                return Move(row, column, digit, f"the only place for {digit} in its {name}")
    return None


def _cells(grid: Grid) -> list[tuple[int, int]]:
    return [*product(range(len(grid)), range(len(grid)))]


def _options(grid: Grid, row: int, column: int) -> set[int]:
    """The digits that an empty cell can have; none for a full one."""
    return set() if grid[row][column] else {*range(1, len(grid) + 1)} - {*grid[row]} - {line[column] for line in grid}


def _square(random: Random, size: int) -> Grid:
    """A random full square, by filling cell after cell and starting over at a dead end."""
    while True:
        grid = [[0] * size for _ in range(size)]
        if all(_fill(random, grid, cell // size, cell % size) for cell in range(size * size)):
            return grid


def _fill(random: Random, grid: Grid, row: int, column: int) -> bool:
    grid[row][column] = random.choice([*_options(grid, row, column)] or [0])
    return grid[row][column] > 0


def _with_blanks(random: Random, square: Grid, blanks: int) -> Grid | None:
    """The square with so many cells emptied, or None where so many cannot be found.

    A cell is emptied where a move is forced that fills it again: so the others, which were emptied before, can follow.
    """
    grid, empty = [row[:] for row in square], 0
    for row, column in random.sample(_cells(grid), k=len(grid) ** 2):
        grid[row][column] = 0
        if _forced(grid, row, column):
            empty += 1
        else:
            grid[row][column] = square[row][column]
        if empty == blanks:
            return grid
    return None
