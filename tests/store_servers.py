"""Real servers for tests: single ones and a cluster of three, all from the bundled binary."""

import random
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import redis

from app.store.embedded import server_binary
from tests.wait import block_until

SLOTS = 16_384
PORTS = (20_000, 32_768)
START_S = 20.0  # a busy machine may take ten times as long as an idle one


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses at this moment.

    They lie below those that the kernel gives to outgoing connections: of thousands of these, one
    would have such a port before the server that it was chosen for has come up.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = random.randrange(*PORTS)
            sock = stack.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


class TcpServer:
    """A server on a TCP port, with its data in `directory`. `options` are its configuration."""

    def __init__(self, directory: Path, port: int, **options: str) -> None:
        self.port = port
        directory.mkdir(exist_ok=True)
        settings = {
            "port": str(port),
            "dir": str(directory),
            "save": "",
            "loglevel": "warning",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._run(directory, [server_binary(), *words])

    def _run(self, directory: Path, command: list[str]) -> None:
        with (directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        self.admin = redis.Redis(port=self.port, socket_timeout=5)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answers(self) -> bool:
        with suppress(redis.ConnectionError, redis.BusyLoadingError):
            self.admin.ping()
            return True
        return False

    def stop(self) -> None:
        self.admin.close()
        self.process.terminate()
        self.process.wait(10)


class Sentinel(TcpServer):
    """A Sentinel that watches one primary under the name `moments`."""

    def __init__(self, directory: Path, port: int, primary: TcpServer) -> None:
        self.port = port
        directory.mkdir(exist_ok=True)
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {port}\nsentinel monitor moments 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds moments 500\n"
            "sentinel failover-timeout moments 2000\n"
        )
        self._run(directory, [server_binary(), str(config), "--sentinel"])


class Pair:
    """A primary, and a replica that can be made to lag: connected, but confirming nothing."""

    def __init__(self, directory: Path) -> None:
        first, second = free_ports(2)
        quick = {"repl_diskless_sync_delay": "0", "shutdown_timeout": "0"}
        self.primary = TcpServer(directory / "primary", first, **quick)
        follow = f"127.0.0.1 {first}"
        self.replica = TcpServer(directory / "replica", second, replicaof=follow, **quick)
        block_until(lambda: self.primary.answers() and self.replica.answers())
        block_until(self.is_in_step, 20)

    def is_in_step(self) -> bool:
        return self.replica.admin.info("replication")["master_link_status"] == "up"

    @property
    def url(self) -> str:
        return f"redis://{self.primary.address}"

    def lag(self) -> None:
        self.replica.process.send_signal(signal.SIGSTOP)

    def catch_up(self) -> None:
        self.replica.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.catch_up()
        self.replica.stop()
        self.primary.stop()


class StoreCluster:
    """Three primaries that share the slots."""

    def __init__(self, directory: Path, **options: str) -> None:
        ports = free_ports(6)
        self.servers = [
            TcpServer(
                directory / str(port),
                port,
                cluster_enabled="yes",
                cluster_port=str(bus),
                cluster_node_timeout="2000",
                appendonly="yes",
                **options,
            )
            for port, bus in zip(ports[:3], ports[3:], strict=True)
        ]
        self._buses = ports[3:]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(server.address for server in self.servers)

    def join(self) -> None:
        """Deals out the slots and waits until every server agrees. A new cluster takes 2 s."""
        block_until(lambda: all(server.answers() for server in self.servers), START_S)
        for index, server in enumerate(self.servers):
            first, end = (SLOTS * i // len(self.servers) for i in (index, index + 1))
            server.admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            server.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            if index:
                self.servers[0].admin.execute_command(
                    "CLUSTER", "MEET", "127.0.0.1", server.port, self._buses[index]
                )
        block_until(lambda: all(self._is_ready(server) for server in self.servers), START_S)

    def _is_ready(self, server: TcpServer) -> bool:
        info = server.admin.execute_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info

    def stop(self) -> None:
        for server in self.servers:
            server.process.terminate()
        for server in self.servers:
            server.stop()
