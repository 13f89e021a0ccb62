"""Rollouts in a terminal: one at a time, its tokens in colour, a key for each thing to do."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from rlsd_cli import console
from rlsd_cli.errors import RlsdError
from rlsd_cli.report.rollouts import RECORDED, Shown, Token, choose

KEYS = "n next  p previous  m method  c colour  / filter  s sort  q quit"
COLOURS = ("push", "gap", "entropy", "logp")
"""What tokens can be coloured by."""
SORTS = (None, "credit", "gap", "tokens", "advantage")
LEVELS = " ▁▂▃▄▅▆▇█"
UP, DOWN = (0, 114, 178), (213, 94, 0)
"""Blue and orange, which the colour-blind tell apart (Okabe and Ito 2008)."""


@dataclass(frozen=True)
class State:
    """What is on the screen.

    everyone: all rollouts; place: which of those that the filter leaves
    """

    everyone: Sequence[Shown]
    methods: Sequence[str]
    name: str
    place: int = 0
    method: int = 0
    colour: int = 0
    sort: int = 0
    where: str = ""
    fault: str = ""
    chosen: Sequence[Shown] = field(default=())

    def __post_init__(self) -> None:
        try:
            found = choose(self.everyone, self.where, SORTS[self.sort])
        except RlsdError as error:
            object.__setattr__(self, "fault", error.message)
            found = [*self.everyone]
        object.__setattr__(self, "chosen", found)


def pressed(state: State, key: str) -> State | None:
    """The state after a key; None where it quits."""
    last = max(0, len(state.chosen) - 1)
    match key:
        case "q" | "\x03" | "\x04" | "":
            return None
        case "n" | " " | "j" | "\x1b[C" | "\x1b[B":
            return replace(state, place=min(last, state.place + 1), fault="")
        case "p" | "k" | "\x1b[D" | "\x1b[A":
            return replace(state, place=max(0, state.place - 1), fault="")
        case "g" | "\x1b[H":
            return replace(state, place=0, fault="")
        case "G" | "\x1b[F":
            return replace(state, place=last, fault="")
        case "m":
            return replace(state, method=(state.method + 1) % len(state.methods), fault="")
        case "c" | "t":
            return replace(state, colour=(state.colour + 1) % len(COLOURS), fault="")
        case "s":
            return replace(state, sort=(state.sort + 1) % len(SORTS), place=0, fault="")
        case _:
            return replace(state, fault=f"keys: {KEYS}")


def lines(state: State, width: int, height: int, *, colour: bool) -> list[str]:
    """The screen, a line each; without colour a second line under each shows the size of what is coloured."""
    bottom = [state.fault or KEYS][0][:width]
    if not state.chosen:
        return [f"no rollout of {state.name} is so: {state.where}"[:width], bottom]
    shown = state.chosen[min(state.place, len(state.chosen) - 1)]
    method, by = state.methods[state.method], COLOURS[state.colour]
    record, tokens = shown.record, shown.tokens(method)
    order = f"  by {SORTS[state.sort]}" if SORTS[state.sort] else ""
    where = f"  where {state.where}" if state.where else ""
    head = [
        f"[{state.place + 1} of {len(state.chosen)}{order}{where}]  {state.name}  step {record.step}",
        f"problem {record.problem_id}  sample {record.sample}  {record.outcome or '-'}  score {_number(record.score)}"
        f"  advantage {record.advantage:+.3f}" + (f"  left out: {record.left_out}" if record.left_out else ""),
        f"method {method}  colour {by}  {legend(tokens, by)}",
        "",
        *folded(console.printable(record.prompt, keep="\n"), width),
        "",
    ]
    body = paint(tokens, by, width, colour=colour)
    room = max(1, height - 2)
    return [line[:width] for line in head][: room - 1] + body[: max(1, room - len(head))] + ["", bottom]


def legend(tokens: Sequence[Token], by: str) -> str:
    """The range of what is coloured, and where the largest is."""
    values = [(abs(value), token) for token in tokens if (value := getattr(token, by)) is not None]
    if not values:
        return "nothing recorded"
    _, largest = max(values, key=lambda pair: pair[0])
    ups, downs = (sum(token.direction == way for token in tokens) for way in ("up", "down"))
    return f"largest {getattr(largest, by):+.3f} at {largest.text!r}  {ups} up, {downs} down"


def folded(text: str, width: int) -> list[str]:
    return [line[start : start + width] for line in text.splitlines() for start in range(0, max(1, len(line)), width)]


def paint(tokens: Sequence[Token], by: str, width: int, *, colour: bool) -> list[str]:
    """The response in lines of a width: coloured, or with bars of the same height as the colour is strong below it."""
    values = [abs(getattr(token, by) or 0.0) for token in tokens]
    most = max(values, default=0.0) or 1.0
    cells = [
        (character, value / most, token.direction if by == "push" else "up")
        for token, value in zip(tokens, values, strict=True)
        for character in console.printable(token.text) or "·"
    ]
    painted: list[str] = []
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        if colour:
            painted.append("".join(_coloured(*cell) for cell in row))
        else:
            bars = "".join(LEVELS[round(share * (len(LEVELS) - 1))] for _, share, _ in row)
            signs = "".join("-" if way == "down" and share > 0 else " " for _, share, way in row)
            painted += ["".join(cell[0] for cell in row), bars.rstrip(), *([signs.rstrip()] if signs.strip() else [])]
    return painted


def _coloured(character: str, share: float, direction: str) -> str:
    red, green, blue = (round(255 + share * (end - 255)) for end in (DOWN if direction == "down" else UP))
    ink = "30" if share < 0.6 else "97"
    return f"\x1b[{ink};48;2;{red};{green};{blue}m{character}\x1b[0m"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def browse(shown: Sequence[Shown], methods: Sequence[str], name: str) -> None:
    """Show rollouts until a key quits."""
    state: State | None = State(shown, [RECORDED, *methods], name)
    with _keys() as read:
        while state is not None:
            size = os.get_terminal_size()
            text = lines(state, size.columns, size.lines, colour="NO_COLOR" not in os.environ)
            clear = "\n" if "NO_COLOR" in os.environ else "\x1b[2J\x1b[H"
            sys.stdout.write(clear + "\r\n".join(text))
            sys.stdout.flush()
            key = read()
            state = _filtered(state, read) if key == "/" else pressed(state, key)
    sys.stdout.write("\r\n")


def _filtered(state: State, read: Callable[[], str]) -> State:
    """The state after a condition has been typed; an escape leaves it as it is."""
    typed = ""
    while True:
        sys.stdout.write(f"\r\n/ {typed}")
        sys.stdout.flush()
        key = read()
        if key in ("\r", "\n"):
            return replace(state, where=typed, place=0, fault="")
        if key in ("\x1b", "\x03", ""):
            return state
        typed = typed[:-1] if key in ("\x7f", "\b") else typed + key


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Keys as they are pressed, without an echo; arrows as their escape sequence."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before: Any = termios.tcgetattr(descriptor)

    def read() -> str:
        key = os.read(descriptor, 8)
        return key.decode("utf-8", "replace")

    try:
        tty.setcbreak(descriptor)
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
