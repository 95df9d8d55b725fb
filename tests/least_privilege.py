"""A server on which the service is the user of `store.acl`, and a look at what it was refused."""

import hashlib
from pathlib import Path

import redis

from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until

RULES = (Path(__file__).parents[1] / "store.acl").read_text()
PASSWORD = "a password of the store, long enough"
_OTHER = "user tests on >tests ~* &* +@all\n"


class GuardedServer:
    """`all_powerful` is a client with a user of the tests, who may do anything."""

    def __init__(self, directory: Path, **options: str) -> None:
        directory.mkdir(exist_ok=True)
        rules = directory / "users.acl"
        rules.write_text(RULES.replace(">PASSWORD", f"#{_digest()}") + _OTHER)
        self.server = TcpServer(directory, *free_ports(1), aclfile=str(rules), **options)
        block_until(self.server.answers)
        self.all_powerful = redis.Redis(
            port=self.server.port, username="tests", password="tests", socket_timeout=5
        )

    @property
    def url(self) -> str:
        return f"redis://moments@{self.server.address}"

    @property
    def url_with_password(self) -> str:
        return f"redis://moments:{PASSWORD.replace(' ', '%20')}@{self.server.address}"

    def refused(self) -> list[str]:
        """What the service's user was refused since it was asked last."""
        entries = self.all_powerful.acl_log()
        self.all_powerful.acl_log_reset()
        return [
            f"{one['reason']} {one['object']}" for one in entries if one["username"] == "moments"
        ]

    def stop(self) -> None:
        self.all_powerful.close()
        self.server.stop()


def _digest() -> str:
    return hashlib.sha256(PASSWORD.encode()).hexdigest()
