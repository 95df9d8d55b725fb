"""Logging in, TLS, and servers that do not behave."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.errors import CommandRejected, StoreUnavailable
from app.store.client import Store
from tests.certificates import Authority
from tests.opened_store import opened
from tests.store.proxy import proxy_to
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server that wants a password: `ana` may do everything, `bo` not name its connection."""
    server = TcpServer(tmp_path_factory.mktemp("guarded"), *free_ports(1), maxclients="20")
    block_until(server.answers)
    server.admin.acl_setuser("ana", enabled=True, passwords=["+p:w@"], keys="*", commands=["+@all"])
    server.admin.acl_setuser(
        "bo", enabled=True, passwords=["+b"], keys="*", commands=["+@all", "-client", "-select"]
    )
    yield server
    server.stop()


async def test_user_password_and_database_are_those_of_the_url(guarded: TcpServer) -> None:
    async with opened(f"redis://ana:p%3Aw%40@{guarded.address}/3") as store:
        assert await store.execute("ACL", "WHOAMI") == b"ana"
        assert b"db=3 " in await store.execute("CLIENT", "INFO")
        assert b"name=moments " in await store.execute("CLIENT", "INFO")


async def test_who_may_not_name_its_connection_can_work_all_the_same(guarded: TcpServer) -> None:
    async with opened(f"redis://bo:b@{guarded.address}") as store:
        assert await store.execute("ACL", "WHOAMI") == b"bo"


async def test_who_may_not_choose_the_database_is_not_given_another(guarded: TcpServer) -> None:
    async with opened(f"redis://bo:b@{guarded.address}/3") as store:
        with pytest.raises(CommandRejected, match="select"):
            await store.execute("ACL", "WHOAMI")


async def test_a_wrong_password_is_a_mistake_and_no_outage(guarded: TcpServer) -> None:
    async with opened(f"redis://ana:wrong@{guarded.address}") as store:
        with pytest.raises(CommandRejected) as caught:
            await store.execute("PING")
    assert caught.value.code == "WRONGPASS"


async def test_a_server_without_room_is_unavailable_and_says_so(guarded: TcpServer) -> None:
    guarded.admin.config_set("maxclients", 1)
    try:
        async with opened(f"redis://{guarded.address}") as store:
            with pytest.raises(StoreUnavailable, match="max number of clients"):
                await store.execute("PING")
    finally:
        guarded.admin.config_set("maxclients", 20)


async def test_a_host_that_speaks_something_else_is_unavailable() -> None:
    async with _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address, opened(address) as store:
        with pytest.raises(StoreUnavailable, match="does not speak the protocol"):
            await store.execute("PING")


async def test_a_host_that_hangs_up_is_unavailable() -> None:
    async with _answering(b"") as address, opened(address) as store:
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.execute("PING")


async def test_tls_is_spoken_and_the_certificate_checked(
    single_store: Store, single_store_url: str, tmp_path: Path
) -> None:
    await single_store.execute("SET", "k", "v")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(_certificate(tmp_path))
    target = urlsplit(single_store_url).path
    async with proxy_to(target, server_side) as proxy:
        host = f"rediss://127.0.0.1:{proxy.port}"
        async with opened(f"{host}?ssl_ca_certs={tmp_path}/pair.pem") as store:
            assert await store.execute("GET", "k") == b"v"
        async with opened(f"{host}?ssl_cert_reqs=none") as store:
            assert await store.execute("GET", "k") == b"v"
        async with opened(host) as store:
            with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await store.execute("GET", "k")


async def test_a_server_that_asks_who_we_are_is_shown_our_certificate(
    single_store: Store, single_store_url: str, tmp_path: Path
) -> None:
    await single_store.execute("SET", "k", "v")
    ours, strangers = Authority(tmp_path), Authority(tmp_path, "strangers")
    server_side = ours.server_context("127.0.0.1")
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_verify_locations(ours.ca_file)
    client, stranger = ours.client_file("moments"), strangers.client_file("moments")
    async with proxy_to(urlsplit(single_store_url).path, server_side) as proxy:
        host = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={quote(str(ours.ca_file))}"
        known = f"{host}&ssl_certfile={client}&ssl_keyfile={client}"
        async with opened(known) as store:
            assert await store.execute("GET", "k") == b"v"
        for unknown in (host, f"{host}&ssl_certfile={stranger}"):
            async with opened(unknown) as store:
                with pytest.raises(StoreUnavailable):
                    await store.execute("GET", "k")
        trusting_others = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={strangers.ca_file}"
        async with opened(f"{trusting_others}&ssl_certfile={client}") as store:
            with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await store.execute("GET", "k")


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """A server that answers whatever it is sent with this, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _certificate(directory: Path) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "pair.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
