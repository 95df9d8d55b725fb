"""When a child that died is started again: back-off, and when to give up. No clock, no process."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`failures_max` deaths without ever having been ready mean that it will never work."""

    first_s: float = 0.5
    longest_s: float = 30.0
    healthy_s: float = 60.0
    failures_max: int = 5


@dataclass(frozen=True, slots=True)
class Deaths:
    """What is known of a child: its deaths in a row, and whether it ever was ready."""

    in_a_row: int = 0
    ever_ready: bool = False


def note_death(policy: RestartPolicy, deaths: Deaths, ready_for_s: float | None) -> Deaths:
    """One death more. `ready_for_s` is how long it had been ready, None when it was not."""
    if ready_for_s is None:
        return replace(deaths, in_a_row=deaths.in_a_row + 1)
    healthy = ready_for_s >= policy.healthy_s
    return Deaths(in_a_row=1 if healthy else deaths.in_a_row + 1, ever_ready=True)


def restart_delay_s(policy: RestartPolicy, deaths: Deaths) -> float | None:
    """How long to wait before starting it again; None: give up."""
    if not deaths.ever_ready and deaths.in_a_row >= policy.failures_max:
        return None
    # The exponent is bounded too: 2.0 ** 1024 would overflow after a day of deaths.
    doublings = min(max(deaths.in_a_row - 1, 0), 30)
    return min(policy.first_s * 2.0**doublings, policy.longest_s)
