import json

import pytest

from convolens.cli import main


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "lenet5", "lenet5(num_classes=5)", "--input", "1x32x32"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code == 0
    first, second = json.loads(capsys.readouterr().out)["models"]
    assert first["totals"]["params"] - second["totals"]["params"] == 5 * 85
    with pytest.raises(SystemExit):
        main(words)
    out = capsys.readouterr().out
    assert out.startswith("lenet5 against lenet5(num_classes=5)\n")
    assert "61,706" in out
    with pytest.raises(SystemExit) as ended:
        main(["compare", "lenet5"])
    assert ended.value.code == 2
    assert "compare takes two networks or more, received 1" in capsys.readouterr().err
