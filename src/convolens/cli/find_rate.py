"""`convolens train --find-lr`."""

import json
from typing import Any


def find_rate(data: str | None, *, as_json: bool, **words: Any) -> None:
    """Tries learning rates, and says which one it suggests.

    Args:
        words: as for `convolens.workbench.find_rate.find_rate`.
    """
    from convolens.cli.progress import Display
    from convolens.workbench.find_rate import find_rate as work

    with Display() as display:
        found = work(data, **words, notify=display)
        if as_json:
            tree = {
                "suggestion": found.sweep.suggestion,
                "figure": str(found.figure),
                "rates": list(found.sweep.rates),
                "losses": list(found.sweep.losses),
            }
            print(json.dumps(tree))
            return
        display.show(
            f"Suggested learning rate: {found.sweep.suggestion:.2g} "
            f"({len(found.sweep.rates)} steps; the curve is {found.figure}).\n"
            f"Try: convolens train … --set optimizer.lr={found.sweep.suggestion:.2g}"
        )
