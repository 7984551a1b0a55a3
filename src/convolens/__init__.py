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
    "predict": ("convolens.workbench.run", "predict"),
    "explain": ("convolens.workbench.explain", "explain"),
    "look": ("convolens.workbench.look", "look"),
    "report": ("convolens.workbench.report", "report"),
    "summarize": ("convolens.workbench.summary", "summarize"),
    "compare": ("convolens.workbench.compare", "compare"),
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
    module_name, attribute = _PUBLIC[name]
    module = import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The package, in which a room does not take the name of a public function.

    Importing `convolens.train.loop` would otherwise make `convolens.train` the room of that name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        is_room = isinstance(value, ModuleType) and name in _PUBLIC and _PUBLIC[name][1] is not None
        if not is_room:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
