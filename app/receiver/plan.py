"""How a receiver means to answer, as long as nobody tells it otherwise."""

from dataclasses import dataclass

from app.receiver.behaviour import Behaviour


@dataclass(frozen=True, slots=True)
class Plan:
    """`fail` of the requests (0 to 1) are answered with `status`, the others with 204.

    With `behaviours` those that fail meet one of them instead, drawn by the receiver's seed.
    The first `fail_first` attempts of each delivery get `status` in any case. All answers come
    after `delay_s`, which may be infinite: then none comes. With a `path` every other one is
    answered with 404.
    """

    fail: float = 0.0
    status: int = 503
    delay_s: float = 0.0
    path: str | None = None
    fail_first: int = 0
    behaviours: tuple[Behaviour, ...] = ()
