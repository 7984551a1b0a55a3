import subprocess
import sys

import convolens


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, convolens; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert run_python(code) == "False False"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from convolens.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).endswith("False")


def test_every_public_name_can_be_had() -> None:
    for name in convolens.__all__:
        assert getattr(convolens, name) is not None
    assert set(convolens.__all__) <= set(dir(convolens))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(convolens, "no_such_name")


def test_a_room_and_the_function_of_its_name_are_both_there() -> None:
    code = (
        "import convolens as cl, inspect\n"
        "print('epochs' in inspect.signature(cl.train).parameters, callable(cl.report))\n"
        "import convolens.train.loop as loop, convolens.report.html\n"
        "from convolens.train import evaluation\n"
        "print(cl.Run.__name__, callable(cl.train), callable(cl.report), cl.train.loop is loop)"
    )
    assert run_python(code).split() == ["True", "True", "Run", "True", "True", "True"]


def test_a_room_that_was_imported_first_can_be_called() -> None:
    code = (
        "import convolens.train.loop, convolens as cl\n"
        "try: cl.train('nothing there')\n"
        "except cl.ConvolensError as error: print(error)"
    )
    assert "nothing there" in run_python(code)
