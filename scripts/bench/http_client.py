"""CPU time of the HTTP client for one request on a kept connection, plain and over TLS.

    python scripts/bench/http_client.py [--requests 20000] [--rounds 5] [--in-flight 32]
                                         [--loop uvloop]

A receiver of its own answers on loopback, in another process; only the client's process is
measured (user and system time). Each round sends the same number of requests over connections
that are open already. Takes a few seconds.
"""

import argparse
import asyncio
import contextlib
import datetime
import ipaddress
import multiprocessing
import resource
import ssl
import sys
import tempfile
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import median

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parents[2]))

from app.domain.address import Url, parse_url
from app.domain.attempt import Outcome
from app.guard import Guard
from workers.http.client import Client
from workers.http.tls import client_context

BODY = b"x" * 400
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 24 Nov 2025 03:39:11 GMT\r\nserver: receiver\r\n"
    b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
)
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def request_head(url: Url) -> bytes:
    lines = [
        f"POST {url.target} HTTP/1.1",
        f"host: {url.host_header}",
        "content-type: application/json",
        "user-agent: moments/0.1.0",
        "accept-encoding: identity",
        f"content-length: {len(BODY)}",
        f"webhook-id: {'0' * 32}",
        "webhook-timestamp: 1763955551",
        f"webhook-signature: v1,{'A' * 43}=",
        "moments-attempt: 1",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Receiver(asyncio.Protocol):
    """Answers once for every `size` bytes: all requests are equal."""

    def __init__(self) -> None:
        self.size = 0
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.size = self.size or data.index(b"\r\n\r\n") + 4 + len(BODY)
        self.received += len(data)
        while self.received >= self.size:
            self.received -= self.size
            self.transport.write(RESPONSE)


def serve(pipe: Pipe, certificate: Path | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Receiver, "127.0.0.1", 0, ssl=context)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=LOOPS["uvloop"]) as run,
    ):
        run.run(main())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed authority and a certificate of it for localhost: (authority, chain and key)."""
    key, authority_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    blank = (
        x509.CertificateBuilder()
        .issuer_name(authority)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    root = (
        blank.subject_name(authority)
        .public_key(authority_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        blank.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(root.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "receiver.pem").write_bytes(leaf.public_bytes(pem) + private)
    return folder / "authority.pem", folder / "receiver.pem"


class Load:
    """Keeps `in_flight` requests going until `requests` have been answered."""

    def __init__(self, client: Client, url: Url, requests: int) -> None:
        self.client, self.url, self.head = client, url, request_head(url)
        self.unsent = self.unanswered = requests
        self.over = asyncio.get_running_loop().create_future()

    def send(self) -> None:
        self.unsent -= 1
        self.client.send(self.url, self.head, BODY, self.done)

    def done(self, outcome: Outcome) -> None:
        if not outcome.ok:
            raise SystemExit(f"a request failed: {outcome}")
        self.unanswered -= 1
        if self.unsent:
            self.send()
        elif not self.unanswered:
            self.over.set_result(None)

    async def run(self, in_flight: int) -> None:
        for _ in range(in_flight):
            self.send()
        await self.over


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(url: Url, authority: Path | None, options: argparse.Namespace) -> list[float]:
    guard = Guard(allow=[ipaddress.ip_network("127.0.0.0/8")])
    client = Client(guard, tls=client_context(authority))
    await Load(client, url, options.in_flight * 4).run(options.in_flight)
    costs_us: list[float] = []
    for _ in range(options.rounds):
        before = cpu_s()
        await Load(client, url, options.requests).run(options.in_flight)
        costs_us.append((cpu_s() - before) / options.requests * 1e6)
    await client.close()
    guard.close()
    return costs_us


def bench(scheme: str, folder: Path, options: argparse.Namespace) -> None:
    authority, certificate = make_certificate(folder) if scheme == "https" else (None, None)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=serve, args=(theirs, certificate), daemon=True)
    receiver.start()
    try:
        url = parse_url(f"{scheme}://127.0.0.1:{ours.recv()}/hook")
        with asyncio.Runner(loop_factory=LOOPS[options.loop]) as runner:
            costs_us = runner.run(measure(url, authority, options))
    finally:
        receiver.terminate()
        receiver.join()
    print(
        f"{scheme:5} {options.loop}: {median(costs_us):.1f} µs CPU per request "
        f"(rounds: {', '.join(f'{cost:.1f}' for cost in costs_us)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--loop", choices=LOOPS, default="uvloop")
    parser.add_argument("--scheme", choices=["http", "https"], action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for scheme in options.scheme or ["http", "https"]:
            bench(scheme, Path(folder), options)


if __name__ == "__main__":
    main()
