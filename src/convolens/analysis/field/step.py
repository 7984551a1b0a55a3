"""What a rule of an operation is given, and gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from convolens.analysis.field.arguments import Arguments
from convolens.analysis.field.reach import Reach, union
from convolens.analysis.graph import Operation, Ref


class UnknownError(Exception):
    """There is no exact rule for an operation, or for this use of it."""


@dataclass(frozen=True)
class Step(Arguments):
    """An operation with what its arguments read; a value that is missing reads nothing.

    Args:
        reaches: what every value until now reads.
        makers: the operation of every value that is a result.
    """

    reaches: Mapping[int, Reach]
    makers: Mapping[int, Operation]

    def reach(self, position: int) -> Reach | None:
        """What a tensor argument reads; None for a constant, or where there is no tensor."""
        argument = self.get(position)
        return self.reaches.get(argument.value) if isinstance(argument, Ref) else None

    def first(self) -> Reach:
        """What the first argument reads, where all others must be constant.

        Raises:
            UnknownError: when another tensor reads the input too.
        """
        reach = self.reach(0)
        if reach is None or any(
            value in self.reaches for value in self.operation.inputs if value != self.value(0)
        ):
            raise UnknownError
        return reach

    def all_inputs(self) -> Reach | None:
        """What all tensors read together, where their shapes broadcast."""
        result: Reach | None = None
        for value in self.operation.inputs:
            result = union(result, self.reaches.get(value))
        return result


# One reach for all results, or one for each.
Results = Reach | list[Reach | None] | None
Rule = Callable[[Step], Results]
