"""What was trained on what, and how to repeat it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from convolens.report.parts import Code, Facts, Fold, Part, Section, Table, Text, rows
from convolens.train.config import Config
from convolens.train.settings import to_json

_VERSIONS = ("convolens", "python", "torch", "numpy")


def recipe_section(
    config: Config,
    facts: Mapping[str, Any],
    env: Mapping[str, Any],
    command: str,
    *,
    is_exact: bool,
) -> Section:
    """The data, the command, the versions, and every field of the configuration.

    Args:
        facts: what was found in the data, as `config.json` holds it.
        env: versions and machine, as `env.json` holds them; empty where it cannot be read.
        command: what to type.
        is_exact: whether the command stands for the configuration to its last field.
    """
    parts: list[Part] = [
        Facts(items=_data(config, facts)),
        Text(text="The same training again:"),
        Code(text=command),
    ]
    if not is_exact:
        parts.append(
            Text(
                text="Not all of this Run's configuration can be said in a command; "
                "config.json holds the rest.",
                tone="warning",
            )
        )
    versions = [f"{name} {env[name]}" for name in _VERSIONS if isinstance(env.get(name), str)]
    if versions:
        same = (
            "The seed decides everything that is random. On the same machine the same versions "
            "give the same numbers to the last digit where the plan is the same; elsewhere they "
            "differ by rounding."
        )
        parts.append(Text(text=f"It was run with {', '.join(versions)}. {same}", tone="soft"))
    parts += [Text(text=text, tone="soft") for text in _texts(facts.get("notes"))]
    parts += _problems(facts.get("problems"))
    everything = json.dumps(to_json(config), indent=2, ensure_ascii=False)
    parts.append(Fold(title="Every field of the configuration", parts=(Code(text=everything),)))
    return Section(title="What was trained, and how to repeat it", parts=tuple(parts))


def _data(config: Config, facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    names = facts["task"]["class_names"]
    form = facts["format"]
    height, width = form["size"]
    counts = facts["counts"]
    words = {"train": "training", "val": "validation", "test": "test"}
    pictures = ", ".join(f"{count:,} {words.get(name, name)}" for name, count in counts.items())
    colour = "grey" if form["channels"] == 1 else "colour"
    options = ", ".join(f"{name}={value}" for name, value in config.model.options.items())
    begins = f"begins with {config.weights}" if config.weights else "begins with random weights"
    optimizer = f"{config.optimizer.name}, rate {config.optimizer.lr:g}, {config.schedule.name}"
    augmented = [
        f"{name} {value:g}" if not isinstance(value, bool) else name
        for name, value in to_json(config)["augment"].items()
        if value and isinstance(value, int | float)
    ]
    return (
        ("data", f"{facts['dataset']}: {_listed(names)}"),
        ("pictures", pictures),
        ("shown as", f"{colour}, {height}×{width} px"),
        ("network", config.model.name + (f" with {options}" if options else "")),
        ("weights", begins),
        ("optimizer and schedule", optimizer),
        ("epochs, batch, seed", f"{config.epochs}, {config.batch_size}, {config.seed}"),
        ("augmentation", ", ".join(augmented) or "none"),
    )


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    more = ", …" if len(names) > most else ""
    return f"{len(names)} classes, {shown}{more}"


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _problems(value: Any, most: int = 200) -> list[Part]:
    found = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    if not found:
        return []
    listed = [(str(one.get("where", "")), str(one.get("why", ""))) for one in found[:most]]
    noun = "picture" if len(found) == 1 else "pictures"
    more = (Text(text=f"… and {len(found) - most:,} more in config.json"),)
    table = Table(
        about="Pictures that could not be read",
        columns=(("picture", "left"), ("why", "left")),
        rows=rows(listed),
    )
    title = f"{len(found):,} {noun} could not be read and took no part"
    return [Fold(title=title, parts=(table, *(more if len(found) > most else ())))]
