"""A network as one line of text, as people write on a board."""

from convolens.models.notation.builder import build
from convolens.models.notation.parser import is_notation, parse
from convolens.models.notation.printer import to_notation
from convolens.models.notation.tree import Layer, Notation, Repeat, Split

__all__ = ["Layer", "Notation", "Repeat", "Split", "build", "is_notation", "parse", "to_notation"]
