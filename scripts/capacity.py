"""What a service of a given size needs, from what a delivery was measured to cost.

    python -m scripts.capacity [--users 1000000 …] [--set NAME=VALUE …]

Every assumption and every coefficient is a field below with its unit and where it comes from;
`--set` changes one. Cores are of the machine the coefficients were measured on.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

DAY_S = 86_400
MB, GB = 1e6, 1e9


@dataclass(frozen=True, slots=True)
class Assumptions:
    """How people behave, and how full machines may be. None of it is measured here."""

    posts_per_user_day: float = 0.11  # 120 M of 1.09 B daily users of WeChat post (2021)
    friends: float = 276.0  # mean of the lognormal circles of the load test
    small_posts_per_post: float = 8.0  # six likes and two comments
    small_audience: float = 30.0  # mutual friends of those two: a guess
    peak: float = 5.0  # times the mean: New Year of WeChat, 2015
    on_socket: float = 0.10  # of all recipients, at any time
    webhook: float = 0.90  # of all recipients
    online: float = 0.10  # of the daily users, with a socket open at the same time
    retention_days: float = 7.0  # of ledger and inbox
    body_bytes: float = 400.0  # of a post, stored once
    frame_bytes: float = 300.0  # of an event on a socket, with TCP and IP
    webhook_bytes: float = 1_100.0  # request and answer, with TCP and IP
    busy: float = 0.6  # of a core, at most, at the peak
    master_memory_bytes: float = 16 * GB  # of a store master, half of it for forks and growth
    sockets_per_gateway: float = 18_000.0  # what 20,000 open files allow
    replicas: float = 1.0  # of each master


@dataclass(frozen=True, slots=True)
class Coefficients:
    """CPU in microseconds of one core, memory in bytes; measured: see docs/performance.md."""

    api_post_us: float = 1_600.0
    fan_out_worker_us: float = 1.4  # for each recipient
    fan_out_store_us: float = 4.0
    webhook_worker_us: float = 35.0  # for each delivery by webhook
    webhook_store_us: float = 10.0
    frame_gateway_us: float = 13.0  # for each frame
    frame_store_us: float = 5.0
    recipient_bytes: float = 52.0  # inbox and ledger, before outcomes
    outcome_bytes: float = 33.0  # for each webhook delivery


@dataclass(frozen=True, slots=True)
class Need:
    """What so many daily users need. Rates are per second; processes use up to a core each."""

    users: float
    posts: float
    deliveries: float
    posts_peak: float
    deliveries_peak: float
    apis: int
    workers: int
    gateways: int
    masters: int
    stores: int  # masters and replicas
    store_memory_gb: float
    network_gbit: float


def need(users: float, of: Assumptions, costs: Coefficients) -> Need:
    """Raises ValueError when a share is not one."""
    for name in ("on_socket", "webhook", "online", "busy"):
        if not 0 < getattr(of, name) <= 1:
            raise ValueError(f"{name} is a share: above 0, at most 1")
    posts = users * of.posts_per_user_day * (1 + of.small_posts_per_post) / DAY_S
    audience = of.friends + of.small_posts_per_post * of.small_audience
    deliveries = users * of.posts_per_user_day * audience / DAY_S
    peak_posts, peak = posts * of.peak, deliveries * of.peak
    stored = deliveries * DAY_S * of.retention_days
    memory = stored * (costs.recipient_bytes + of.webhook * costs.outcome_bytes)
    memory += posts * DAY_S * of.retention_days * of.body_bytes
    store_us = costs.fan_out_store_us + of.webhook * costs.webhook_store_us
    store_us += of.on_socket * costs.frame_store_us
    worker_us = costs.fan_out_worker_us + of.webhook * costs.webhook_worker_us
    frames = peak * of.on_socket
    masters = max(
        _processes(peak * store_us, of.busy),
        math.ceil(memory / (of.master_memory_bytes / 2)),
    )
    return Need(
        users=users,
        posts=posts,
        deliveries=deliveries,
        posts_peak=peak_posts,
        deliveries_peak=peak,
        apis=_processes(peak_posts * costs.api_post_us, of.busy),
        workers=_processes(peak * worker_us, of.busy),
        gateways=max(
            _processes(frames * costs.frame_gateway_us, of.busy),
            math.ceil(users * of.online / of.sockets_per_gateway),
        ),
        masters=masters,
        stores=round(masters * (1 + of.replicas)),
        store_memory_gb=memory / GB,
        network_gbit=(frames * of.frame_bytes + peak * of.webhook * of.webhook_bytes) * 8 / 1e9,
    )


def _processes(us_per_s: float, busy: float) -> int:
    return max(1, math.ceil(us_per_s / 1e6 / busy))


_LINES: Sequence[tuple[str, str]] = (
    ("posts, likes and comments per second, mean", "posts"),
    ("… at the peak", "posts_peak"),
    ("deliveries per second, mean", "deliveries"),
    ("… at the peak", "deliveries_peak"),
    ("api processes", "apis"),
    ("worker processes", "workers"),
    ("gateway processes", "gateways"),
    ("store masters", "masters"),
    ("store servers, with replicas", "stores"),
    ("memory of all masters, GB", "store_memory_gb"),
    ("network at the peak, Gbit/s", "network_gbit"),
)


def table(needs: Sequence[Need]) -> str:
    """As Markdown, a column for each size."""
    head = ["", *(f"{one.users:,.0f} daily users" for one in needs)]
    rows = [head, ["---", *["---:"] * len(needs)]]
    rows += [[words, *(_figure(getattr(one, name)) for one in needs)] for words, name in _LINES]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if isinstance(value, int) or value >= 10 else f"{value:,.2g}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args(arguments)
    of, costs = Assumptions(), Coefficients()
    for change in asked.set:
        name, _, value = change.partition("=")
        owner = of if hasattr(of, name) else costs
        if not hasattr(owner, name):
            known = ", ".join(one.name for each in (of, costs) for one in fields(each))
            parser.error(f"there is no {name}; there are {known}")
        try:
            changed = {name: float(value)}
        except ValueError:
            parser.error(f"{change}: NAME=NUMBER")
        if owner is of:
            of = replace(of, **changed)
        else:
            costs = replace(costs, **changed)
    try:
        print(table([need(users, of, costs) for users in asked.users]), end="")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
