"""The list of mutations stands for the code as it is: each has its place in it, and its test is there."""

import re

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation

EVERY = [(file, mutation) for file, mutations in MUTATIONS.items() for mutation in mutations]


@pytest.mark.parametrize(("file", "mutation"), EVERY, ids=lambda value: getattr(value, "fault", ""))
def test_a_mutation_changes_one_place_and_names_a_test(file: str, mutation: Mutation) -> None:
    assert (ROOT / file).read_text(encoding="utf-8").count(mutation.old) == 1
    assert mutation.new != mutation.old
    path, _, name = mutation.killer.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {re.escape(name.partition('[')[0]) or 'test_'}", text, re.MULTILINE)


def test_faults_have_names_of_their_own() -> None:
    faults = [mutation.fault for _, mutation in EVERY]
    assert len(set(faults)) == len(faults) > 100
