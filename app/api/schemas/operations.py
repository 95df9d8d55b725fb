"""Health and statistics in answers."""

from pydantic import ConfigDict, Field

from app.api.schemas.fields import Out


class Health(Out):
    status: str
    version: str


class Check(Out):
    ok: bool
    detail: str


class Readiness(Out):
    ready: bool
    checks: dict[str, Check]


class Stats(Out):
    """Queues by shard, leases, nodes, workers, endpoints by state."""

    model_config = ConfigDict(extra="allow")


class ProblemField(Out):
    field: str
    message: str


class ProblemDocument(Out):
    """Problem details (RFC 9457)."""

    type: str = Field(description="Names the kind of problem and never changes.")
    title: str
    status: int
    detail: str
    errors: list[ProblemField] | None = None
    instance: str | None = None
