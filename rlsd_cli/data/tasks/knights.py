"""Knights, who only tell the truth, and knaves, who only lie: who is who?

A world gives every person a kind, written as a string of K and N. Claims are drawn until exactly one world fits them.
The worked solution assumes kinds person by person, K before N, drops an assumption as soon as a claim contradicts it,
and goes on after the world that fits, to show that it is the only one.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations, product
from random import Random
from typing import NamedTuple

from rlsd_cli.data.problems import Problem, content_hash

NAMES = "ABCDE"


class Claim(NamedTuple):
    """What a person says about one or two people: true where their kinds, in order, are among `kinds`."""

    about: tuple[int, ...]
    kinds: frozenset[str]
    text: str


_OF_ONE = {"{} is a knight": "K", "{} is a knave": "N"}
_OF_TWO = {
    "{} and {} are of the same kind": "KK NN",
    "{} and {} are of different kinds": "KN NK",
    "{} and {} are knights": "KK",
    "{} and {} are knaves": "NN",
    "at least one of {} and {} is a knight": "KK KN NK",
    "at least one of {} and {} is a knave": "KN NK NN",
}


def draw(random: Random, people: int = 3) -> Problem:
    """So many people, each with one claim that may name the speaker only beside another person."""
    choices = [_claims(speaker, people) for speaker in range(people)]
    fitting: list[str] = []
    while len(fitting) != 1:
        claims = [random.choice(each) for each in choices]
        fitting = [world for world in map("".join, product("KN", repeat=people)) if _liar(world, claims) is None]
    said = " ".join(f"{name} says: {claim.text}." for name, claim in zip(NAMES, claims, strict=False))
    question = (
        f"Knights always tell the truth, knaves always lie. {said} Who is a knight (K), who a knave (N)? "
        f"Answer with a letter for each of {NAMES[:people]}, without spaces."
    )
    solution = "\n".join([*_cases("", claims), f"\\boxed{{{fitting[0]}}}"])
    fingerprint = content_hash(question)
    return Problem(fingerprint, fingerprint, question, fitting[0], solution, verifier="exact")


@cache
def _claims(speaker: int, people: int) -> list[Claim]:
    others = [(person,) for person in range(people) if person != speaker]
    pairs = list(combinations(range(people), 2))
    return [
        Claim(about, frozenset(kinds.split()), form.format(*(NAMES[person] for person in about)))
        for groups, forms in ((others, _OF_ONE), (pairs, _OF_TWO))
        for about in groups
        for form, kinds in forms.items()
    ]


def _liar(world: str, claims: Sequence[Claim]) -> int | None:
    """The first person whose claim does not go with their kind, in a world that may leave out the last people."""
    for speaker, (kind, claim) in enumerate(zip(world, claims, strict=False)):
        if max(claim.about) < len(world) and (kind == "K") != _holds(claim, world):
            return speaker
    return None


def _holds(claim: Claim, world: str) -> bool:
    return "".join(world[person] for person in claim.about) in claim.kinds


def _cases(world: str, claims: Sequence[Claim]) -> list[str]:
    """A line for every assumption that ends, in contradiction or as a world that fits."""
    liar = _liar(world, claims)
    if liar is not None:
        return [f"{world}: {NAMES[liar]}'s claim is {'false' if world[liar] == 'K' else 'true'}, no."]
    if len(world) == len(claims):
        return [f"{world}: fits."]
    return [line for kind in "KN" for line in _cases(world + kind, claims)]
