"""Synthetic problems for `bench.py`: word problems of many templates, names, things and numbers, with repeats."""

import json
from pathlib import Path
from random import Random

NAMES = "Ada Ben Chloe Dev Elif Farid Grace Hugo Ines Jun Kofi Lena Mina Noor Otto Priya Quinn Rosa Sami Tess".split()
THINGS = "apples books candles drums eggs flags games hats irons jars kites lamps maps nails olives pens".split()
PLACES = "market garden library station school kitchen museum harbour workshop bakery".split()
OPENINGS = (
    "{name} has {a} {thing} and buys {b} more at the {place}.",
    "On Monday {name} counted {a} {thing} at the {place}, and {b} more arrived before noon.",
    "There are {a} {thing} in the {place}; {name} brings another {b} of them.",
    "{name} keeps {thing} in two boxes at the {place}: {a} in the first one and {b} in the second one.",
)
MIDDLES = (
    "After that, {c} of them are given to {other}.",
    "{other} takes {c} of them home in the evening.",
    "Then {c} of them break while {other} carries them up the stairs.",
    "{other} asks for {c} of them and gets exactly what was asked for.",
)
ENDINGS = (
    "How many {thing} are left?",
    "How many {thing} does {name} have now?",
    "What is the number of {thing} at the end of the day?",
)


def write_rows(path: Path, count: int, seed: int = 0) -> None:
    """`count` rows with a worked solution; one in a hundred repeats an earlier one, as it is or nearly."""
    random = Random(seed)
    recent: list[dict[str, str]] = []
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            row = _repeat(random, recent) if recent and random.random() < 0.01 else _draw(random)
            if len(recent) < 1000:
                recent.append(row)
            file.write(json.dumps(row) + "\n")


def _draw(random: Random) -> dict[str, str]:
    a, b = random.randint(2, 9999), random.randint(2, 9999)
    c = random.randint(1, a + b)
    name, other = random.sample(NAMES, 2)
    fields = {"name": name, "other": other, "thing": random.choice(THINGS), "place": random.choice(PLACES)}
    text = " ".join(random.choice(part) for part in (OPENINGS, MIDDLES, ENDINGS))
    solution = f"{a} + {b} = {a + b}\n{a + b} - {c} = {a + b - c}\n#### {a + b - c}"
    return {"question": text.format(**fields, a=a, b=b, c=c), "answer": str(a + b - c), "solution": solution}


def _repeat(random: Random, recent: list[dict[str, str]]) -> dict[str, str]:
    row = random.choice(recent)
    return row if random.random() < 0.5 else row | {"question": row["question"] + " Please."}
