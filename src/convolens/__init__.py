"""convolens: a workbench for convolutional networks.

The public names are imported when they are first used, so that `import convolens` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "train": ("convolens.workbench.train", "train"),
    "eval": ("convolens.workbench.evaluate", "evaluate"),
    "find_rate": ("convolens.workbench.find_rate", "find_rate"),
    "predict": ("convolens.workbench.run", "predict"),
    "Run": ("convolens.workbench.run", "Run"),
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
