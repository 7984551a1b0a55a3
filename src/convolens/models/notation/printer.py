"""Writing a network as text."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import nn

from convolens.errors import ConfigError, ConvolensError
from convolens.models.notation.blocks import Add, Concat, Residual
from convolens.models.notation.builder import assemble, build
from convolens.models.notation.describe import NoWordError, describe
from convolens.models.notation.extent import smallest_side
from convolens.models.notation.steps import steps
from convolens.models.notation.tree import Item, Layer, Notation, Repeat, Split
from convolens.nn.dimensions import DIMENSIONS

USUAL_SIDE = 224  # where adaptive or global pooling takes any
LONGEST_PERIOD = 24
GLOBAL_POOLS = (Layer(word="gap"), Layer(word="gmp"))
SPLITS: dict[type[nn.Module], str] = {Add: "add", Concat: "concat", Residual: "residual"}


def to_notation(net: nn.Module, *, input_size: Sequence[int] | None = None) -> str:
    """The text of a network of layers one after the other, from which `build` makes it again.

    Layers that are alike and follow one another are written once, in brackets.

    Args:
        net: layers that the notation has words for, one after the other: a Sequential, nested or
            not, or a module whose forward is as plain.
        input_size: (C, *sizes) of the input; by default the smallest square one from which the
            first affine layer gets what it reads, or 224 px where any will do.
    Returns: the canonical text; what `build` makes of it has the same parameter shapes.
    Raises:
        ConfigError: when a module has no word, or the input cannot be found.
    Example:
        >>> to_notation(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
        '784 | flatten | fc 10'
    """
    items = tuple(_tidied([*_items(net, "")]))
    if not items:
        raise ConfigError("the network has no layer to write")
    size = tuple(input_size) if input_size is not None else _find_input(net, items)
    text = str(Notation(items=_folded(items), input=size))
    try:
        with torch.device("meta"):
            again = build(text)
    except ConvolensError as error:
        raise ConfigError(f"the text of the network does not build: {error.message}") from error
    if [*map(_shape, again.parameters())] != [*map(_shape, net.parameters())]:
        raise ConfigError(
            f"no network of the text has the same parameters for an input of {_sizes(size)}",
            "Give input_size, and leave the network's implicit steps out of forward.",
        )
    return text


def _items(module: nn.Module, path: str) -> Iterator[Item]:
    """What the module is in the notation, layer after layer."""
    if type(module) is nn.Sequential:
        for name, child in module.named_children():
            yield from _items(child, f"{path}.{name}" if path else name)
        return
    if type(module) in SPLITS:
        yield _split(module, path)
        return
    try:
        layer = describe(module)
    except NoWordError as error:
        raise _no_word(module, path, f" with {error}") from None
    if layer is not None:
        yield layer
    elif path:
        raise _no_word(module, path, "")
    else:
        for name, child in steps(module):
            yield from _items(child, name)


def _no_word(module: nn.Module, path: str, setting: str) -> ConfigError:
    return ConfigError(
        f"{path or 'the network'} is a {type(module).__name__}{setting}, "
        f"for which the notation has no word"
    )


def _split(module: nn.Module, path: str) -> Split:
    word = SPLITS[type(module)]
    if word == "residual":
        body = [
            item
            for name, child in module.named_children()
            for item in _items(child, f"{path}.{name}")
        ]
        return Split(word=word, branches=(_folded(_tidied(body)),))
    branches = [
        _folded(_tidied([*_items(child, f"{path}.{name}")]))
        for name, child in module.named_children()
    ]
    return Split(word=word, branches=tuple(branches))


def _tidied(items: list[Item]) -> list[Item]:
    """Adaptive pooling to one pixel and a flatten are one word; a flatten before fc is none."""
    found: list[Item] = []
    for item in items:
        before = found[-1] if found else None
        if (
            isinstance(before, Layer)
            and before.word.startswith("adaptive")
            and set(before.window) == {1}
            and item == Layer(word="flatten")
        ):
            found[-1] = Layer(word="gap" if before.word == "adaptiveavgpool" else "gmp")
        elif (
            isinstance(item, Layer)
            and item.word == "fc"
            and before == Layer(word="flatten")
            and len(found) > 1
        ):
            found[-1] = item
        else:
            found.append(item)
    return found


def _folded(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items with each run of the same ones written once."""
    found: list[Item] = []
    start = 0
    while start < len(items):
        best, period = 1, 1
        for length in range(1, min(LONGEST_PERIOD, (len(items) - start) // 2) + 1):
            copies = _copies(items, start, length)
            if (copies - 1) * length > (best - 1) * period:
                best, period = copies, length
        run = items[start : start + period]
        if best > 1:
            found.append(Repeat(items=_folded(run), count=best))
        else:
            found.extend(run)
        start += best * period
    return tuple(found)


def _copies(items: Sequence[Item], start: int, length: int) -> int:
    """How often items[start : start + length] stands there one after the other."""
    first, copies = items[start : start + length], 1
    while items[start + copies * length : start + (copies + 1) * length] == first:
        copies += 1
    return copies


def _find_input(net: nn.Module, items: Sequence[Item]) -> tuple[int, ...]:
    """(C, *sizes) from the channels of the first layer and what the first affine layer reads."""
    modules = [*net.modules()]
    first = next((m for m in modules if _channels(m)), None)
    if first is None:
        raise ConfigError("no layer tells the channels of the input", "Give input_size.")
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    axes = _axes(modules)
    end = next((i for i, item in enumerate(items) if _ends_axes(item)), len(items))
    trunk = items[:end]
    usual = (_channels(first), *(max(USUAL_SIDE, smallest_side(trunk, 1) or 1),) * axes)
    linear = next((m for m in modules if isinstance(m, nn.Linear)), None)
    if linear is None or end == len(items) or items[end] in GLOBAL_POOLS:
        return usual
    with torch.device("meta"):
        _, volume = assemble(Notation(items=tuple(trunk), input=usual), usual, None)
    if prod(volume) == linear.in_features:
        return usual
    side = round((linear.in_features / volume[0]) ** (1 / axes))
    return (usual[0], *(smallest_side(trunk, max(side, 1)) or USUAL_SIDE,) * axes)


def _ends_axes(item: Item) -> bool:
    return isinstance(item, Layer) and item.word in ("flatten", "fc", "gap", "gmp")


def _channels(module: nn.Module) -> int:
    """The channels that a layer reads; 0 where any number will do."""
    for attribute in ("in_channels", "num_features", "in_features"):
        number = getattr(module, attribute, 0)
        if isinstance(number, int) and number:
            return number
    return 0


def _axes(modules: Sequence[nn.Module]) -> int:
    for module in modules:
        for axes, layers in DIMENSIONS.items():
            if isinstance(module, (layers.conv, layers.conv_transpose, layers.max_pool)):
                return axes
    return 2


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    return tuple(parameter.shape)


def _sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
