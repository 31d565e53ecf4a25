"""Stopping between two steps: a signal is remembered, and obeyed when the step is finished and saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Stop:
    """Remembers the first request to stop; the second one stops at once."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None

    def request(self, number: int, _: object) -> None:
        self.requested = signal.Signals(number)
        for watched in (signal.SIGINT, signal.SIGTERM):
            signal.signal(watched, signal.SIG_DFL if watched == signal.SIGTERM else signal.default_int_handler)

    def check(self) -> None:
        """Raises what the signal would have raised."""
        if self.requested == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        if self.requested:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catches SIGINT and SIGTERM inside the block. Python allows that in the main thread alone; elsewhere nothing is
    caught."""
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for watched in (signal.SIGINT, signal.SIGTERM):
            before[watched] = signal.signal(watched, stop.request)
    try:
        yield stop
    finally:
        for watched, handler in before.items():
            signal.signal(watched, handler)
