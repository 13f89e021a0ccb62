"""The methods by which the parts of the parser read what stands inside them."""

from abc import ABC, abstractmethod

from rlsd_verifiers.maths.cursor import Cursor
from rlsd_verifiers.maths.tree import Node


class Grammar(Cursor, ABC):
    """The levels of the notation, from loose to tight; each part of the parser defines some of them."""

    @abstractmethod
    def answer(self) -> Node:
        """A whole text."""

    @abstractmethod
    def list_until(self, *closing: str) -> Node:
        """Items up to a closing mark, which stays."""

    @abstractmethod
    def relation(self) -> Node:
        """Sets with relations between them: `a < b <= c`."""

    @abstractmethod
    def sum(self) -> Node:
        """Terms with signs between them."""

    @abstractmethod
    def product(self) -> Node:
        """Factors, quotients and what follows them."""

    @abstractmethod
    def power(self) -> Node:
        """An atom with its exponents and what else follows it."""

    @abstractmethod
    def script(self) -> Node:
        """What a `^` or `_` takes."""

    @abstractmethod
    def atom(self) -> Node:
        """A number, name, function or bracket."""

    @abstractmethod
    def argument(self) -> Node:
        r"""What `\frac` takes."""

    @abstractmethod
    def group(self, closing: str) -> Node:
        """What stands before a closing mark, which is taken."""

    @abstractmethod
    def function(self, name: str) -> Node:
        """A named function and its argument."""

    @abstractmethod
    def subscripted(self, name: str) -> Node:
        """A symbol with the index that follows its name."""

    @abstractmethod
    def starts_atom(self) -> bool:
        """True where an atom begins."""
