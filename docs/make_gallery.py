"""Makes the pictures and the numbers of docs/gallery: `python docs/make_gallery.py [STORY…]`.

Every number that a page gives between its marks comes from the file of numbers beside it, which
this script writes; a test compares the two. `--quick` tries the scripts and writes nothing;
`--pages` only writes the numbers that are kept into the pages.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from convolens.visual import png_bytes

FOLDER = Path(__file__).parent / "gallery"
STORIES = (
    "first_layer",
    "depth",
    "stacks",
    "bottleneck",
    "residual",
    "batch_norm",
    "activations",
    "dropout",
    "augmentation",
    "ensemble",
)


def script_of(story: str) -> ModuleType:
    """The module of a story: `tell(quick)` measures, `lines(numbers)` says it."""
    return import_module(f"gallery.{story}")


def make(story: str) -> None:
    """Writes the pictures and the numbers of a story, and its page's tables."""
    found = script_of(story).tell(quick=False)
    for name, figure in found.figures.items():
        (FOLDER / "images" / f"{name}.png").write_bytes(png_bytes(figure))
    text = json.dumps(found.numbers, indent=1, ensure_ascii=False, allow_nan=False)
    # A list of numbers is easier to read in one line.
    flat = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
    (FOLDER / f"{story}.json").write_text(flat + "\n", encoding="utf-8")
    fill(story)


def fill(story: str) -> None:
    """Writes the numbers of a story into its page."""
    page = FOLDER / f"{story}.md"
    made = with_lines(page.read_text(encoding="utf-8"), lines_of(story))
    page.write_text(made, encoding="utf-8")


def lines_of(story: str) -> dict[str, list[str]]:
    """What the page says between its marks, from the numbers that are kept."""
    numbers = json.loads((FOLDER / f"{story}.json").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = script_of(story).lines(numbers)
    return found


def with_lines(page: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The page with each part anew between its two marks."""
    end = "<!-- end -->"
    for name, lines in parts.items():
        begin = f"<!-- {name} -->\n"
        if page.count(begin) != 1:
            raise ValueError(f"the page needs one part '{name}', it has {page.count(begin)}")
        before, after = page.split(begin)
        page = before + begin + "\n".join(lines) + "\n" + end + after.partition(end)[2]
    return page


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes the pictures and numbers of the gallery.")
    parser.add_argument("stories", nargs="*", metavar="STORY", help="; ".join(STORIES))
    parser.add_argument("--quick", action="store_true", help="seconds each; writes nothing")
    parser.add_argument("--pages", action="store_true", help="measures nothing")
    given = parser.parse_args(words)
    unknown = sorted(set(given.stories) - {*STORIES})
    if unknown:
        parser.error(f"there is no story {unknown[0]!r}; there are {', '.join(STORIES)}")
    for story in given.stories or STORIES:
        began = time.monotonic()
        if given.quick:
            script_of(story).tell(quick=True)
        elif given.pages:
            fill(story)
        else:
            make(story)
        sys.stderr.write(f"{story}: {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
