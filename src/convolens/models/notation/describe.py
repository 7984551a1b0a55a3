"""The word for a module, with the numbers that its text needs."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from convolens.models.notation.tree import Layer
from convolens.nn.bilinear import BilinearUpsample
from convolens.nn.dense import DenseBlock, DenseLayer, Transition
from convolens.nn.dimensions import DIMENSIONS, BatchNorm, Convolution
from convolens.nn.inception import Inception
from convolens.nn.lrn import LocalResponseNorm
from convolens.nn.maxout import Maxout
from convolens.nn.pooling import GlobalAveragePool
from convolens.nn.residual import BasicBlock, Bottleneck, ZeroPadShortcut


class NoWordError(Exception):
    """The notation cannot say what a module is set to; the message is the setting."""


Describer: TypeAlias = Callable[..., Layer]


def describe(module: nn.Module) -> Layer | None:
    """The layer that the module is, or None where the notation has no word for its kind.

    Raises:
        NoWordError: when it has a word for the kind but not for one of its settings.
    """
    describer = DESCRIBERS.get(type(module))
    return describer(module) if describer else None


def _only(module: nn.Module, **expected: object) -> None:
    """Raises NoWordError unless the attributes have the only values that the notation has."""
    for name, value in expected.items():
        if (found := getattr(module, name)) != value:
            raise NoWordError(f"{name}={found!r}")


def _sizes(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _unless(value: int | Sequence[int], usual: int) -> tuple[int, ...]:
    """The numbers as the tree holds them; none where all are the usual one."""
    numbers = set((value,) if isinstance(value, int) else value)
    if numbers == {usual}:
        return ()
    if len(numbers) == 1:
        return (numbers.pop(),)
    return () if isinstance(value, int) else tuple(value)


def _conv(module: _ConvNd) -> Layer:
    _only(module, padding_mode="zeros")
    padding = module.padding
    depthwise = 1 < module.groups == module.in_channels == module.out_channels
    return Layer(
        word="dwconv" if depthwise and not module.transposed else _conv_word(module),
        numbers=() if depthwise and not module.transposed else (module.out_channels,),
        window=tuple(module.kernel_size),
        stride=_unless(module.stride, 1),
        padding=padding if isinstance(padding, str) else _unless(padding, 0),
        dilation=_unless(module.dilation, 1),
        groups=None
        if module.groups == 1 or (depthwise and not module.transposed)
        else module.groups,
        output_padding=_unless(module.output_padding, 0),
        flags=() if module.bias is not None else ("nobias",),
    )


def _conv_word(module: _ConvNd) -> str:
    return "deconv" if module.transposed else "conv"


def _max_pool(module: nn.MaxPool2d, axes: int) -> Layer:
    _only(module, return_indices=False)
    return _pool("maxpool", module, axes, dilation=_unless(module.dilation, 1))


def _avg_pool(module: nn.AvgPool2d, axes: int) -> Layer:
    if _unless(module.padding, 0):
        _only(module, count_include_pad=True)
    if axes > 1:
        _only(module, divisor_override=None)
    return _pool("avgpool", module, axes, dilation=())


def _pool(
    word: str, module: nn.MaxPool2d | nn.AvgPool2d, axes: int, *, dilation: tuple[int, ...]
) -> Layer:
    stride = _sizes(module.stride, axes)
    return Layer(
        word=word,
        window=_sizes(module.kernel_size, axes),
        stride=stride[:1] if len(set(stride)) == 1 else stride,
        padding=_unless(module.padding, 0),
        dilation=dilation,
        flags=("ceil",) if module.ceil_mode else (),
    )


def _adaptive(word: str, axes: int) -> Describer:
    def describe_adaptive(module: nn.AdaptiveAvgPool2d) -> Layer:
        sizes = module.output_size
        if isinstance(sizes, int):
            return Layer(word=word, window=(sizes,) * axes)
        given = tuple(size for size in sizes or () if size is not None)
        if len(given) < axes:
            raise NoWordError(f"output_size={module.output_size}")
        return Layer(word=word, window=given)

    return describe_adaptive


def _plain(word: str, **expected: object) -> Describer:
    def describe_plain(module: nn.Module) -> Layer:
        _only(module, **expected)
        return Layer(word=word)

    return describe_plain


def _with(word: str, attribute: str, usual: float | None = None, **expected: object) -> Describer:
    """A word with one number, an attribute of the module; the usual number is not written."""

    def describe_with(module: nn.Module) -> Layer:
        _only(module, **expected)
        number = getattr(module, attribute)
        return Layer(word=word, numbers=() if number == usual else (number,))

    return describe_with


def _linear(module: nn.Linear) -> Layer:
    flags = () if module.bias is not None else ("nobias",)
    return Layer(word="fc", numbers=(module.out_features,), flags=flags)


def _torch_lrn(module: nn.LocalResponseNorm) -> Layer:
    numbers = (module.size, module.alpha / module.size, module.beta, float(module.k))
    return Layer(word="lrn", numbers=numbers)


def _lrn(module: LocalResponseNorm) -> Layer:
    numbers = (module.size, module.alpha, module.beta, float(module.k))
    return Layer(word="lrn", numbers=() if numbers == (5, 1e-4, 0.75, 2.0) else numbers)


def _upsample(module: nn.Upsample) -> Layer:
    factor = module.scale_factor
    if not isinstance(factor, int | float) or factor != int(factor) or factor < 1:
        raise NoWordError(f"scale_factor={factor}")
    if module.align_corners:
        raise NoWordError("align_corners=True")
    mode = module.mode
    if mode not in ("nearest", "linear", "bilinear", "trilinear"):
        raise NoWordError(f"mode={mode!r}")
    return Layer(
        word="upsample", numbers=(int(factor),), flags=() if mode == "nearest" else (mode,)
    )


def _bilinear(module: BilinearUpsample) -> Layer:
    if module.groups != module.in_channels:
        raise NoWordError("per_channel=False")
    return Layer(word="bilinear", numbers=(module.stride[0],))


def _inception(module: Inception) -> Layer:
    convs = [m.out_channels for m in module.modules() if isinstance(m, Convolution)]
    flags = ("bn",) if any(isinstance(m, BatchNorm) for m in module.modules()) else ()
    if len(convs) == 3:
        return Layer(word="inception", numbers=tuple(convs), flags=("naive", *flags))
    ch1x1, reduce3, ch3x3, reduce5, ch5x5, pooled = convs
    return Layer(
        word="inception",
        numbers=(ch1x1, (reduce3, ch3x3), (reduce5, ch5x5), pooled),
        flags=flags,
    )


def _residual(module: BasicBlock | Bottleneck) -> Layer:
    if isinstance(module, Bottleneck):
        if max(module.conv1.stride) > 1:
            raise NoWordError('stride_at="1x1"')
        numbers: tuple[int | tuple[int, int], ...] = (
            (module.conv2.out_channels, module.out_channels),
        )
        word, stride = "bottleneck", module.conv2.stride
    else:
        numbers = (module.out_channels,)
        word, stride = "residual", module.conv1.stride
    flags: tuple[str, ...] = ()
    if not module.adds:
        flags = ("plain",)
    elif isinstance(module.downsample, ZeroPadShortcut):
        flags = ("identity",)
    return Layer(word=word, numbers=numbers, stride=_unless(stride, 1), flags=flags)


def _dense(module: DenseBlock) -> Layer:
    layers = [layer for layer in module.children() if isinstance(layer, DenseLayer)]
    convs = [m for m in layers[0].modules() if isinstance(m, Convolution)]
    growth = convs[-1].out_channels
    if len(convs) == 2 and convs[0].out_channels != 4 * growth:
        raise NoWordError(f"bottleneck={convs[0].out_channels / growth:g}")
    if any(isinstance(m, nn.Dropout) for m in module.modules()):
        raise NoWordError("dropout")
    return Layer(
        word="dense",
        numbers=(len(layers),),
        growth=growth,
        flags=() if len(convs) == 2 else ("nobottleneck",),
    )


def _transition(module: Transition) -> Layer:
    conv = next(m for m in module.modules() if isinstance(m, Convolution))
    if any(isinstance(m, nn.Dropout) for m in module.modules()):
        raise NoWordError("dropout")
    before, after = conv.in_channels, conv.out_channels
    if 2 * after == before:
        return Layer(word="transition")
    for digits in range(1, 17):  # the shortest number that rounds down to the channels
        compression = min(1.0, round((after + 0.5) / before, digits))
        if int(before * compression) == after:
            return Layer(word="transition", numbers=(compression,))
    raise NoWordError(f"{after} of {before} channels")


def _by_axes() -> dict[type[nn.Module], Describer]:
    """The words of what PyTorch has for one, two and three axes."""
    found: dict[type[nn.Module], Describer] = {}
    for axes, layers in DIMENSIONS.items():
        found[layers.conv] = found[layers.conv_transpose] = _conv
        found[layers.batch_norm] = _plain("bn", affine=True)
        found[layers.max_pool] = lambda module, axes=axes: _max_pool(module, axes)
        found[layers.avg_pool] = lambda module, axes=axes: _avg_pool(module, axes)
        found[layers.adaptive_avg_pool] = _adaptive("adaptiveavgpool", axes)
        found[layers.adaptive_max_pool] = _adaptive("adaptivemaxpool", axes)
    return found


DESCRIBERS: Mapping[type[nn.Module], Describer] = {
    **_by_axes(),
    nn.Linear: _linear,
    nn.Flatten: _plain("flatten", start_dim=1, end_dim=-1),
    nn.Identity: _plain("identity"),
    nn.ReLU: _plain("relu"),
    nn.GELU: _plain("gelu", approximate="none"),
    nn.SiLU: _plain("silu"),
    nn.Sigmoid: _plain("sigmoid"),
    nn.Tanh: _plain("tanh"),
    nn.Softmax: _plain("softmax", dim=1),
    nn.LeakyReLU: _with("leakyrelu", "negative_slope", 0.01),
    nn.PReLU: _with("prelu", "num_parameters", 1),
    nn.ELU: _with("elu", "alpha", 1.0),
    nn.Dropout: _with("dropout", "p", 0.5),
    nn.GroupNorm: _with("gn", "num_groups", affine=True),
    nn.LayerNorm: _plain("ln", elementwise_affine=True),
    nn.LocalResponseNorm: _torch_lrn,
    nn.Upsample: _upsample,
    LocalResponseNorm: _lrn,
    Maxout: _with("maxout", "num_pieces"),
    GlobalAveragePool: _plain("gap", flatten=True),
    BilinearUpsample: _bilinear,
    Inception: _inception,
    BasicBlock: _residual,
    Bottleneck: _residual,
    DenseBlock: _dense,
    Transition: _transition,
}
