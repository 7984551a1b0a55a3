"""FCN: a classifier's body that scores every place, upsampled, with skips from finer maps.

Source: Long, Shelhamer, Darrell (2015), Fully convolutional networks for semantic segmentation,
arXiv:1411.4038; paddings and crops are those of the authors' public networks for Caffe.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.geometry import output_size
from convolens.models.entry import ModelEntry, Published
from convolens.models.fcn_body import Padding, ResNetBody, Stem, VGGBody, load_body
from convolens.models.weights import fetch_imagenet
from convolens.nn.bilinear import BilinearUpsample
from convolens.nn.initial import drawn_once, he_weights

Body = Literal["vgg16", "resnet18"]
VOC_CLASSES = 21
# With "paper" padding, where each finer map begins in what was upsampled, and last the picture: the
# distances of their first units, which Caffe's crop layer computes from all strides and paddings.
PAPER_CROPS = {32: (19,), 16: (5, 27), 8: (5, 9, 31)}


class FCN(nn.Module):
    """up(…up(score(coarse)) + score(finer)…), cropped to the picture.

    Source: Long et al. (2015), sections 3.3 and 4.2, figure 3.
    Args:
        body: gives three maps, the coarsest last.
        num_classes: K.
        skips: how many finer maps are scored and added, 0 to 2.
        crops: where each skip, and last the picture, begins in what was upsampled without
            trimming; None where the body's maps begin with the picture's first pixel.
        per_channel: as of `BilinearUpsample`.
    Shape: x (N, C, H, W) -> (N, K, H, W)
    """

    def __init__(
        self,
        body: VGGBody | ResNetBody,
        num_classes: int,
        *,
        skips: int,
        crops: tuple[int, ...] | None,
        per_channel: bool,
    ) -> None:
        super().__init__()
        self.body = body
        self.crops = crops or (0,) * (skips + 1)
        self.score_fr = _zeros(body.channels[2], num_classes)
        self.score_pool4 = _zeros(body.channels[1], num_classes) if skips > 0 else None
        self.score_pool3 = _zeros(body.channels[0], num_classes) if skips > 1 else None
        factors = (*(2,) * skips, body.stride >> skips)
        upscore = [BilinearUpsample(num_classes, f, per_channel=per_channel) for f in factors]
        if crops is not None:
            for layer in upscore:
                layer.padding = (0, 0)  # the crops say what is trimmed
        self.upscore = nn.ModuleList(upscore)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        pool3, pool4, x = self.body(x)
        x = self.score_fr(x)
        finer = ((self.score_pool4, pool4), (self.score_pool3, pool3))
        *ups, last = self.upscore
        for (score, pool), up, crop in zip(finer, ups, self.crops, strict=False):
            if score is None:
                break
            x, skip = up(x), score(pool)[:, :, crop:, crop:]
            height, width = min(x.shape[2], skip.shape[2]), min(x.shape[3], skip.shape[3])
            x = x[:, :, :height, :width] + skip[:, :, :height, :width]
        first, x = self.crops[-1], last(x)
        return x[:, :, first : first + size[0], first : first + size[1]]


def fcn32s(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 500,
    *,
    body: Body = "vgg16",
    padding: Padding = "paper",
    stem: Stem = "full",
    width: int = 64,
    dropout: float = 0.5,
    per_channel: bool = True,
) -> FCN:
    """FCN-32s: VGG-16 scores every place at stride 32, and the scores are upsampled 32 times.

    Source: Long et al. (2015), section 4.1.
    Args:
        num_classes: K; 21 for PASCAL VOC.
        in_channels: channels of the picture.
        image_size: side of the picture [px]. No weight's shape depends on it, and every other
            size works as well.
        body: "vgg16" as in the paper, or "resnet18", which trains on a CPU.
        padding: of "vgg16": "paper" puts 100 px of zeros around the picture; "same" only what
            keeps every map the picture's size divided by its stride, much less work for small
            pictures.
        stem: of "resnet18": "full", or "small" for small pictures, which predicts twice as finely.
        width: of "resnet18": channels of its first stage.
        dropout: of "vgg16": probability of dropping a unit after fc6 and after fc7.
        per_channel: whether scores are upsampled each by a kernel of its own; False gives the
            authors' kernels of K·K·size², which begin as the same function.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
        ShapeError: when image_size is less than 1.
    Deviates: all upsampling is learnt, beginning as bilinear interpolation, where the authors fix
        the last; the body's weights are drawn as He et al. (2015) do unless they are loaded.
    Example:
        >>> net = fcn32s(num_classes=11, body="resnet18", width=8)
        >>> net(torch.zeros(1, 3, 45, 60)).shape
        torch.Size([1, 11, 45, 60])
    """
    return _fcn(
        *(32, num_classes, in_channels, image_size),
        body=body,
        padding=padding,
        stem=stem,
        width=width,
        dropout=dropout,
        per_channel=per_channel,
    )


def fcn16s(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 500,
    *,
    body: Body = "vgg16",
    padding: Padding = "paper",
    stem: Stem = "full",
    width: int = 64,
    dropout: float = 0.5,
    per_channel: bool = True,
) -> FCN:
    """FCN-16s: scores at stride 32, upsampled twice and added to those of pool4, then 16 times.

    Source: Long et al. (2015), section 4.2.
    Args: those of `fcn32s`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
        ShapeError: when image_size is less than 1.
    Deviates: as `fcn32s`; all scores are trained at once, from zero.
    """
    return _fcn(
        *(16, num_classes, in_channels, image_size),
        body=body,
        padding=padding,
        stem=stem,
        width=width,
        dropout=dropout,
        per_channel=per_channel,
    )


def fcn8s(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 500,
    *,
    body: Body = "vgg16",
    padding: Padding = "paper",
    stem: Stem = "full",
    width: int = 64,
    dropout: float = 0.5,
    per_channel: bool = True,
) -> FCN:
    """FCN-8s: as FCN-16s, then upsampled twice and added to the scores of pool3, then 8 times.

    Source: Long et al. (2015), section 4.2, figure 3.
    Args: those of `fcn32s`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
        ShapeError: when image_size is less than 1.
    Deviates: as `fcn32s`; all scores are trained at once, from zero.
    """
    return _fcn(
        *(8, num_classes, in_channels, image_size),
        body=body,
        padding=padding,
        stem=stem,
        width=width,
        dropout=dropout,
        per_channel=per_channel,
    )


def fcn32s_resnet18(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    stem: Stem = "full",
    width: int = 64,
) -> FCN:
    """FCN-32s on the body of ResNet-18, which trains on a CPU.

    Source: Long et al. (2015), section 4.2, on the body of He et al. (2015), arXiv:1512.03385.
    Args: those of `fcn32s`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
    """
    return fcn32s(num_classes, in_channels, image_size, body="resnet18", stem=stem, width=width)


def fcn16s_resnet18(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    stem: Stem = "full",
    width: int = 64,
) -> FCN:
    """FCN-16s on the body of ResNet-18, which trains on a CPU.

    Source: Long et al. (2015), section 4.2, on the body of He et al. (2015), arXiv:1512.03385.
    Args: those of `fcn32s`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
    """
    return fcn16s(num_classes, in_channels, image_size, body="resnet18", stem=stem, width=width)


def fcn8s_resnet18(
    num_classes: int = VOC_CLASSES,
    in_channels: int = 3,
    image_size: int = 224,
    *,
    stem: Stem = "full",
    width: int = 64,
) -> FCN:
    """FCN-8s on the body of ResNet-18, which trains on a CPU.

    Source: Long et al. (2015), section 4.2, on the body of He et al. (2015), arXiv:1512.03385.
    Args: those of `fcn32s`.
    Shape: x (N, in_channels, H, W) -> (N, num_classes, H, W)
    Returns: the network, which gives logits for pictures of every size.
    Raises:
        ConfigError: when an option is not known.
    """
    return fcn8s(num_classes, in_channels, image_size, body="resnet18", stem=stem, width=width)


def load_imagenet_body(net: FCN) -> tuple[str, ...]:
    """Gives the body the weights that torchvision's VGG-16 or ResNet-18 learnt from ImageNet.

    Returns: the names of the tensors that stay as initialised.
    Raises:
        UnavailableError: when the weights cannot be fetched.
        ConfigError: when none of them fits.
    """
    name = "vgg16" if isinstance(net.body, VGGBody) else "resnet18"
    left = {f"body.{tensor}" for tensor in load_body(net.body, fetch_imagenet(name))}
    return tuple(n for n in net.state_dict() if n in left or not n.startswith("body."))


def _fcn(
    finest: Literal[32, 16, 8],
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    body: Body,
    padding: Padding,
    stem: Stem,
    width: int,
    dropout: float,
    per_channel: bool,
) -> FCN:
    for field, value, words in (
        ("body", body, Body),
        ("padding", padding, Padding),
        ("stem", stem, Stem),
    ):
        if value not in get_args(words):
            known = ", ".join(get_args(words))
            raise ConfigError(f"{field} must be one of {known}, received {value!r}")
    output_size(image_size, 3, padding=1)  # one pixel is enough for all that follows
    paper = body == "vgg16" and padding == "paper"
    made: VGGBody | ResNetBody
    if body == "vgg16":
        made = VGGBody(in_channels, padding=padding, dropout=dropout)
    else:
        made = drawn_once(
            lambda: ResNetBody(in_channels, width=width, stem=stem), he_weights(fan="fan_out")
        )
    return FCN(
        made,
        num_classes,
        skips={32: 0, 16: 1, 8: 2}[finest],
        crops=PAPER_CROPS[finest] if paper else None,
        per_channel=per_channel,
    )


def _zeros(in_channels: int, num_classes: int) -> nn.Conv2d:
    """Scores that begin as zero, so that what is coarser decides at first (section 4.2)."""
    layer = nn.Conv2d(in_channels, num_classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


_TABLE = "Long et al. (2015), table 1"
_PUBLISHED = (Published(quantity="params", value=134_000_000, within=0.5 / 134, source=_TABLE),)
_SIZE, _SMALL = (3, 500, 500), (3, 224, 224)

ENTRIES = (
    ModelEntry(
        builder=fcn32s,
        input_size=_SIZE,
        description="FCN-32s on VGG-16 (Long et al. 2015): scores at stride 32, upsampled",
        published=_PUBLISHED,
        task="segment",
    ),
    ModelEntry(
        builder=fcn16s,
        input_size=_SIZE,
        description="FCN-16s on VGG-16 (Long et al. 2015): adds the scores of pool4",
        published=_PUBLISHED,
        task="segment",
    ),
    ModelEntry(
        builder=fcn8s,
        input_size=_SIZE,
        description="FCN-8s on VGG-16 (Long et al. 2015): adds the scores of pool4 and pool3",
        published=_PUBLISHED,
        task="segment",
    ),
    ModelEntry(
        builder=fcn32s_resnet18,
        input_size=_SMALL,
        description="FCN-32s on ResNet-18, which trains on a CPU",
        task="segment",
    ),
    ModelEntry(
        builder=fcn16s_resnet18,
        input_size=_SMALL,
        description="FCN-16s on ResNet-18, which trains on a CPU",
        task="segment",
    ),
    ModelEntry(
        builder=fcn8s_resnet18,
        input_size=_SMALL,
        description="FCN-8s on ResNet-18, which trains on a CPU",
        task="segment",
    ),
)
