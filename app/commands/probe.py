"""Whether a process answers its health checks, and whether a port is free to listen on."""

import asyncio
import contextlib
import socket

from app.errors import UsageMistake

_DEADLINE_S = 2.0
_BACKLOG = 2_048
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def reachable(host: str) -> str:
    """The address to call a listener on `host` by: a wildcard is no address to call."""
    return _WILDCARDS.get(host, host)


def authority(host: str, port: int) -> str:
    """`host:port` as URLs write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def answers(host: str, port: int, path: str) -> bool:
    """True when GET `path` is answered with 200 within two seconds."""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return await _status(reachable(host), port, path) == 200
    except (OSError, TimeoutError, ValueError):
        return False


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"GET {path} HTTP/1.1\r\nhost: {authority(host, port)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        _, status, *_ = (await reader.readline()).split(b" ", 2)
        return int(status)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _bind(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def listen_on(host: str, port: int, option: str) -> socket.socket:
    """A listening socket, not blocking; port 0 stands for any that is free.

    Raises UsageMistake naming `option`, the option that chooses another.
    """
    try:
        listener = _bind(host, port)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageMistake(
            f"cannot listen on {authority(host, port)} ({reason}): choose another with {option}"
        ) from error
    return listener


def claim_port(host: str, port: int, option: str) -> int:
    """`port`, which is seen to be free now; for 0 one that is. Raises UsageMistake."""
    with listen_on(host, port, option) as listener:
        return int(listener.getsockname()[1])


def free_ports(host: str, count: int) -> list[int]:
    """Different ports that are free now."""
    with contextlib.ExitStack() as open_:
        bound = [open_.enter_context(_bind(host, 0)) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in bound]
