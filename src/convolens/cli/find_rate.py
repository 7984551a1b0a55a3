"""`convolens train --find-lr`."""

import json
from collections.abc import Sequence
from pathlib import Path


def find_rate(
    data: str | None,
    *,
    model: str | None,
    recipe: str | None,
    batch: int | None,
    device: str | None,
    seed: int | None,
    out: Path,
    data_root: Path | None,
    strict: bool | None,
    weights: str | None,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Tries learning rates, and says which one it suggests."""
    from convolens.cli.progress import Display
    from convolens.workbench.find_rate import find_rate as work

    with Display() as display:
        found = work(
            data,
            model=model,
            recipe=recipe,
            batch=batch,
            device=device,
            seed=seed,
            out=out,
            data_root=data_root,
            strict=strict,
            weights=weights,
            settings=settings,
            notify=display,
        )
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
