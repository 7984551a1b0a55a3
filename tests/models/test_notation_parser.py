"""The text and its tree: each gives the other, and an error points at the word."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ConfigError
from convolens.models.notation import Layer, Notation, Repeat, Split, is_notation, parse
from convolens.models.notation.words import WORDS, entry_of

COUNTS = st.integers(1, 1_000_000)
REALS = st.floats(0, 1000, allow_nan=False)
NUMBERS = {
    "count": COUNTS,
    "part": st.floats(0, 1) | st.integers(0, 1),
    "real": REALS,
    "pair": st.tuples(COUNTS, COUNTS),
}


def collapsed(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes that are the same on every axis are one number."""
    return sizes[:1] if len(set(sizes)) == 1 else sizes


def sides(axes: int, least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.just(()) | st.tuples(*[st.integers(least, 99)] * axes).map(collapsed)


@st.composite
def layers(draw: st.DrawFn, axes: int) -> Layer:
    word = draw(st.sampled_from(sorted(WORDS)))
    flags = tuple(f for f in WORDS[word].flags if draw(st.booleans()))
    if WORDS[word].letters == "/" or word == "upsample":
        flags = flags[:1]  # these exclude each other
    entry = entry_of(word, flags)
    length = draw(st.integers(entry.required, len(entry.numbers)))
    window = st.tuples(*[st.integers(1, 99)] * axes)
    if entry.window is True:  # with one axis a lone number is the number of filters
        alone = axes == 1 and length < len(entry.numbers)
        window = st.just(()) if alone else st.just(()) | window
    padding = sides(axes, 0)
    if "p" in entry.letters and word != "deconv":
        padding |= st.sampled_from(["same", "valid"])
    maybe = st.none() | COUNTS
    return Layer(
        word=word,
        numbers=tuple(draw(NUMBERS[kind]) for _, kind in entry.numbers[:length]),
        window=draw(window) if entry.window else (),
        stride=draw(sides(axes)) if "/" in entry.letters else (),
        padding=draw(padding) if "p" in entry.letters else (),
        dilation=draw(sides(axes)) if "d" in entry.letters else (),
        groups=draw(maybe) if "g" in entry.letters else None,
        growth=draw(COUNTS) if "k" in entry.letters else None,
        output_padding=draw(sides(axes, 0)) if "o" in entry.letters else (),
        flags=flags,
    )


@st.composite
def notations(draw: st.DrawFn) -> Notation:
    axes = draw(st.integers(1, 3))
    size = draw(st.tuples(*[COUNTS] * (axes + 1)))
    if axes == 2 and draw(st.booleans()):
        size = None

    def grown(items: st.SearchStrategy) -> st.SearchStrategy:
        several = st.lists(items, min_size=1, max_size=3).map(tuple)
        repeats = st.builds(Repeat, items=several, count=st.integers(1, 4))
        branches = st.lists(several, min_size=1, max_size=3).map(tuple)
        splits = st.builds(Split, word=st.sampled_from(["concat", "add"]), branches=branches)
        residuals = several.map(lambda body: Split(word="residual", branches=(body,)))
        return repeats | splits | residuals

    # A dense block counts as all its layers, of which a text has 10,000 at most.
    few = layers(axes).filter(lambda layer: layer.word != "dense" or layer.numbers[0] < 50)
    items = st.lists(st.recursive(few, grown, max_leaves=5), min_size=1, max_size=5)
    return Notation(items=tuple(draw(items)), input=size)


@given(notations())
@settings(max_examples=80, deadline=None)
def test_what_a_tree_prints_is_the_tree(notation: Notation) -> None:
    text = str(notation)
    assert parse(text) == notation
    assert str(parse(text)) == text


@given(notations())
@settings(max_examples=25, deadline=None)
def test_case_arrows_and_spaces_mean_nothing(notation: Notation) -> None:
    text = str(notation).upper().replace("X", "×").replace("|", "\n->")
    assert parse(text.replace("E-", "e-")) == notation


@given(st.text("3x2|->[]*();/p. convflatrelu\n×→~é", max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_anything_but_an_error_of_two_lines(text: str) -> None:
    try:
        parse(text)
    except ConfigError as caught:
        error = caught
    else:
        return
    assert len(str(error).splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("3×32×32|CONV 64 3|ReLU", "3x32x32 | conv 64 3x3 | relu"),
        ("1x1000 | conv 16 9 s2 | pool 4", "1x1000 | conv 16 9 /2 | maxpool 4"),
        ("1x8x9x9 | conv 2 3 p1", "1x8x9x9 | conv 2 3x3x3 p1"),
        ("3x9x9 | 3x3 conv 64 | 1x1 8", "3x9x9 | conv 64 3x3 | conv 8 1x1"),
        ("INPUT -> [CONV → RELU]×2 -> FC", "input | [conv | relu]*2 | fc"),
        ("INPUT 1x9x9 -> FC", "1x9x9 | fc"),
        ("784 | linear 10", "784 | fc 10"),
        ("conv 8", "input | conv 8"),
        ("conv nobias g2 p1 /2 3x3 8", None),
        ("inception naive 64 128 32", "input | inception 64 128 32 naive"),
        ("conv 8 3x3 /2x2 p1x1 d2x1", "input | conv 8 3x3 /2 p1 d2x1"),
    ],
)
def test_canonical_text(text: str, canonical: str | None) -> None:
    if canonical is None:  # a lone number after the window is the number of filters
        canonical = "input | conv 8 3x3 /2 p1 g2 nobias"
    assert str(parse(text)) == canonical


def test_the_result_can_be_read_without_a_network() -> None:
    notation = parse("3x227x227 | [conv 96 11x11 /4 | relu]*2")
    assert notation == Notation(
        input=(3, 227, 227),
        items=(
            Repeat(
                items=(
                    Layer(word="conv", numbers=(96,), window=(11, 11), stride=(4,)),
                    Layer(word="relu"),
                ),
                count=2,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "3x32x32 | cnov 64 3x3",
            "unknown layer 'cnov' in \"3x32x32 | »cnov« 64 3x3\"\nDid you mean conv",
        ),
        ("", "the text of the network is empty"),
        ("3x3x3 |", 'expected a layer, found the end of the text in "3x3x3 |»«"'),
        ("3x3x3 conv 8", 'expected | after the input in "3x3x3 »conv« 8"'),
        ("3x3x3.5 | fc", "unknown layer '3x3x3.5'"),
        ("3x0x3 | fc", 'all at least 1 in "»3x0x3« | fc"'),
        ("1x1x1x1x1 | fc", "an input has channels and up to 3 sizes"),
        ("[conv | relu", '[ is never closed in "»[«conv | relu"'),
        ("conv ] | relu", '] closes nothing in "conv »]« | relu"'),
        ("add(conv ; relu]", 'expected ), found ] in "add(conv ; relu»]«"'),
        ("conv*2", 'expected | before * in "conv»*«2"\nOnly brackets are repeated'),
        ("[conv]*", "expected how many times"),
        ("[conv]*0", "a repetition is at least 1 time"),
        ("conv 64 relu", "conv: 'relu' cannot stand here in \"conv 64 »relu«\"\nA bar | stands"),
        (
            "conv 64 3x3 sane",
            "'sane' cannot stand here in \"conv 64 3x3 »sane«\"\nDid you mean same",
        ),
        ("conv 64 q7", "It takes: conv filters KxK /stride pPADDING|same|valid dDILATION gGROUPS"),
        ("conv 64 3x3x3", "conv: a window of 3 sides, and the input has 2 axes"),
        ("conv 64 3x3 p1 same", 'padding is given twice in "conv 64 3x3 p1 »same«"'),
        ("conv 64 3x3 /0", 'stride must be at least 1, received 0 in "conv 64 3x3 »/0«"'),
        ("conv 0", "filters must be an integer from 1, received '0'"),
        ("conv 1.5", "filters must be an integer from 1, received '1.5'"),
        ("dropout 2", "dropout: rate must be a number from 0 to 1, received '2'"),
        ("relu 3", 'relu: one number too many in "relu »3«"\nrelu takes nothing.'),
        ("inception 64 96", "inception: 3x3 must be two integers such as 96-128, received '96'"),
        ("dense 6", "dense: the growth rate is missing"),
        ("deconv 8", "deconv: the window is missing"),
        ("residual(conv ; relu)", "residual has one branch, received 2"),
        ("concat conv", "concat needs branches: concat(… ; …)"),
        ("fc 10 | 3x32x32.", "unknown layer"),
        ("fc 9999999", "'9999999' is more than 1,000,000 in \"fc »9999999«\""),
        ("fc " + "9" * 6000, "is more than 1,000,000"),
        ("dropout 1e999", "dropout: '1e999' is more than 1,000,000"),
        ("[[relu]*5000]*5000", 'more than 10,000 layers in "[[relu]*5000]*»5000«"'),
        ("[" * 5000 + "relu", "brackets are nested more than 32 deep"),
        ("| ".join(["relu"] * 10_001), "more than 10,000 layers"),
    ],
)
def test_an_error_points_at_the_word(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert len(caught.value.message) < 300


def test_time_grows_with_the_length_only() -> None:
    def seconds(text: str) -> float:
        start = time.perf_counter()
        with contextlib.suppress(ConfigError):
            parse(text)
        return time.perf_counter() - start

    short, long = "conv 64 3x3 p1 | ", "conv 64 3x3 p1 | " * 8
    few = min(seconds(short * 400 + "fc") for _ in range(3))
    many = min(seconds(long * 400 + "fc") for _ in range(3))
    assert many < 30 * few  # the square would be 64 times as long
    for absurd in ("[" * 50_000, "x" * 50_000, "1x" * 30_000, "add(" * 50_000, "]" * 50_000):
        assert seconds(absurd) < 2


def test_which_word_is_notation() -> None:
    assert is_notation("3x32x32 | fc")
    assert is_notation("INPUT->FC")
    assert is_notation("INPUT → FC")
    assert not any(map(is_notation, ["lenet5", "torchvision:resnet18", "my_nets.py:net", "-"]))
