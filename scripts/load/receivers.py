"""The load process that receives webhooks: many hosts, and a manner for each group of them.

    {"do": "open", "group", "hosts", "ports", "certificate", "net"} → {"urls": [url]}
    {"do": "manner", "group", "delays_s": [s], "fail"} → null: how it answers from now on
    {"do": "drop", "group"} → null: closes its connections, as a server does that restarts
    {"do": "count"} → {group: {"requests", "accepted", "retries", "duplicates", "connections"}}

A delay of null is one without end. Signatures are not checked: that is the service's cost once,
and would be ours again. Only what is accepted in its time becomes a sample.
"""

import math
import ssl
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle

from app.receiver import Plan, Received, Receiver
from scripts.load.orders import Deed, Order, now_us, run
from scripts.load.samples import Samples

HOSTS_OF_NET = 250 * 250


@dataclass(slots=True)
class Tally:
    """`accepted` leaves out those whose answer never comes."""

    requests: int = 0
    accepted: int = 0
    retries: int = 0
    duplicates: int = 0
    connections: int = 0
    resumed: int = 0  # TLS connections that went on with an earlier session


@dataclass(slots=True)
class Crowd:
    """The receivers of one group."""

    tally: Tally = field(default_factory=Tally)
    receivers: list[Receiver] = field(default_factory=list[Receiver])
    tls: ssl.SSLContext | None = None


class Taker:
    """Takes note of what one receiver gets."""

    receiver: Receiver

    def __init__(self, group: str, tally: Tally, samples: Samples) -> None:
        self._group = group
        self._tally = tally
        self._samples = samples

    def take(self, received: Received) -> None:
        tally = self._tally
        tally.requests += 1
        if received.attempt != "1":
            tally.retries += 1
        if received.status >= 300 or self.receiver.plan.delay_s == math.inf:
            return
        if received.duplicate:
            tally.duplicates += 1
        elif self._samples.note(received.body, self._group, now_us()):
            tally.accepted += 1


def addresses(net: int, count: int) -> Iterator[str]:
    """Addresses of this machine, each a host of its own to the service."""
    if count > HOSTS_OF_NET:
        raise ValueError(f"{count} hosts are more than {HOSTS_OF_NET}")
    for number in range(count):
        yield f"127.{net}.{number // 250}.{number % 250 + 1}"


class Receivers:
    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._crowds: dict[str, Crowd] = {}

    async def open(self, order: Order) -> dict[str, list[str]]:
        """Each host listens on so many ports."""
        group = order["group"]
        crowd = self._crowds[group] = Crowd()
        if order["certificate"]:
            crowd.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            crowd.tls.load_cert_chain(order["certificate"])
        hosts = [order["host"]] if order.get("host") else addresses(order["net"], order["hosts"])
        for host in hosts:
            for _ in range(order["ports"]):
                taker = Taker(group, crowd.tally, self._samples)
                taker.receiver = Receiver(on_request=taker.take, tls=crowd.tls)
                await taker.receiver.start(host)
                crowd.receivers.append(taker.receiver)
        return {"urls": [receiver.url for receiver in crowd.receivers]}

    async def manner(self, order: Order) -> None:
        delays = cycle(order["delays_s"])
        for receiver in self._crowds[order["group"]].receivers:
            delay_s = next(delays)
            receiver.plan = Plan(
                fail=order["fail"], status=500, delay_s=math.inf if delay_s is None else delay_s
            )

    async def drop(self, order: Order) -> None:
        for receiver in self._crowds[order["group"]].receivers:
            receiver.drop_connections()

    async def count(self, order: Order) -> dict[str, dict[str, int]]:
        for crowd in self._crowds.values():
            crowd.tally.connections = sum(receiver.connections for receiver in crowd.receivers)
            if crowd.tls is not None:
                crowd.tally.resumed = crowd.tls.session_stats()["hits"]
        return {group: asdict(crowd.tally) for group, crowd in self._crowds.items()}


def deeds(samples: Samples) -> dict[str, Deed]:
    receivers = Receivers(samples)
    return {
        "open": receivers.open,
        "manner": receivers.manner,
        "drop": receivers.drop,
        "count": receivers.count,
    }


if __name__ == "__main__":
    run(deeds)
