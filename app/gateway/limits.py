"""What bounds a gateway: every number it counts, waits or stops by."""

from dataclasses import dataclass

from app.domain.address import Network
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Named as the settings are; `Settings` says what each is for."""

    sockets_max: int = 18_000
    sockets_per_user_max: int = 16
    connections_per_address_max: int = 0
    trusted_proxies: tuple[Network, ...] = ()
    headers_max: int = 100
    tokens_awaited_max: int = 1_000
    hello_timeout_s: float = 5.0
    ping_s: float = 25.0
    pong_timeout_s: float = 10.0
    message_bytes_max: int = 64 * 1024
    unsent_bytes_max: int = 64 * 1024
    slow_timeout_s: float = 10.0
    resume_batch_max: int = 500
    ack_timeout_s: float = 30.0
    ack_attempts_max: int = 5
    goodbye_spread_s: float = 5.0
    drain_timeout_s: float = 20.0

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(**{name: getattr(settings, name) for name in cls.__slots__})
