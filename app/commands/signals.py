"""How a process is asked to stop: SIGINT, SIGTERM, or the end of its parent."""

import asyncio
import os
import signal
import sys

PARENT_PIPE = "MOMENTS_PARENT_PIPE"  # set: standard input is a pipe that ends with the parent


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set. The same signal a second time ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def hear(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear, number)
    return stop


def stop_with_parent(stop: asyncio.Event) -> None:
    """Sets the event when standard input ends, if this process is a child of `moments up`."""
    if os.environ.get(PARENT_PIPE) != "1":
        return
    loop = asyncio.get_running_loop()
    pipe = sys.stdin.fileno()
    os.set_blocking(pipe, False)

    def read() -> None:
        try:
            ended = not os.read(pipe, 1024)
        except BlockingIOError:
            return
        if ended:
            loop.remove_reader(pipe)
            stop.set()

    loop.add_reader(pipe, read)
