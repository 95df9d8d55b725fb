"""Answers: what a call gives back, and how it is written to the client."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel
from starlette.types import Message, Send

Header = tuple[bytes, bytes]

JSON = b"application/json"
# Answers belong to one caller at one moment, and a browser must not take them for a page.
_ALWAYS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the whole body, and the headers beyond those every answer has."""

    status: int
    body: bytes = b""
    media_type: bytes = JSON
    headers: tuple[Header, ...] = ()

    def telling(self, headers: Mapping[str, str]) -> "Answer":
        """The same answer with more headers."""
        if not headers:
            return self
        more = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return replace(self, headers=(*self.headers, *more))

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Writes the answer; for HEAD without its body, but with the body's length."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": self.head(),
        }
        await send(start)
        await send({"type": "http.response.body", "body": b"" if head_only else self.body})

    def head(self) -> list[Header]:
        """All headers of the answer."""
        if self.status == 204:
            return [*_ALWAYS, *self.headers]
        length = b"%d" % len(self.body)
        typed = ((b"content-type", self.media_type), (b"content-length", length))
        return [*typed, *_ALWAYS, *self.headers]


def model_answer(status: int, model: BaseModel, headers: tuple[Header, ...] = ()) -> Answer:
    return Answer(status, model.model_dump_json(by_alias=True).encode(), JSON, headers)
