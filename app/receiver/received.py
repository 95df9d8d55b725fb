"""What a receiver got: one request, and the count of all of them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl

from app.domain.signature import ID, Verdict

ATTEMPT = "moments-attempt"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came, what was found about it, and the status it is answered with.

    `headers` have their names in lower case. `verdict` is None when there is no secret to check
    with. `duplicate` means that a request with this `webhook-id` was accepted before. `connection`
    counts the receiver's connections from 1. `behaviour` names how the receiver misbehaves, if it
    does; `status` is 0 then when it gives no whole answer.
    """

    at_ms: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    verdict: Verdict | None
    duplicate: bool
    status: int
    connection: int
    behaviour: str = ""

    @property
    def id(self) -> str:
        return self.headers.get(ID, "")

    @property
    def attempt(self) -> str:
        return self.headers.get(ATTEMPT, "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> Any:
        """The body. Raises ValueError."""
        return json.loads(self.body)

    def event(self) -> dict[str, Any]:
        """What the request tells: its JSON body, or without one its query; {} for anything else."""
        return event_in(self.target, self.body)


def event_in(target: str, body: bytes) -> dict[str, Any]:
    """What a request with this target and body tells."""
    if not body:
        return dict(parse_qsl(target.partition("?")[2]))
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


@dataclass(slots=True)
class Tally:
    """What has come so far."""

    requests: int = 0
    duplicates: int = 0
    verdicts: Counter[Verdict | None] = field(default_factory=Counter[Verdict | None])
    statuses: Counter[int] = field(default_factory=Counter[int])
    behaviours: Counter[str] = field(default_factory=Counter[str])

    def note(self, received: Received) -> None:
        self.requests += 1
        self.duplicates += received.duplicate
        self.verdicts[received.verdict] += 1
        self.statuses[received.status] += 1
        if received.behaviour:
            self.behaviours[received.behaviour] += 1
