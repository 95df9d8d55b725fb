"""What the load test can be asked for."""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.commands.environment import variable

KEY_VARIABLE = variable("admin_key")
SECONDS_MAX = 3_600
RATE_MAX = 100_000
PEOPLE_MAX = 200_000
COUNT_MAX = 5_000_000
DELIVERIES_MAX = 20_000_000  # of one phase


@dataclass(frozen=True, slots=True)
class Options:
    """`rate` is in deliveries per second, `seconds` is as each scenario says. None stands for the
    scenario's own choice until `scenarios.choose` has made it."""

    scenario: str
    seconds: float
    rate: float
    people: int
    light: bool
    seed: int
    workers: int
    gateways: int
    hosts: int
    count: int
    cycles: int
    warm_up: float
    out: Path
    settings: Mapping[str, str]
    url: str | None
    gateway_urls: Sequence[str]
    key: str | None
    pids: Sequence[int]
    receive_on: str | None
    keep: bool


def parser(scenarios: Mapping[str, str]) -> argparse.ArgumentParser:
    """`scenarios`: what each is about, by name."""
    about = "\n".join(f"  {name:<10} {words}" for name, words in scenarios.items())
    made = argparse.ArgumentParser(
        prog="scripts/load_test.py",
        description="Loads a running service (--url), or starts its own on a new store.",
        epilog=f"scenarios:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("scenario", choices=list(scenarios), metavar="SCENARIO")
    load = made.add_argument_group("load")
    load.add_argument("--seconds", type=_number(0.5, SECONDS_MAX), help="of load (60)")
    load.add_argument("--rate", type=_number(1, RATE_MAX), help="deliveries per second (2,000)")
    load.add_argument("--people", type=_whole(4, PEOPLE_MAX), help="who receive (10,000)")
    load.add_argument("--light", action="store_true", help="smaller circles: median 99, mean 190")
    load.add_argument("--count", type=_whole(1, COUNT_MAX), help="backlog: how many wait")
    load.add_argument("--cycles", type=_whole(1, 100), help="pairs of phases that are compared")
    load.add_argument("--hosts", type=_whole(1, 10_000), default=2_000, help="with webhooks")
    load.add_argument("--warm-up", type=_number(0, 600), metavar="S", help="(5)")
    load.add_argument("--seed", type=int, default=1, help="decides who posts what and when")
    own = made.add_argument_group("its own service")
    own.add_argument("--workers", type=_whole(1, 64), default=1)
    own.add_argument("--gateways", type=_whole(1, 16), default=1)
    own.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=_setting)
    own.add_argument("--keep", action="store_true", help="keeps store and logs")
    given = made.add_argument_group("a running service")
    given.add_argument("--url", help="of its api, such as http://127.0.0.1:8000")
    given.add_argument("--gateway-url", action="append", default=[], metavar="URL", help="ws://…")
    given.add_argument("--key", help=f"with all scopes; else {KEY_VARIABLE}, which nobody sees")
    given.add_argument("--pid", action="append", default=[], type=int, help="`moments up`, for CPU")
    given.add_argument("--receive-on", metavar="ADDRESS", help="ours, as the service reaches it")
    made.add_argument("--out", type=Path, help="for the report (reports/load/SCENARIO)")
    return made


def read_options(
    arguments: Sequence[str],
    scenarios: Mapping[str, str],
    defaults: Mapping[str, Mapping[str, float]],
) -> Options:
    """Exits with a message when they make no sense."""
    made = parser(scenarios)
    asked = made.parse_args(arguments)
    key = asked.key or os.environ.get(KEY_VARIABLE)
    if bool(asked.url) != bool(asked.gateway_url) or (asked.url and not key):
        made.error(f"--url, --gateway-url and --key (or {KEY_VARIABLE}) go together")
    chosen = {
        name: defaults[asked.scenario][name] if (given := getattr(asked, name)) is None else given
        for name in ("seconds", "rate", "people", "count", "cycles", "warm_up")
    }
    if chosen["rate"] * chosen["seconds"] > DELIVERIES_MAX:
        made.error(f"more than {DELIVERIES_MAX:,} deliveries: a lower --rate or less --seconds")
    return Options(
        scenario=asked.scenario,
        seconds=chosen["seconds"],
        rate=chosen["rate"],
        people=int(chosen["people"]),
        count=int(chosen["count"]),
        cycles=int(chosen["cycles"]),
        light=asked.light,
        seed=asked.seed,
        workers=asked.workers,
        gateways=asked.gateways,
        hosts=asked.hosts,
        warm_up=chosen["warm_up"],
        out=asked.out or Path("reports") / "load" / asked.scenario,
        settings=dict(asked.set),
        url=asked.url,
        gateway_urls=asked.gateway_url,
        key=key,
        pids=asked.pid,
        receive_on=asked.receive_on,
        keep=asked.keep,
    )


def as_typed(arguments: Sequence[str], key: str | None) -> str:
    """The command line, for the report: without the key."""
    masked = [one.replace(key, "…") if key else one for one in arguments]
    return shlex.join(["python", "scripts/load_test.py", *masked])


def _number(least: float, most: float):
    def read(text: str) -> float:
        number = float(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"from {least:g} to {most:,g}")
        return number

    return read


def _whole(least: int, most: int):
    def read(text: str) -> int:
        number = int(text.replace(",", "").replace("_", ""))
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"from {least:,} to {most:,}")
        return number

    return read


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("NAME=VALUE, such as lease_s=5")
    return name.lower().removeprefix("moments_"), value
