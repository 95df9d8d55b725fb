"""How often one may call: by user, API key and author, and by address for those who guess keys.

Each api process counts for itself, in memory: asking the store would cost every request a call.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil, floor
from time import monotonic
from typing import Final

from app.api.problems import TOO_MANY_FAILURES, TOO_MANY_POSTS, TOO_MANY_REQUESTS, Kind, Problem
from app.domain.bucket import Bucket, Buckets, Rate
from app.metrics import Labels
from app.settings import Settings

# Limits by the settings that they are from.
USER: Final = "user_rate_per_s"
KEY: Final = "key_rate_per_s"
AUTHOR: Final = "author_rate_per_s"
FAILURE: Final = "auth_failure_rate_per_s"

Told = Mapping[str, str]  # headers
_NOTHING: Final[Told] = {}
_PROBLEMS: Final[Mapping[str, tuple[Kind, str]]] = {
    USER: (TOO_MANY_REQUESTS, "{name} may send {per_s:g} requests a second, {burst:,} at once."),
    KEY: (TOO_MANY_REQUESTS, "Key {name} may send {per_s:g} a second, {burst:,} at once."),
    AUTHOR: (TOO_MANY_POSTS, "{name} may send {per_s:g} posts a second, {burst:,} at once."),
    FAILURE: (
        TOO_MANY_FAILURES,
        "This key or token is not one of ours, like more than {burst:,} before it from {name}.",
    ),
}


class Rates:
    """The rates of one process. One that is not given is no limit."""

    def __init__(
        self,
        *,
        user: Rate | None = None,
        key: Rate | None = None,
        author: Rate | None = None,
        failure: Rate | None = None,
        names_max: int = 50_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`clock` is in seconds and never goes back."""
        self.refused: Counter[str] = Counter()  # by limit
        self._clock = clock
        self._rates = {USER: user, KEY: key, AUTHOR: author, FAILURE: failure}
        self._buckets = {limit: Buckets(names_max) for limit in self._rates}

    @classmethod
    def of(cls, settings: Settings) -> "Rates":
        return cls(
            user=_rate(settings.user_rate_per_s, settings.user_burst),
            key=_rate(settings.key_rate_per_s, settings.key_burst),
            author=_rate(settings.author_rate_per_s, settings.author_burst),
            failure=_rate(settings.auth_failure_rate_per_s, settings.auth_failure_burst),
            names_max=settings.rate_names_max,
        )

    def spend_of_user(self, user: str) -> Told:
        """Counts a request. The headers that tell how many are left, none without a limit; else a
        429 `Problem`."""
        return self._count(USER, user, self._rates[USER])

    def spend_of_key(self, key: str, own: Rate | None = None, *, is_admin: bool = False) -> Told:
        """The same for an API key, by its id; `own` is the rate it was made with."""
        return self._count(KEY, key, own or (None if is_admin else self._rates[KEY]))

    def spend_of_author(self, author: str) -> None:
        """Counts a post. A 429 `Problem` when there were too many."""
        self._spend(AUTHOR, author, self._rates[AUTHOR])

    def spend_of_failure(self, address: str) -> None:
        """Counts a key or token that is not ours. A 429 `Problem` when there were too many."""
        self._spend(FAILURE, address, self._rates[FAILURE])

    @property
    def knows_failures(self) -> bool:
        """Whether keys or tokens that are not ours have come from anywhere, since the start."""
        return len(self._buckets[FAILURE]) > 0

    def is_guessing(self, address: str) -> bool:
        """Whether so many of them came from there that one more is too many."""
        bucket = self._buckets[FAILURE].find(address)
        return bucket is not None and bucket.ready_at_s > self._clock()

    def _count(self, limit: str, name: str, rate: Rate | None) -> Told:
        bucket = self._spend(limit, name, rate)
        return _NOTHING if bucket is None else _told(bucket, self._clock())

    def _spend(self, limit: str, name: str, rate: Rate | None) -> Bucket | None:
        """The bucket after one more was taken out of it; None without a limit."""
        if rate is None:
            return None
        now_s = self._clock()
        bucket = self._buckets[limit].of(name, rate, now_s)
        if bucket.ready_at_s > now_s:
            raise self._refuse(limit, name, bucket, now_s)
        bucket.take(now_s)
        return bucket

    def _refuse(self, limit: str, name: str, bucket: Bucket, now_s: float) -> Problem:
        self.refused[limit] += 1
        kind, words = _PROBLEMS[limit]
        headers = {"Retry-After": str(max(ceil(bucket.ready_at_s - now_s), 1))}
        if kind is TOO_MANY_REQUESTS:  # the others do not count requests
            headers |= _told(bucket, now_s)
        per_s, burst = 1 / bucket.rate.interval_s, floor(bucket.rate.burst)
        detail = words.format(name=name, per_s=per_s, burst=burst)
        return Problem(kind, detail, headers=headers)

    # Numbers, for whoever scrapes.

    def read_refused(self) -> dict[Labels, float]:
        return _by_limit(self.refused)

    def read_names(self) -> dict[Labels, float]:
        """Of how many names each rate is known."""
        return _by_limit({limit: len(buckets) for limit, buckets in self._buckets.items()})

    def read_forgotten(self) -> dict[Labels, float]:
        return _by_limit({limit: buckets.forgotten for limit, buckets in self._buckets.items()})


def _rate(per_s: float, burst: int) -> Rate | None:
    return Rate.of(per_s, burst) if per_s else None


def _told(bucket: Bucket, now_s: float) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-06 has them: the reset is in seconds from now."""
    return {
        "RateLimit-Limit": str(floor(bucket.rate.burst)),
        "RateLimit-Remaining": str(bucket.left(now_s)),
        "RateLimit-Reset": str(max(ceil(bucket.full_at_s - now_s), 0)),
    }


def _by_limit(counts: Mapping[str, int]) -> dict[Labels, float]:
    return {(("limit", limit),): count for limit, count in counts.items()}
