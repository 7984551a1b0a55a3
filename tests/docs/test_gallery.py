import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import convolens as cl
from convolens.models.notation import build

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
STORIES = sorted(path.stem for path in GALLERY.glob("*.json"))


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """docs/make_gallery.py, beside which the scripts of the stories are found."""
    sys.path.insert(0, str(DOCS))
    yield import_module("make_gallery")
    sys.path.remove(str(DOCS))


def numbers_of(story: str) -> Any:
    return json.loads((GALLERY / f"{story}.json").read_text(encoding="utf-8"))


def page_of(story: str) -> str:
    return (GALLERY / f"{story}.md").read_text(encoding="utf-8")


def shape_of(tree: Any) -> Any:
    """The names in a tree of numbers, without the lengths of its lists."""
    if isinstance(tree, Mapping):
        return {name: shape_of(branch) for name, branch in tree.items()}
    return "list" if isinstance(tree, list) else "value"


def is_part(part: Any, whole: Any) -> bool:
    """Whether a tree of names is another one, of which branches may be missing."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            name in whole and is_part(branch, whole[name]) for name, branch in part.items()
        )
    return bool(part == whole)


def test_there_is_a_page_for_every_story(script: ModuleType) -> None:
    assert sorted(script.STORIES) == STORIES
    index = page_of("README")
    assert re.findall(r"\]\((\w+)\.md\)", index) == list(script.STORIES)


@pytest.mark.parametrize("story", STORIES)
def test_every_number_of_a_page_is_the_one_that_was_measured(
    script: ModuleType, story: str
) -> None:
    page, parts = page_of(story), script.lines_of(story)
    assert script.with_lines(page, parts) == page
    assert page.count("<!-- end -->") == len(parts)


@pytest.mark.parametrize("story", STORIES)
def test_a_page_says_how_long_was_trained(script: ModuleType, story: str) -> None:
    epochs = script.script_of(story).EPOCHS
    words = {5: "five", 6: "six"}
    assert f"{words.get(epochs, epochs)} epochs" in page_of(story)


def test_a_part_that_is_missing_is_named(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs one part 'ranges', it has 0"):
        script.with_lines("no part", {"ranges": ["1"]})


def test_a_story_that_is_not_there_is_named(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(["dropuot"])
    assert "there is no story 'dropuot'; there are first_layer, depth" in capsys.readouterr().err


@pytest.mark.parametrize("story", STORIES)
def test_a_script_runs_and_tells_what_is_kept(script: ModuleType, story: str) -> None:
    told = script.script_of(story).tell(quick=True)
    assert is_part(shape_of(told.numbers), shape_of(numbers_of(story)))
    shown = re.findall(r"!\[[^\]]+\]\(images/(.+?)\.png\)", page_of(story))
    assert sorted(shown) == sorted(told.figures)


def test_every_picture_is_shown_and_small() -> None:
    shown = [
        name
        for story in STORIES
        for name in re.findall(r"!\[[^\]]+\]\(images/(.+?)\.png\)", page_of(story))
    ]
    files = {path.stem: path for path in (GALLERY / "images").iterdir()}
    assert sorted(shown) == sorted(files)
    for path in files.values():
        assert path.stat().st_size < 150_000, path.name
        with Image.open(path) as image:
            assert image.width <= 1500, f"{path.name} would be too small to read on a phone"
    assert sum(path.stat().st_size for path in files.values()) < 4_000_000


def ends(numbers: Any, column: str) -> dict[str, list[float]]:
    """The last value of each seed's curve."""
    return {name: [curve[-1] for curve in found[column]] for name, found in numbers.items()}


def means(columns: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in columns.items()}


def test_what_is_said_of_residual_networks_is_so() -> None:
    numbers = numbers_of("residual")
    losses = {name: np.array(found["train_loss"]) for name, found in numbers.items()}
    assert (losses["plain20"] < losses["plain32"]).all(), "at every epoch and for every seed"
    assert (losses["plain32"] < losses["plain44"]).all()
    last = means(ends(numbers, "train_loss"))
    assert max(last["resnet20"], last["resnet32"], last["resnet44"]) < 0.02, "they end together"
    assert last["plain44"] > 1, "it has hardly begun"
    assert np.ptp(numbers["plain44"]["accuracies"]) > 0.3, "a matter of luck"
    start = {name: loss[:, 0].mean() for name, loss in losses.items()}
    assert start["resnet20"] < start["resnet32"] < start["resnet44"], "the deeper start later"
    for depth in (20, 32, 44):
        params = cl.summarize(f"plain{depth}").totals.params
        assert params == cl.summarize(f"resnet{depth}").totals.params
        assert params == numbers[f"plain{depth}"]["params"]


def test_what_is_said_of_batch_norm_is_so(script: ModuleType) -> None:
    numbers = numbers_of("batch_norm")
    story = script.script_of("batch_norm")
    best = {name: story.training_rates(found)[-1] for name, found in numbers.items()}
    assert best["with"] == pytest.approx(30 * best["without"])
    mean = {
        name: {rate: float(np.mean(story.with_guesses(a))) for rate, a in found.items()}
        for name, found in numbers.items()
    }
    assert max(mean["without"].values()) < max(mean["with"].values()) - 0.05, "as far"
    gain = {rate: mean["with"][rate] - mean["without"][rate] for rate in mean["with"]}
    assert gain["0.003"] < np.ptp(numbers["with"]["0.003"]), "the smallest rate"
    assert min(value for rate, value in gain.items() if rate != "0.003") > 0.1
    assert all(
        accuracy == pytest.approx(0.1, abs=0.005)
        for rate in ("0.3", "1")
        for accuracy in numbers["without"][rate]
    )
    assert numbers["without"]["3"] == [None] * 3


def test_what_is_said_of_dropout_is_so() -> None:
    numbers = numbers_of("dropout")
    train, val = means(ends(numbers, "train_loss")), means(ends(numbers, "val_loss"))
    assert train["0"] < 0.002
    assert 5 < train["0.25"] / train["0"] < 20
    assert 50 < train["0.5"] / train["0"] < 200
    assert max(val["0.25"], val["0.5"]) < val["0"]
    curve = np.mean(numbers["0"]["val_loss"], axis=0)
    assert np.ptp(curve[20:]) < 0.01, "it stops falling"
    assert max(numbers["0"]["accuracies"]) > min(numbers["0.25"]["accuracies"]), "overlap"
    for name in ("train_loss", "val_loss"):
        last = np.mean(numbers["0.75"][name], axis=0)[-20:]
        assert last[10:].mean() < last[:10].mean(), "still falling"


def test_what_is_said_of_augmentation_is_so() -> None:
    numbers = numbers_of("augmentation")
    test = means({name: found["test"] for name, found in numbers.items()})
    moved = means({name: found["moved"] for name, found in numbers.items()})
    loss = means({name: found["train_loss"] for name, found in numbers.items()})
    sensible, wrong = ("shift", "shift, turn, scale"), "any turn, upside down"
    luck = np.ptp(numbers["none"]["test"])
    assert abs(test["shift"] - test["none"]) < luck, "it gains nothing"
    assert test["shift, turn, scale"] < test["none"]
    assert moved["none"] < 0.6
    assert min(moved[name] for name in sensible) > 0.85
    assert test[wrong] < 0.7
    assert moved[wrong] < moved["none"]
    assert min(loss[name] for name in (*sensible, wrong)) > loss["none"]


def test_what_is_said_of_ensembles_is_so() -> None:
    numbers = numbers_of("ensemble")
    mean = [float(np.mean(group)) for group in numbers["accuracies"]]
    one, three, nine = mean[0], mean[2], mean[8]
    assert (three - one) / (nine - one) > 0.8, "most of what nine can give"
    assert min(numbers["accuracies"][2]) >= one - 0.001, "the worst three"
    assert np.ptp(numbers["accuracies"][2]) > three - one, "luck"
    assert numbers["first_three"] == numbers["accuracies"][2][0], "as cl.eval says"
    wrong = numbers["mistakes"]
    assert wrong["one"] > wrong["two"] > wrong["three"]
    assert 0 <= wrong["together"] - wrong["three"] <= wrong["two"] + 1
    assert wrong["together"] / wrong["pictures"] == pytest.approx(
        1 - numbers["first_three"], abs=1e-4
    )


def test_what_is_said_of_depth_is_so(script: ModuleType) -> None:
    story = script.script_of("depth")
    layers = numbers_of("depth")["layers"]
    assert [found["field"] for found in layers.values()] == [3, 5, 10, 14, 24, 32]
    assert [found["stride"] for found in layers.values()] == [1, 1, 2, 2, 4, 4]
    net, size = build(story.NET), (3, story.SIDE_PX, story.SIDE_PX)
    graph = cl.summarize(net, size)
    for name, found in layers.items():
        form = cl.field(net, name, input_size=size).textbook
        assert (form.size[0], form.stride[0]) == (found["field"], found["stride"])
        assert list(graph.by_name[name].output[-3:]) == found["volume"]
    shares = np.array(
        [[half / found["field"] ** 2 for half in found["half"]] for found in layers.values()]
    )
    assert (shares[0] > 0.4).all(), "from a half"
    assert (np.abs(shares[-1] - 0.2) < 0.03).all(), "to a fifth"
    assert (shares[1:, 1] < shares[1:, 0]).all(), "drawn in"


def test_what_is_said_of_stacks_is_so(script: ModuleType) -> None:
    C = 64
    counted = numbers_of("stacks")["counted"]
    expected = {"5×5": (25, 5), "two 3×3": (18, 5), "7×7": (49, 7), "three 3×3": (27, 7)}
    for name, (weights, field) in expected.items():
        graph = cl.summarize(f"{C}x32x32 | {script.script_of('stacks').COUNTED[name]}")
        assert graph.totals.params == counted[name]["params"] == weights * C * C
        assert graph.totals.macs == counted[name]["macs"] == weights * C * C * 32 * 32
        assert graph.totals.saved_bytes == counted[name]["saved_bytes"]
        assert counted[name]["field"] == field
    trained = numbers_of("stacks")["trained"]
    loss = means(ends(trained, "train_loss"))
    assert loss["two 3×3"] < loss["5×5"] < loss["two 3×3, linear"]
    assert trained["two 3×3"]["params"] < trained["5×5"]["params"]
    seen = {name: found["accuracies"] for name, found in trained.items()}
    assert min(seen["two 3×3"]) > max(seen["5×5"] + seen["two 3×3, linear"])
    assert max(seen["5×5"]) >= min(seen["two 3×3, linear"]), "overlap"


def test_paths_to_the_middle_unit_are_those_of_repeated_convolution(script: ModuleType) -> None:
    stacks = script.script_of("stacks")
    for name, count in (("two 3×3", 2), ("three 3×3", 3)):
        line = np.ones(1)
        for _ in range(count):
            line = np.convolve(line, np.ones(3))
        whole = np.pad(np.outer(line, line), (9 - len(line)) // 2)
        assert np.array_equal(stacks.paths(stacks.COUNTED[name]), whole)
    assert np.unique(stacks.paths(stacks.COUNTED["5×5"])).tolist() == [0, 1]


def test_what_is_counted_of_bottlenecks_is_so(script: ModuleType) -> None:
    numbers = numbers_of("bottleneck")
    for name, pair in script.script_of("bottleneck").PAIRS.items():
        for model, found in zip(pair, numbers["counted"][name], strict=True):
            totals = cl.summarize(model).totals
            assert (totals.params, totals.macs) == (found["params"], found["macs"])
    wide, narrow = numbers["counted"]["residual block, 256 channels"]
    assert wide["macs"] == 2 * 9 * 256 * 256 * 14 * 14
    assert narrow["macs"] == (2 * 256 * 64 + 9 * 64 * 64) * 14 * 14

    trained = numbers["trained"]
    residual, bottleneck = trained["residual 32"], trained["bottleneck 8-32"]
    assert 12.5 < residual["macs"] / bottleneck["macs"] < 13.5, "a thirteenth"
    assert max(bottleneck["accuracies"]) < min(residual["accuracies"]), "for every seed"
    loss = means(ends(trained, "train_loss"))
    assert loss["bottleneck 8-32"] > loss["residual 32"]


def test_what_is_said_of_activations_is_so() -> None:
    numbers = numbers_of("activations")
    arriving = means({name: found["arriving"] for name, found in numbers.items()})
    flat = means({name: found["flat"] for name, found in numbers.items()})
    accuracy = {name: found["trained"]["accuracies"] for name, found in numbers.items()}
    assert arriving["sigmoid"] < 1e-9
    assert flat["sigmoid"] < 0.01
    assert max(accuracy["sigmoid"]) < 0.11, "guessing"
    for name in ("relu", "leaky relu"):
        assert flat[name] == pytest.approx(0.5, abs=0.03)
        assert arriving[name] == pytest.approx(0.8, abs=0.05)
    assert 1 < arriving["tanh"] < arriving["elu"] < 5
    assert np.ptp(numbers["gelu"]["arriving"]) > 0.5, "depends on the seed"
    assert arriving["gelu"] < 1
    assert arriving["maxout"] == pytest.approx(2 ** (19 / 2), rel=0.1)
    assert accuracy["maxout"] == [None] * 3
    for name in ("tanh", "relu", "leaky relu", "elu", "gelu"):
        assert min(accuracy[name]) > 0.9


def test_what_is_said_of_the_first_layer_is_so(script: ModuleType) -> None:
    numbers = numbers_of("first_layer")
    digits, shapes = numbers["filters"]["digits"], numbers["filters"]["shapes"]
    assert max(abs(digits["alike"][0]), abs(shapes["alike"][0])) < 0.1, "noise"
    assert min(digits["alike"][1], shapes["alike"][1]) > 0.5, "smooth"
    assert digits["largest"][1] > 5 * digits["largest"][0], "grew"
    assert shapes["largest"][1] == pytest.approx(shapes["largest"][0], rel=0.1)
    assert numbers["accuracies"]["digits"] > numbers["accuracies"]["linear"]
    neighbours = script.script_of("first_layer").neighbours
    rng = np.random.default_rng(0)
    assert abs(neighbours(rng.normal(size=(64, 3, 7, 7)))) < 0.05
    ramp = np.arange(7.0)[:, None] + np.arange(7.0)
    assert neighbours(ramp[None, None]) > 0.95


def test_slopes_are_those_of_the_functions(script: ModuleType) -> None:
    activations = script.script_of("activations")
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    for name, function in activations.FUNCTIONS.items():
        h = 1e-6
        numerical = (function(x + h) - function(x - h)) / (2 * h)
        assert torch.allclose(activations.slope(function, x), numerical, atol=1e-6), name
