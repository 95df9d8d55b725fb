"""How long to wait before something is tried again. No clock and no chance in here."""


def full_jitter_s(failures: int, random: float, *, first_s: float, longest_s: float) -> float:
    """Anything between nothing and a limit that doubles with each of `failures` (1 or more).

    `random` is in [0, 1). https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 32)) * random
