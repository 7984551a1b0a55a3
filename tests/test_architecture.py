"""The house: which room may import which, and how large a room may grow."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "convolens"
FLOORS = {
    "errors": 0,
    "geometry": 0,
    "scratch": 1,
    "nn": 1,
    "data": 1,
    "models": 2,
    "analysis": 2,
    "visual": 3,
    "tasks": 4,
    "train": 5,
    "recipes": 6,
    "report": 6,
    "workbench": 7,
    "cli": 8,
    "web": 8,
}
# On one floor a file imports its own room only; the command line is the one way in.
ALWAYS = {"__main__": {"cli"}}
# The app is started by a verb, and by nothing else.
DOORS = {"cli/app_verb.py": {"web"}}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# A longer one is listed here with the reason.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "cli/train.py:train": "its length is the list of the verb's options",
    "workbench/train.py:train": "its length is the list of the verb's options and their meaning",
}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py"}
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The folder below the package, or the file's own name on the ground floor."""
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_rooms(tree: ast.Module) -> set[str]:
    """The rooms that a file imports, also inside its functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules = [node.module or ""]
            if node.module == "convolens":
                modules = [f"convolens.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {m.split(".")[1] for m in modules if m.startswith("convolens.")}
    return found - {"__version__"}


def imported_packages(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def violations(room: str, imported: set[str]) -> set[str]:
    """The rooms in `imported` that a file of `room` may not import."""
    if room in ALWAYS:
        return imported - ALWAYS[room]
    if room == "__init__":
        return imported
    own = FLOORS[room]
    return {
        other for other in imported if other != room and FLOORS[other] >= own and FLOORS[other] > 0
    }


def test_the_rule_itself_finds_what_it_forbids() -> None:
    assert violations("data", {"train"}) == {"train"}
    assert violations("data", {"nn"}) == {"nn"}
    assert violations("train", {"data", "tasks", "train", "errors"}) == set()
    assert imported_rooms(ast.parse("def f():\n    from convolens.web import x")) == {"web"}
    assert imported_rooms(ast.parse("from convolens import data")) == {"data"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    doors = DOORS.get(name_of(path), set())
    assert violations(room_of(path), imported_rooms(tree_of(path)) - doors) == set()


def test_some_rooms_are_narrower_than_their_floor() -> None:
    for path in FILES:
        rooms, packages = imported_rooms(tree_of(path)), imported_packages(tree_of(path))
        if room_of(path) == "scratch":
            assert "torch" not in packages, name_of(path)
        if FLOORS.get(room_of(path), 0) < 7:
            assert "scratch" not in rooms or room_of(path) == "scratch", name_of(path)
        if room_of(path) == "models":
            assert not rooms & {"data", "analysis"}, name_of(path)
        if room_of(path) == "analysis":
            assert "models" not in rooms, name_of(path)
        if room_of(path) == "train":
            tasks = {
                node.module
                for node in ast.walk(tree_of(path))
                if isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith("convolens.tasks")
            }
            assert tasks <= {"convolens.tasks.base"}, name_of(path)


def called_names(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_below_the_top_floor_nothing_prints_or_reads_the_environment() -> None:
    for path in FILES:
        if FLOORS.get(room_of(path), 8) == 8:
            continue
        names = {name for name, _ in called_names(tree_of(path))}
        text = path.read_text(encoding="utf-8")
        assert not names & {"print", "input"}, name_of(path)
        assert "os.environ" not in text, name_of(path)
        assert "getenv" not in text, name_of(path)
        packages = imported_packages(tree_of(path))
        assert not packages & {"argparse", "typer", "rich", "socket"}, name_of(path)


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        assert not imported_packages(tree_of(path)) & {"pickle", "joblib", "dill", "cloudpickle"}
        for name, call in called_names(tree_of(path)):
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", name_of(path)
            if name in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle", "False") == "False", name_of(path)


def test_a_users_mistake_is_never_an_assert() -> None:
    for path in FILES:
        found = [n.lineno for n in ast.walk(tree_of(path)) if isinstance(n, ast.Assert)]
        assert not found, f"{name_of(path)}:{found}: raise a ConvolensError"


def test_files_stay_small() -> None:
    for path in FILES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_FILE_LINES or name_of(path) in LONG_FILES, f"{name_of(path)}: {lines}"
        assert path.name not in FORBIDDEN_NAMES, name_of(path)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its docstring."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = first.end_lineno if is_docstring else function.lineno
    return (function.end_lineno or 0) - (start or 0)


def test_functions_stay_small() -> None:
    long = {
        f"{name_of(path)}:{node.name}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > MAX_FUNCTION_LINES
    }
    assert long <= LONG_FUNCTIONS.keys()


def test_every_file_says_what_it_holds() -> None:
    for path in FILES:
        assert ast.get_docstring(tree_of(path)), name_of(path)


def test_the_declared_dependencies_are_the_imported_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {d.split(">")[0].split("=")[0].strip() for d in project["dependencies"]}
    names = {"PIL": "pillow", "sklearn": "scikit-learn"}
    imported = set().union(*(imported_packages(tree_of(path)) for path in FILES))
    assert {names.get(package, package) for package in imported} >= declared
