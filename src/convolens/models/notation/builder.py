"""Building the network that a text in notation describes."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import nn

from convolens.errors import ConfigError, ConvolensError, ShapeError
from convolens.models.notation.blocks import BLOCKS, Add, Concat, Residual
from convolens.models.notation.fault import excerpt
from convolens.models.notation.layers import LAYERS, Site, Volume
from convolens.models.notation.parser import parse
from convolens.models.notation.tree import Item, Layer, Notation, Repeat, Split
from convolens.models.notation.words import WORDS

MAX_PARAMETERS = 10_000_000_000
CIFAR = (3, 32, 32)  # CS231n's INPUT
NUM_CLASSES = 10
FIRST_FILTERS, MOST_FILTERS = 64, 512  # as in VGG
HIDDEN_UNITS = 512
POOLS = ("maxpool", "avgpool")
# What may stand behind the layer that gives the logits.
KEEPS_CHANNELS = {
    *POOLS,
    *("adaptivemaxpool", "adaptiveavgpool", "gap", "gmp", "flatten", "upsample", "bilinear"),
    *("bn", "gn", "ln", "lrn", "dropout", "identity", "softmax", "sigmoid", "relu", "leakyrelu"),
    *("prelu", "elu", "gelu", "silu", "tanh"),
}
HEADS = ("fc", "conv", "deconv")


def build(
    notation: Notation | str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | Sequence[int] | None = None,
) -> nn.Sequential:
    """The network that a text in notation describes, ready to train.

    A flatten stands before the first "fc" by itself. Convolutions and affine layers begin with
    He's weights and biases of zero. Layers are numbered through the whole network: conv1, relu1,
    conv2, …; a repetition is a Sequential of its copies.

    Source: docs/notation.md; He et al. (2015), arXiv:1502.01852, for the initial weights.
    Args:
        notation: the text, or what `parse` made of it.
        num_classes: units of the last layer, instead of the text's; where neither says, 10.
        in_channels: channels of the input, instead of the text's.
        image_size: sides of the input [px], instead of the text's; one number for all axes.
    Shape: x (N, *input) -> (N, num_classes), where the text ends in an affine layer.
    Returns: the network.
    Raises:
        ConfigError: when the text is wrong or the network absurdly large.
        ShapeError: when a layer does not fit what it reads; the message holds the layer, the
            volume before it and the arithmetic.
    Example:
        >>> net = build("1x28x28 | conv 30 5x5 | relu | maxpool | fc 100 | relu | fc 10")
        >>> [name for name, _ in net.named_children()]
        ['conv1', 'relu1', 'pool1', 'flatten1', 'fc1', 'relu2', 'fc2']
    """
    if isinstance(notation, str):
        notation = parse(notation)
    elif not notation.text:
        notation = parse(str(notation))  # so that errors have a text to point at
    volume = _input(notation, in_channels, image_size)
    with torch.device("meta"):
        net, output = assemble(notation, volume, num_classes)
    count = sum(p.numel() for p in net.parameters())
    if count > MAX_PARAMETERS:
        raise ConfigError(f"the network has {count:,} parameters: at most {MAX_PARAMETERS:,}")
    if num_classes is not None and output[0] != num_classes:
        raise ShapeError(
            f"the network gives {_sizes(output)} for one picture, expected {num_classes} classes",
            "End the text with fc, or with a convolution and gap.",
        )
    if torch.get_default_device().type != "meta":
        net, _ = assemble(notation, volume, num_classes)
    return net


def _input(
    notation: Notation, in_channels: int | None, image_size: int | Sequence[int] | None
) -> Volume:
    channels, *sizes = notation.input or CIFAR
    if isinstance(image_size, int):
        sizes = [image_size] * len(sizes)
    elif image_size is not None:
        if len(image_size) != len(sizes):
            raise ShapeError(
                f"image_size must have {len(sizes)} sides as the text's input, "
                f"received {tuple(image_size)}"
            )
        sizes = [*image_size]
    volume = (channels if in_channels is None else in_channels, *sizes)
    if min(volume) < 1:
        raise ShapeError(f"an input of {_sizes(volume)} has no pixel")
    return volume


def assemble(
    notation: Notation, volume: Volume, num_classes: int | None
) -> tuple[nn.Sequential, Volume]:
    """The network for inputs of `volume` on the default device, and the volume that it gives."""
    bench = _Bench(text=notation.text, num_classes=num_classes, volume=volume)
    return bench.sequence(notation.items, last=True), bench.volume


@dataclass(kw_only=True)
class _Bench:
    """A network while it is put together: the volume so far, and what is counted."""

    text: str
    num_classes: int | None
    volume: Volume
    filters: int = FIRST_FILTERS
    numbers: Counter[str] = field(default_factory=Counter)

    def name(self, word: str) -> str:
        self.numbers[word] += 1
        return f"{word}{self.numbers[word]}"

    def sequence(self, items: Sequence[Item], *, last: bool) -> nn.Sequential:
        """The items one after the other; `last` where nothing stands behind them."""
        head = _head(items) if last else None
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for index, item in enumerate(items):
            if _begins_with_fc(item) and len(self.volume) > 1:
                modules[self.name("flatten")] = nn.Flatten()
                self.volume = (prod(self.volume),)
            if isinstance(item, Layer):
                name = self.name(WORDS[item.word].name or item.word)
                modules[name] = self.layer(item, is_head=index == head)
            elif isinstance(item, Repeat):
                name = self.name("repeat")
                modules[name] = self.repeat(item, last=index == head)
            else:
                name = self.name(item.word)
                modules[name] = self.split(item)
        return nn.Sequential(modules)

    def layer(self, layer: Layer, *, is_head: bool) -> nn.Module:
        site = Site(
            volume=self.volume,
            filters=self.filters,
            units=NUM_CLASSES if is_head else HIDDEN_UNITS,
            head=self.num_classes if is_head else None,
        )
        maker = LAYERS.get(layer.word) or BLOCKS[layer.word]
        try:
            module, after = maker(layer, site)
        except ConvolensError as error:
            raise self.placed(error, layer, f"{layer} on {_sizes(self.volume)}") from error
        except (RuntimeError, OverflowError, TypeError) as error:
            # PyTorch counts bytes in 64 bits, and memory has an end before that.
            reason = ConfigError("its weights do not fit into memory")
            raise self.placed(reason, layer, f"{layer} on {_sizes(self.volume)}") from error
        if layer.word in POOLS and after[1:] != self.volume[1:]:
            self.filters = min(2 * self.filters, MOST_FILTERS)
        self.volume = after
        return module

    def repeat(self, repeat: Repeat, *, last: bool) -> nn.Sequential:
        """A Sequential of the copies; a copy of one layer is the layer itself."""
        copies: list[nn.Module] = []
        for number in range(1, repeat.count + 1):
            copy = self.sequence(repeat.items, last=last and number == repeat.count)
            copies.append(copy if len(copy) > 1 else copy[0])
        return nn.Sequential(*copies)

    def split(self, split: Split) -> nn.Module:
        before, filters = self.volume, self.filters
        branches, outputs = [], []
        for items in split.branches:
            self.volume, self.filters = before, filters
            branches.append(self.sequence(items, last=False))
            outputs.append(self.volume)
        self.filters = filters
        if split.word == "concat":
            kept = {output[1:] for output in outputs}
            self.volume = (sum(output[0] for output in outputs), *outputs[0][1:])
        else:
            kept = {*outputs, *([before] if split.word == "residual" else [])}
            self.volume = outputs[0]
        if len(kept) > 1:
            shown = ", ".join(map(_sizes, outputs))
            differ = f"gives {shown} for {_sizes(before)}"
            error = ShapeError(
                f"what the branch gives does not fit what it is added to: it {differ}"
                if split.word == "residual"
                else f"the branches do not fit together: {split.word} {differ}"
            )
            raise self.placed(error, split, split.word)
        if split.word == "residual":
            return Residual(OrderedDict(branches[0].named_children()))
        return Add(branches) if split.word == "add" else Concat(branches)

    def placed(self, error: ConvolensError, item: Layer | Split, what: str) -> ConvolensError:
        """The error with the layer, the volume before it and its place in the text."""
        place = f'In "{excerpt(self.text, item.start, item.end)}".'
        if error.hint:
            place = f"{place} {error.hint}"
        return type(error)(f"{what}: {error.message}", place)


def _begins_with_fc(item: Item) -> bool:
    """Whether it needs a flat input; a repetition gets it before its first copy."""
    while isinstance(item, Repeat):
        item = item.items[0]
    return isinstance(item, Layer) and item.word == "fc"


def _head(items: Sequence[Item]) -> int | None:
    """The item whose units are the classes; None where the last layers are of another kind."""
    for index in reversed(range(len(items))):
        item = items[index]
        if isinstance(item, Repeat):
            return index
        if isinstance(item, Split) or item.word not in KEEPS_CHANNELS:
            return index if isinstance(item, Layer) and item.word in HEADS else None
    return None


def _sizes(volume: Volume) -> str:
    return "×".join(map(str, volume))
