"""The egress proxy, as commands look at it: what is wrong with it before anything is sent."""

import asyncio
import contextlib
import ssl

from app.commands.environment import variable
from app.commands.finding import Finding, fault, ok, warning
from app.domain.proxy import Proxy, parse_proxy
from app.errors import CommandFailed
from app.settings import Settings

CONNECT_S = 5.0


def check_egress(settings: Settings) -> None:
    """Raises CommandFailed when names would be resolved by a proxy that there is none of."""
    if settings.egress_proxy_resolves and settings.egress_proxy is None:
        names = variable("egress_proxy_resolves"), variable("egress_proxy")
        raise CommandFailed("{} is set, and no proxy is: set {} as well".format(*names))


async def look_at_egress(settings: Settings) -> list[Finding]:
    """Whether the proxy takes connections. Nothing without one; never its user or password."""
    topic = "egress proxy"
    try:
        check_egress(settings)
    except CommandFailed as error:
        # An api needs no more: it judges addresses, and sends nothing.
        return [warning(topic, f"{error}, unless this is for an api alone")]
    if settings.egress_proxy is None:
        return []
    proxy = parse_proxy(settings.egress_proxy)
    reason = await _why_unreachable(proxy, settings)
    if reason is None:
        who = "with" if proxy.credentials else "without"
        return [ok(topic, f"webhooks go out by {proxy}, {who} credentials; it takes connections")]
    return [
        fault(
            topic,
            f"{proxy} cannot be reached from here ({reason}), and no webhook goes out but by it: "
            f"start it, or change {variable('egress_proxy')}",
        )
    ]


async def _why_unreachable(proxy: Proxy, settings: Settings) -> str | None:
    context = None
    if proxy.is_tls:
        context = ssl.create_default_context()
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(proxy.host, proxy.port, ssl=context)
    except TimeoutError:
        return f"no answer within {CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()
    return None
