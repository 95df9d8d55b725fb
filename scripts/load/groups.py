"""Groups of people, by how they receive."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Group(StrEnum):
    """A way to receive. All but `SOCKET` have one webhook each."""

    SOCKET = "socket"
    HEALTHY = "healthy"
    RELAY = "relay"  # all of them on one host
    SLOW = "slow"
    FAILING = "failing"
    DEAD = "dead"
    HANGING = "hanging"  # healthy, until a scenario lets them hang


Presence = Mapping[Group, float]  # shares of all people, 1 in sum

_WEBHOOKS = 0.90
_RELAY = 0.20 * _WEBHOOKS  # one host owns a fifth of the webhooks
_HANGING = 0.10 * _WEBHOOKS

# A tenth of the people is on a socket, most of the others have a webhook that works. These are
# assumptions: nobody publishes such figures.
REAL: Final[Presence] = MappingProxyType(
    {
        Group.SOCKET: 0.10,
        Group.HEALTHY: 0.85 - _RELAY,
        Group.RELAY: _RELAY,
        Group.SLOW: 0.03,
        Group.FAILING: 0.015,
        Group.DEAD: 0.005,
    }
)
# Nobody but those that a scenario lets go bad is anything but healthy: the baseline is strict.
WITH_HANGING: Final[Presence] = MappingProxyType(
    {Group.SOCKET: 0.10, Group.HEALTHY: _WEBHOOKS - _HANGING, Group.HANGING: _HANGING}
)
WITH_RELAY: Final[Presence] = MappingProxyType(
    {Group.SOCKET: 0.10, Group.HEALTHY: _WEBHOOKS - _RELAY, Group.RELAY: _RELAY}
)
ALL_SOCKETS: Final[Presence] = MappingProxyType({Group.SOCKET: 1.0})
ALL_WEBHOOKS: Final[Presence] = MappingProxyType({Group.HEALTHY: 1.0})

# Who is owed every delivery at once, as long as no scenario says otherwise.
OWED: Final = (Group.SOCKET, Group.HEALTHY, Group.RELAY)
