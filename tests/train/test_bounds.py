import math

import pytest

from convolens.errors import ConfigError
from convolens.train.bounds import check_number, check_word


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {"above": 0}, "x must be a number above 0, received 0"),
        (1.5, {"least": 0, "most": 1}, "x must be a number of at least 0 and at most 1, received"),
        (1, {"least": 0, "below": 1}, "x must be a number of at least 0 and below 1, received 1"),
        (2, {"most": 1}, "x must be a number of at most 1, received 2"),
        (2.0, {"whole": True}, "x must be a whole number, received 2.0"),
        (math.nan, {}, "x must be a number, received nan"),
        (math.inf, {"above": 0}, "x must be a number above 0, received inf"),
        (True, {}, "x must be a number, received True"),
        ("3", {"below": 9}, "x must be a number below 9, received '3'"),
        (None, {}, "x must be a number, received None"),
    ],
)
def test_a_number_outside_the_limits_is_refused_in_words(value, limits, message):
    with pytest.raises(ConfigError) as error:
        check_number("x", value, **limits)
    assert str(error.value).startswith(message)


def test_limits_themselves_are_allowed_where_the_words_say_so():
    check_number("x", 0, least=0, most=1)
    check_number("x", 1.0, least=0, most=1)
    check_number("x", 1e-300, above=0)
    check_number("x", 7, least=1, whole=True)


def test_an_unknown_word_names_the_nearest():
    check_word("x", "sgd", ["sgd", "adam"])
    with pytest.raises(ConfigError, match=r"x does not know 'Adm'\nDid you mean adam\?"):
        check_word("x", "Adm", ["sgd", "adam"])
