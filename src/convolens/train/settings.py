"""Changing and storing a Config: `--set key=value`, and JSON there and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from convolens.errors import ConfigError, RunError, near_matches
from convolens.train.config import Config, ModelConfig

OPTIONS_PREFIX = "model."
SHORT = {"plan": "plan.choose"}  # a word for a whole group stands for this one of its fields


@cache
def setting_keys() -> tuple[str, ...]:
    """Every key that `--set` reaches, dotted, in the order of the configuration."""
    return tuple(_keys(Config, ""))


def _keys(cls: type, prefix: str) -> list[str]:
    keys: list[str] = []
    for name, hint in get_type_hints(cls).items():
        if is_dataclass(hint) and isinstance(hint, type):
            keys += _keys(hint, f"{prefix}{name}.")
        elif get_origin(hint) is not Mapping:
            keys.append(prefix + name)
    return keys


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """A copy of the configuration in which each "key=value" is changed.

    Args:
        settings: "optimizer.lr=0.05"; keys below "model." that are no field of the
            configuration are arguments of the network's builder ("model.dropout=0.3").
    Raises:
        ConfigError: when there is no "=", the key is unknown (near matches are named), or the
            value cannot be read as the field's type.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(
                f"--set takes key=value, received {setting!r}", "Example: --set optimizer.lr=0.05"
            )
        config = _changed(config, key, text.strip())
    return config


def _changed(config: Config, key: str, text: str) -> Config:
    key = SHORT.get(key, key)
    if key in setting_keys():
        changed: Config = _with(config, key.split("."), text, key)
        return changed
    if key.startswith(OPTIONS_PREFIX) and "." not in key.removeprefix(OPTIONS_PREFIX):
        options = dict(config.model.options)
        options[key.removeprefix(OPTIONS_PREFIX)] = _literal(text)
        return replace(config, model=ModelConfig(name=config.model.name, options=options))
    keys = setting_keys()
    same_field = [known for known in keys if known.rpartition(".")[2] == key]
    raise ConfigError(f"--set: there is no key {key!r}", near_matches(key, same_field or keys))


def _with(node: Any, path: list[str], text: str, key: str) -> Any:
    name, *rest = path
    if rest:
        value = _with(getattr(node, name), rest, text, key)
    else:
        value = _parse(text, get_type_hints(type(node))[name], key)
    return replace(node, **{name: value})


def _literal(text: str) -> Any:
    """A builder's argument: a number, true, false or none where it reads as one, else a word."""
    for kind in (int, float, bool, NoneType):
        try:
            return _as(kind, text)
        except ValueError:
            continue
    return text


def _as(kind: Any, text: str) -> Any:
    lowered = text.lower()
    if kind is NoneType:
        if lowered in ("none", "null"):
            return None
        raise ValueError(text)
    if kind is bool:
        if lowered in ("true", "yes", "on", "1"):
            return True
        if lowered in ("false", "no", "off", "0"):
            return False
        raise ValueError(text)
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise ValueError(text)
    return kind(text)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have, the narrowest first."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    order = (NoneType, bool, int, float)
    return tuple(sorted(kinds, key=lambda kind: order.index(kind) if kind in order else 9))


def _expected(kind: Any) -> str:
    names = {NoneType: "none", bool: "true or false", int: "a whole number", float: "a number"}
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return names.get(kind, "text")


def _parse(text: str, hint: Any, key: str) -> Any:
    kinds = _alternatives(hint)
    for kind in kinds:
        try:
            return _as(kind, text)
        except ValueError:
            continue
    expected = " or ".join(_expected(kind) for kind in kinds if kind is not NoneType)
    hint_text = near_matches(text, get_args(hint)) if get_origin(hint) is Literal else None
    raise ConfigError(f"--set {key} takes {expected}, received {text!r}", hint_text)


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as nested dictionaries of plain values."""
    return asdict(config)


def from_json(tree: Mapping[str, Any], where: str) -> Config:
    """The configuration that `to_json` wrote.

    Raises:
        RunError: when a key is missing, unknown or of the wrong kind; the message names `where`.
    """
    config: Config = _build(Config, tree, where, "")
    return config


def _build(cls: type, tree: Any, where: str, prefix: str) -> Any:
    if not isinstance(tree, Mapping):
        raise RunError(f"{where}: expected an object at {prefix or 'the top'!r}, received {tree!r}")
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    for name in tree:
        if name not in known:
            raise RunError(f"{where} has an unknown key {prefix + name!r}")
    values: dict[str, Any] = {}
    for name, value in tree.items():
        hint = hints[name]
        nested = is_dataclass(hint) and isinstance(hint, type)
        if isinstance(value, str) and prefix + name in SHORT:  # as Runs had it at first
            value = {SHORT[prefix + name].rpartition(".")[2]: value}
        values[name] = _build(hint, value, where, f"{prefix}{name}.") if nested else value
    try:
        return cls(**values)
    except TypeError as error:
        raise RunError(f"{where} is not a complete configuration: {error}") from error
