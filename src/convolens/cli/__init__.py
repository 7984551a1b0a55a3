"""The command line: words in, a workbench call, words out."""

from convolens.cli.app import main

__all__ = ["main"]
