"""What tests of the HTTP client send, and the names they send it to."""

import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_network

from app.domain.address import parse_url
from app.domain.attempt import Outcome
from tests.receivers import Receiver
from workers.http.client import Client

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
BODY = b'{"type":"post.created"}'
# Loading the system's authorities takes 20 ms, which most tests have no use for.
PLAIN_ONLY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

MakeClient = Callable[..., Client]


class Names:
    """A resolver that knows a few names and counts how often it is asked."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        return self.answers[host]


def head(target: str = "/hook", body: bytes = BODY) -> bytes:
    return (
        f"POST {target} HTTP/1.1\r\nhost: receiver\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()


async def post(client: Client, where: Receiver | str, target: str = "/hook", **options) -> Outcome:
    url = parse_url(where if isinstance(where, str) else where.url)
    return await client.request(url, head(target), BODY, **options)
