"""What a client knows of its log: what it has taken, and what a message means by that. No I/O."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moments_client.answers import Gap
from moments_client.decoding import decode
from moments_client.errors import UnexpectedAnswer
from moments_client.messages import Event, Goodbye, Hello, Position, Reset

Told = Hello | Reset | Gap | Goodbye | Event


class HoleError(Exception):
    """An offset was left out, and no gap told of it: connect again, from where we are."""


class Follower:
    """Offsets go up by one. `received` is the highest that was taken, None as long as it is the
    user's cursor, wherever that is."""

    def __init__(self, position: Position | None) -> None:
        self.received = position.offset if position else None
        self.epoch = position.epoch if position else None
        self._announced: str | None = None  # epoch of a reset that is known before it is told

    def parameters(self) -> dict[str, str]:
        """The query parameters that go on from here."""
        if self.received is None:
            return {}
        epoch = {"epoch": self.epoch} if self.epoch else {}
        return {"after": str(self.received), **epoch}

    def take(self, message: Mapping[str, Any]) -> list[Told]:
        """What a message tells that is new. What was pushed before, and what this version does not
        know, tells nothing. Raises `HoleError`, `UnexpectedAnswer`."""
        match message.get("type"):
            case "hello":
                return self._take_hello(decode(Hello, message))
            case "gap":
                return self._take_gap(decode(Gap, message))
            case "reset":
                return self._take_reset(decode(Reset, message))
            case "goodbye":
                return [decode(Goodbye, message)]
            case _:
                return self._take_event(message) if "offset" in message else []

    def _take_hello(self, hello: Hello) -> list[Told]:
        known, self.epoch = self.epoch, hello.epoch
        if known is not None and known != hello.epoch:
            # The reset that says so comes next; but if the connection broke in between, the old
            # offset would go out with the new epoch, and count.
            self.received, self._announced = 0, hello.epoch
            return [hello, Reset(epoch=hello.epoch)]
        if self.received is None:
            self.received = hello.cursor
        return [hello]

    def _take_gap(self, gap: Gap) -> list[Told]:
        if self.received is not None and gap.to <= self.received:
            return []
        self.received = gap.to
        return [gap]

    def _take_reset(self, reset: Reset) -> list[Told]:
        announced, self._announced = self._announced, None
        if announced == reset.epoch:
            return []
        self.received, self.epoch = 0, reset.epoch
        return [reset]

    def _take_event(self, message: Mapping[str, Any]) -> list[Told]:
        offset = message["offset"]
        if self.received is None or self.epoch is None or type(offset) is not int:
            raise UnexpectedAnswer("the socket brought an event before its hello, or no offset")
        if offset <= self.received:
            return []
        if offset > self.received + 1:
            raise HoleError(f"offset {offset} came after {self.received}")
        event = replace(decode(Event, message), epoch=self.epoch)
        self.received, self._announced = offset, None
        return [event]
