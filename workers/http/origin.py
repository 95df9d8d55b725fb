"""What the pool knows of one origin: scheme, host and port."""

from collections import deque
from typing import TYPE_CHECKING

from workers.http.exchange import Exchange

if TYPE_CHECKING:
    from workers.http.connection import Connection


class Origin:
    """`idle` is a stack: the connection used last is used next, so that the others can go.

    `open` counts the connections that take a place, those being set up among them.
    """

    __slots__ = ("idle", "key", "open", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.idle: list[Connection] = []
        self.waiting: deque[Exchange] = deque()
        self.open = 0
