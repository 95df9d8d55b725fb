"""Finding the primary of a service by asking its Sentinels.

The order of steps is that of https://valkey.io/topics/sentinel-clients/: ask, connect, and check
the role, because a Sentinel may still name a primary that has just been demoted.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from app.errors import StoreError, StoreUnavailable
from app.store.connection import Connection, pack
from app.store.url import Address, Login, StoreUrl

# Connects and logs in; the last argument says whether the connection will be shared.
Dial = Callable[[Address, Login, bool], Awaitable[Connection]]

_ROLE = pack(("ROLE",))


async def open_primary(url: StoreUrl, dial: Dial, shared: bool) -> Connection:
    """A connection to the primary of `url.service`. Raises StoreUnavailable."""
    address = await _find_primary(url, dial)
    connection = await dial(address, url.login, shared)
    try:
        [role] = await connection.send(_ROLE, 1)
        if isinstance(role, StoreError):
            raise role
        if role[0] != b"master":
            raise StoreUnavailable(f"{address} is not the primary of {url.service} (yet)")
    except BaseException:
        connection.abort("it leads to no primary")
        raise
    return connection


async def _find_primary(url: StoreUrl, dial: Dial) -> Address:
    question = pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service))
    reasons: list[str] = []
    for address in url.addresses:
        try:
            answer = await _ask(address, question, url, dial)
        except StoreUnavailable as error:
            reasons.append(str(error))
            continue
        if isinstance(answer, StoreError):
            raise answer
        if answer is not None:
            return Address(answer[0].decode(), int(answer[1]))
        reasons.append(f"{address} does not know it")
    raise StoreUnavailable(f"no Sentinel names the primary of {url.service}: {'; '.join(reasons)}")


async def _ask(address: Address, question: bytes, url: StoreUrl, dial: Dial) -> Any:
    connection = await dial(address, url.sentinel_login, True)
    try:
        [answer] = await connection.send(question, 1)
        return answer
    finally:
        await connection.close()
