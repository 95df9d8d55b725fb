"""One endpoint's lane and the host it leads to: the data that `Lanes` works on."""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from app.domain.bucket import Bucket

T = TypeVar("T")


class Place(Enum):
    """Where a lane with something waiting gets its next start from."""

    NONE = auto()  # the end of one of its own requests
    CLOCK = auto()  # its timer: the rate
    HOST = auto()  # the line of its host
    TURN = auto()  # the line of the process; it holds a slot of its host already


class Pace(Enum):
    """How an endpoint answers, as far as its lane has seen."""

    NEW = auto()
    FAST = auto()
    SLOW = auto()


# To read a member off its Enum takes a tenth of a microsecond; these are read for every delivery.
NOWHERE, CLOCK, HOST, TURN = Place.NONE, Place.CLOCK, Place.HOST, Place.TURN
NEW, FAST, SLOW = Pace.NEW, Pace.FAST, Pace.SLOW


# Limits by the names under which it is counted that they were reached.
ENDPOINT_IN_FLIGHT, HOST_IN_FLIGHT = "endpoint_in_flight_max", "host_in_flight_max"
IN_FLIGHT, RATE = "in_flight_max", "rate_per_s"
SHARE = "share"  # what the slow ones get together, or one endpoint while the process fills up
SILENT, SILENT_MAX = "silent", 1  # requests at once to who let the last deadline pass
ENDPOINT_QUEUE, QUEUED, MOVED = "endpoint_queue_max", "held_max", "moved"


@dataclass(slots=True)
class Reached:
    """How often a limit was reached: one that makes wait, and one of what may wait."""

    waits: Counter[str] = field(default_factory=Counter[str])
    full: Counter[str] = field(default_factory=Counter[str])


class Host(Generic[T]):
    """`used` slots: requests under way, and lanes that stand in the line of the process."""

    __slots__ = ("lanes", "name", "queued", "used", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes = 0
        self.used = 0
        self.queued = 0
        self.waiting: deque[Lane[T]] | None = None  # made when first needed: 760 bytes


class Lane(Generic[T]):
    """`progress_s` is when a request last came back, or the first of those under way went out.
    `is_silent`: what came back last came back without an answer, at its deadline.

    `queue` is short, so taking its head moves a few pointers; a deque is ten times as large.
    """

    __slots__ = (
        "bucket", "endpoint", "host", "in_flight", "is_silent", "pace", "place", "progress_s",
        "queue", "rate_per_s", "timer_s", "watched",
    )  # fmt: skip

    def __init__(self, endpoint: str, host: Host[T]) -> None:
        self.endpoint = endpoint
        self.host = host
        self.in_flight = 0
        self.is_silent = False
        self.queue: list[T] = []
        self.place = NOWHERE
        self.pace = NEW
        self.progress_s = 0.0
        self.watched = False
        self.rate_per_s: float | None = None
        self.bucket: Bucket | None = None
        self.timer_s: float | None = None
