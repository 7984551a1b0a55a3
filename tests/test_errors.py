import pytest

from convolens.errors import ConfigError, ConvolensError, UnavailableError, near_matches


def test_the_hint_is_the_second_line() -> None:
    assert str(ConfigError("this is wrong", "do that")) == "this is wrong\ndo that"
    assert str(ConfigError("this is wrong")) == "this is wrong"


def test_exit_statuses() -> None:
    assert ConvolensError("x").exit_status == 2
    assert UnavailableError("x").exit_status == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("LeNet-5", "Did you mean lenet5?"),
        ("cat", "Choose one of: lenet5, vgg16."),
    ],
)
def test_near_matches(word: str, expected: str) -> None:
    assert near_matches(word, ["vgg16", "lenet5"]) == expected


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    hint = near_matches("?", [f"name{i:02}" for i in range(50)])
    assert hint.startswith("Choose one of: name00, name01, ")
    assert hint.endswith(", name39 and 10 more.")
