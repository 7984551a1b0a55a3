"""The words of the notation, and what may stand behind each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAX_SIZE = 1_000_000
MAX_LAYERS = 10_000
MAX_DEPTH = 32

# count: an integer from 1; part: a number from 0 to 1; real: any number from 0; pair: "96-128"
Kind = Literal["count", "part", "real", "pair"]


@dataclass(frozen=True, kw_only=True)
class Word:
    """What may stand behind a word.

    Args:
        numbers: the numbers' names and kinds, in their order; the last ones may be left out.
        required: how many of the numbers must be there.
        window: whether a window may stand there; "needed" where it must.
        letters: which of "/" stride, "p" padding, "d" dilation, "g" groups, "k" growth and
            "o" output padding.
        flags: words that may stand there.
        name: begins the name of the layer in the network, where that is not the word.
    """

    numbers: tuple[tuple[str, Kind], ...] = ()
    required: int = 0
    window: bool | Literal["needed"] = False
    letters: str = ""
    flags: tuple[str, ...] = ()
    name: str = ""

    def usage(self) -> str:
        """What may stand behind the word, for an error's hint."""
        parts = [f"{name}-{name}" if kind == "pair" else name for name, kind in self.numbers]
        parts += ["KxK"] if self.window else []
        shown = {"/": "/stride", "p": "pPADDING|same|valid", "d": "dDILATION", "g": "gGROUPS"}
        shown |= {"k": "kGROWTH", "o": "oOUTPUT_PADDING"}
        return " ".join([*parts, *(shown[letter] for letter in self.letters), *self.flags])


SHORTCUTS = ("identity", "projection", "plain")
INTERPOLATIONS = ("nearest", "linear", "bilinear", "trilinear")
EXCLUSIVE = (SHORTCUTS, INTERPOLATIONS)

WORDS: Mapping[str, Word] = {
    "conv": Word(numbers=(("filters", "count"),), window=True, letters="/pdg", flags=("nobias",)),
    "deconv": Word(
        numbers=(("filters", "count"),),
        required=1,
        window="needed",
        letters="/pdgo",
        flags=("nobias",),
    ),
    "dwconv": Word(window=True, letters="/pd", flags=("nobias",)),
    "maxpool": Word(window=True, letters="/pd", flags=("ceil",), name="pool"),
    "avgpool": Word(window=True, letters="/p", flags=("ceil",), name="pool"),
    "adaptivemaxpool": Word(window="needed", name="pool"),
    "adaptiveavgpool": Word(window="needed", name="pool"),
    "gap": Word(),
    "gmp": Word(),
    "fc": Word(numbers=(("units", "count"),), flags=("nobias",)),
    "flatten": Word(),
    "identity": Word(),
    "relu": Word(),
    "leakyrelu": Word(numbers=(("slope", "real"),)),
    "prelu": Word(numbers=(("slopes", "count"),)),
    "elu": Word(numbers=(("alpha", "real"),)),
    "gelu": Word(),
    "silu": Word(),
    "sigmoid": Word(),
    "tanh": Word(),
    "softmax": Word(),
    "maxout": Word(numbers=(("pieces", "count"),), required=1),
    "bn": Word(),
    "gn": Word(numbers=(("groups", "count"),), required=1),
    "ln": Word(),
    "lrn": Word(
        numbers=(("size", "count"), ("alpha", "real"), ("beta", "real"), ("k", "real")),
    ),
    "dropout": Word(numbers=(("rate", "part"),)),
    "upsample": Word(numbers=(("factor", "count"),), flags=INTERPOLATIONS),
    "bilinear": Word(numbers=(("factor", "count"),)),
    "inception": Word(
        numbers=(("1x1", "count"), ("3x3", "pair"), ("5x5", "pair"), ("pooled", "count")),
        required=4,
        flags=("naive", "bn"),
    ),
    "residual": Word(numbers=(("filters", "count"),), required=1, letters="/", flags=SHORTCUTS),
    "bottleneck": Word(numbers=(("filters", "pair"),), required=1, letters="/", flags=SHORTCUTS),
    "dense": Word(numbers=(("layers", "count"),), required=1, letters="k", flags=("nobottleneck",)),
    "transition": Word(numbers=(("compression", "part"),)),
}
# The naive form has neither reductions nor a projection.
NAIVE_INCEPTION = Word(
    numbers=(("1x1", "count"), ("3x3", "count"), ("5x5", "count")),
    required=3,
    flags=("naive", "bn"),
)
SPLITS = {"concat", "add", "residual"}
ALIASES: Mapping[str, str] = {
    "pool": "maxpool",
    "averagepool": "avgpool",
    "convolution": "conv",
    "transposed": "deconv",
    "depthwise": "dwconv",
    "linear": "fc",
    "affine": "fc",
    "adaptive": "adaptiveavgpool",
    "globalavgpool": "gap",
    "globalmaxpool": "gmp",
    "batchnorm": "bn",
    "layernorm": "ln",
    "groupnorm": "gn",
    "swish": "silu",
    "drop": "dropout",
    "concatenate": "concat",
}


def entry_of(word: str, flags: tuple[str, ...]) -> Word:
    """The word's entry, which for Inception depends on its form."""
    return NAIVE_INCEPTION if word == "inception" and "naive" in flags else WORDS[word]
