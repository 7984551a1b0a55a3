"""Stopping at the end of a step: Ctrl-C and SIGTERM ask, training saves and goes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from convolens.errors import ConvolensError


class DivergedError(ConvolensError):
    """The loss is no longer a finite number, or no gradient is."""

    exit_status = 1


class StoppedError(ConvolensError):
    """Training was asked to stop; its state is saved."""

    exit_status = 1


class StopRequest:
    """Remembers whether a signal has asked training to stop."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.received is not None

    def handle(self, number: int, _: FrameType | None) -> None:
        """The first signal asks; a second Ctrl-C does not wait for the step to end."""
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM only set the request; the old handlers come back after.

    Outside of the main thread, where Python handles no signals, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, request.handle) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
