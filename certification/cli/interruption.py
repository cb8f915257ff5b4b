"""Ctrl-C and SIGTERM as an event that every wait of the runner watches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; the second ends the process at once."""
    event = threading.Event()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the handler's signature
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        click.echo("stopping: writing what was gathered (again to stop at once)", err=True)

    for name in before:
        signal.signal(name, handle)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
