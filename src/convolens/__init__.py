"""convolens: a workbench for convolutional networks.

The public names are imported when they are first used, so that `import convolens` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "train": ("convolens.workbench.train", "train"),
    "eval": ("convolens.workbench.evaluate", "evaluate"),
    "find_rate": ("convolens.workbench.find_rate", "find_rate"),
    "pretrained": ("convolens.workbench.predict_pretrained", "pretrained"),
    "predict": ("convolens.workbench.run", "predict"),
    "explain": ("convolens.workbench.explain", "explain"),
    "look": ("convolens.workbench.look", "look"),
    "report": ("convolens.workbench.report", "report"),
    "summarize": ("convolens.workbench.summary", "summarize"),
    "compare": ("convolens.workbench.compare", "compare"),
    "check": ("convolens.workbench.check", "check"),
    "convert": ("convolens.workbench.convert", "convert"),
    "field": ("convolens.workbench.field", "field"),
    "Run": ("convolens.workbench.run", "Run"),
    "train_scratch": ("convolens.workbench.scratch", "train_scratch"),
    "to_torch": ("convolens.workbench.to_torch", "to_torch"),
    "load_dataset": ("convolens.data.registry", "load_dataset"),
    "ConvolensError": ("convolens.errors", "ConvolensError"),
    "models": ("convolens.models", None),
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'convolens' has no attribute {name!r}")
    value = _public(name)
    # `train` and `report` are rooms too; a room of that name can be called, see below.
    return globals().setdefault(name, value)


def _public(name: str) -> Any:
    module_name, attribute = _PUBLIC[name]
    module = import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Room(ModuleType):
    """A room with the name of a public function, which is called by calling the room."""

    @property
    def __wrapped__(self) -> Any:
        return _public(self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


class _Package(ModuleType):
    """The package: importing a room sets it here, where a public function may have its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _PUBLIC.get(name, ("", None))[1] is not None:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
