"""Times as the API reads them."""

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """In UTC, to the millisecond. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone: give one, such as datetime.now(UTC)")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
