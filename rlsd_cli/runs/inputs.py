"""The inputs of a run besides its config, and which of them have changed since."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

SHOWN = len("sha256 ") + 12
"""Characters of a digest that are shown."""


class Input(NamedTuple):
    """An input that a config names, as it was found.

    where: a path, or a name of the hub
    digest: `sha256 ...` of its content, or the `commit ...` of the hub
    """

    where: str
    digest: str


Inputs = Mapping[str, Input]
"""By the config key that names each: `data`, `eval_data`, `verifier`, `model`, `reward.parts.NAME`."""


class Change(NamedTuple):
    """An input that was one thing and is another now; `now` is None where it is not there any more."""

    key: str
    where: str
    was: str
    now: str | None

    def in_words(self) -> str:
        if self.now is None:
            return f"{self.key} `{self.where}` is not there any more; it was {self.was}"
        return f"{self.key} `{self.where}` has changed: {self.was} then, {self.now} now"


def changes(known: Inputs, now: Inputs, keys: Sequence[str]) -> list[Change]:
    """The known inputs under these keys or sections that have changed. One that was not known cannot have changed."""
    return [
        Change(key, was.where, was.digest[:SHOWN], here and here.digest[:SHOWN])
        for key, was in known.items()
        if key.partition(".")[0] in keys and ((here := now.get(key)) is None or here.digest != was.digest)
    ]
