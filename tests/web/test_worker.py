import asyncio
import threading
import time

import pytest

from convolens.errors import RunError, UnavailableError
from convolens.web.worker import aside, work


def fails() -> None:
    raise ZeroDivisionError("a network of the\nuser's does what it likes")


def refuses() -> None:
    raise RunError("no Run", "make one")


@pytest.mark.parametrize("runner", [work, aside])
def test_errors_become_messages(runner) -> None:
    with pytest.raises(UnavailableError, match=r"^ZeroDivisionError: a network of the user's does"):
        asyncio.run(runner(fails))
    with pytest.raises(RunError, match="no Run\nmake one"):
        asyncio.run(runner(refuses))


def test_networks_work_one_after_the_other_and_block_nothing_else() -> None:
    running: list[int] = []
    most: list[int] = []

    def network() -> str:
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return threading.current_thread().name

    async def both() -> tuple[list[str], int]:
        ticks = 0
        jobs = asyncio.gather(*(work(network) for _ in range(4)))
        while not jobs.done():
            ticks += await aside(lambda: 1)
            await asyncio.sleep(0.005)
        return await jobs, ticks

    names, ticks = asyncio.run(both())
    assert max(most) == 1
    assert len(set(names)) == 1
    assert ticks > 5  # the loop went on meanwhile
