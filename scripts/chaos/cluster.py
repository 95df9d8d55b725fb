"""A cluster as what is under test: three masters, each with a replica that takes its place."""

import asyncio
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from app.errors import CommandFailed
from app.store.embedded import server_binary
from scripts.chaos.fleet import HOST, free_port
from scripts.chaos.plan import Act

PAIRS = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 2_000
CHANGE_MAX_S = 30.0  # for a fail-over, or for one that comes back to be a replica again
LOOK_S = 0.05
STOP_MAX_S = 10.0

_OPTIONS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": f"{NODE_TIMEOUT_MS}",
    # The shards of the other masters go on while one is away.
    "cluster-require-full-coverage": "no",
    "cluster-allow-replica-migration": "no",
    "appendonly": "yes",
    "save": "",
    "loglevel": "notice",
    "repl-diskless-sync-delay": "0",
}
_OFFLINE = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)


class Node:
    """One server, on the same ports and data through all its lives."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.port, self.bus = free_port(), free_port()
        self.id = ""
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._client = redis.Redis(HOST, self.port, socket_timeout=2, decode_responses=True)

    def spawn(self) -> None:
        options = {
            **_OPTIONS,
            "port": f"{self.port}",
            "cluster-port": f"{self.bus}",
            "dir": f"{self._directory}",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [server_binary(), *words],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C in a terminal is for us alone
            )

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> None:
        if self._process is not None:
            self._process.wait(timeout_s)

    def ask(self, *command: str | int) -> Any:
        """The reply, None while it does not answer."""
        with suppress(*_OFFLINE):
            return self._client.execute_command(*command)
        return None

    def info(self, section: str) -> dict[str, Any]:
        return self.ask("INFO", section) or {}

    @property
    def is_master(self) -> bool:
        return self.info("replication").get("role") == "master"

    @property
    def is_replica(self) -> bool:
        """One that has all its master has, but for what is on its way."""
        found = self.info("replication")
        return found.get("role") == "slave" and found.get("master_link_status") == "up"

    def close(self) -> None:
        """Ends it: asked first, and killed if it does not."""
        self._client.close()
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.wait(STOP_MAX_S)


@dataclass(slots=True)
class Pair:
    """Two nodes that have the same slots. Which one is the master changes."""

    nodes: tuple[Node, Node]

    def roles(self) -> tuple[Node, Node]:
        """The master and the other one, as they see it. Raises CommandFailed when there is none."""
        first, second = self.nodes
        if first.is_master:
            return first, second
        if second.is_master:
            return second, first
        raise CommandFailed(f"none of {first.port} and {second.port} is a master")


class ClusterUnderTest:
    """`lag_s`: for so long before a master is killed nothing gets to its replica, whose link is
    down, as it is on a bad network."""

    fails_over = True

    def __init__(self, directory: Path, random: random.Random, *, lag_s: float = 0.0) -> None:
        self.failovers = 0
        self._random = random
        self._lag_s = lag_s
        self._pairs = [
            Pair((Node(directory / f"{number}-a"), Node(directory / f"{number}-b")))
            for number in range(PAIRS)
        ]

    @property
    def _nodes(self) -> list[Node]:
        return [node for pair in self._pairs for node in pair.nodes]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self._nodes)

    async def start(self) -> None:
        for node in self._nodes:
            node.spawn()
        await self._until(lambda: all(node.ask("PING") for node in self._nodes), "starting")
        await asyncio.to_thread(self._join)
        await self._until(lambda: all(map(_knows_all, self._nodes)), "joining")
        for pair in self._pairs:
            pair.nodes[1].ask("CLUSTER", "REPLICATE", pair.nodes[0].id)
        await self._until(lambda: all(p.nodes[1].is_replica for p in self._pairs), "replication")
        await self._until(lambda: all(map(_is_well, self._nodes)), "agreeing")

    def _join(self) -> None:
        first = self._nodes[0]
        for epoch, node in enumerate(self._nodes, 1):
            node.id = node.ask("CLUSTER", "MYID")
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            if node is not first:
                first.ask("CLUSTER", "MEET", HOST, node.port, node.bus)
        for (begin, end), pair in zip(_ranges(), self._pairs, strict=True):
            pair.nodes[0].ask("CLUSTER", "ADDSLOTSRANGE", begin, end)

    async def stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(node.close) for node in self._nodes))

    async def hit(self, act: Act, hold_s: float) -> None:
        """Takes a master away, has its replica take over, and brings it back as a replica."""
        pair = self._random.choice(self._pairs)
        master, replica = await asyncio.to_thread(pair.roles)
        if self._lag_s:
            await asyncio.to_thread(_cut, replica)
            await asyncio.sleep(self._lag_s)
        master.send(signal.SIGSTOP if act is Act.STOP else signal.SIGKILL)
        await self._until(lambda: replica.is_master, "a fail-over")
        self.failovers += 1
        await asyncio.to_thread(_mend, replica)
        await asyncio.sleep(hold_s)
        if act is Act.STOP:
            master.send(signal.SIGCONT)
        else:
            await asyncio.to_thread(master.wait, STOP_MAX_S)
            master.spawn()
        await self._until(lambda: master.is_replica, "coming back")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(CHANGE_MAX_S):
                while not await asyncio.to_thread(condition):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise CommandFailed(f"the cluster: {what} took over {CHANGE_MAX_S:.0f} s") from None


def _ranges() -> Iterator[tuple[int, int]]:
    for index in range(PAIRS):
        yield SLOTS * index // PAIRS, SLOTS * (index + 1) // PAIRS - 1


def _knows_all(node: Node) -> bool:
    return "handshake" not in (told := node.ask("CLUSTER", "NODES") or "") and (
        len(told.splitlines()) == 2 * PAIRS
    )


def _is_well(node: Node) -> bool:
    return "cluster_state:ok" in (node.ask("CLUSTER", "INFO") or "")


def _cut(replica: Node) -> None:
    """A replica that logs in at a master without a password is sent away."""
    replica.ask("CONFIG", "SET", "masterauth", "wrong")
    replica.ask("CLIENT", "KILL", "TYPE", "master")


def _mend(replica: Node) -> None:
    replica.ask("CONFIG", "SET", "masterauth", "")
