"""The bounds of the HTTP client, each with its default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request, a response and the connections may take.

    `deadline_s` covers one request in all: look-up, waiting for a connection, connect, TLS, write,
    head and body. The head of a response (with the interim ones before it) ends at
    `head_bytes_max`, reading its body at `body_bytes_max`, both as they come over the wire.
    """

    deadline_s: float = 15.0
    idle_s: float = 30.0
    origin_connections_max: int = 64
    connections_max: int = 4_096
    waiting_max: int = 1_024
    addresses_max: int = 3
    head_bytes_max: int = 16 * 1024
    body_bytes_max: int = 16 * 1024
    interim_responses_max: int = 8
    excerpt_bytes_max: int = 256
    tls_shutdown_s: float = 1.0
