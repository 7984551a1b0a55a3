"""Where work is done beside the pages, so that they stay alive meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from convolens.errors import ConvolensError, UnavailableError

T = TypeVar("T")
# One: a trace hooks into every module of the process, so that two at once would hear each other.
_network = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")


async def work(function: Callable[[], T]) -> T:
    """What a function that runs networks gives; they run one after the other.

    Raises:
        ConvolensError: what it raises; any other error as an UnavailableError with its words, since
            a network or a file of the user's raises what it likes and the app goes on.
    """
    return await _in(_network, function)


async def aside(function: Callable[[], T]) -> T:
    """What a function that waits for files or processes gives, whatever the networks do.

    Raises:
        ConvolensError: as `work`.
    """
    return await _in(None, function)


async def _in(executor: Executor | None, function: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, function)
    except ConvolensError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise UnavailableError(f"{type(error).__name__}: {words}"[:400]) from error
