"""The keys of `[listen]` and `[admin]`: where clients and operators come in, and what they may use."""

from dataclasses import dataclass

from proxy.control import checks
from proxy.control.keys import key
from proxy.control.tls import ListenTls
from rules.forwarded import Forwarding
from rules.trace import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """`[listen]`: where clients connect, and what they may use."""

    host: str = key("127.0.0.1", "The address to listen on.", check=checks.host)
    port: int = key(
        8080, "The port to listen on; 0 lets the system pick a free one.", within=checks.PORT
    )
    unix: str = key(
        "", 'A socket file to listen on, not a port; "" is none.', check=checks.socket_path
    )
    unix_mode: str = key("0660", "The mode of the socket file.", check=checks.mode)
    connections_max: int = key(
        4096, "Client connections at once; a further one gets 503.", "", checks.COUNT
    )
    in_flight_max: int = key(
        1024, "Mirrored writes at once; a further one gets 503.", "", checks.COUNT
    )
    head_bytes_max: int = key(32768, "The longest request head.", "bytes", (256, 2**20))
    tls_timeout_ms: int = key(10000, "How long a TLS handshake may take.", "ms", checks.TIME)
    head_timeout_ms: int = key(
        10000, "How long a request head may take to arrive.", "ms", checks.TIME
    )
    body_timeout_ms: int = key(
        30000, "How long a body may pause without a byte.", "ms", checks.TIME
    )
    body_bytes_per_second_min: int = key(
        240,
        "What of a body must come in a second, in the long run; 0 is any.",
        "bytes",
        checks.SIZE,
    )
    idle_timeout_ms: int = key(
        75000, "How long a client may keep an unused connection.", "ms", checks.TIME
    )
    tunnel_idle_timeout_ms: int = key(
        3600000, "How long a tunnel (WebSocket, CONNECT) may be silent.", "ms", checks.TIME
    )
    connect: bool = key(False, "Whether CONNECT is passed on, and tunnelled to the primary.")
    body_bytes_max: int = key(
        104857600, "The longest body of a mirrored write.", "bytes", checks.SIZE
    )
    spool_memory_bytes_max: int = key(
        262144,
        "The part of a mirrored body that is kept in memory, not in a file.",
        "bytes",
        checks.SIZE,
    )
    drain_timeout_ms: int = key(
        10000, "How long SIGTERM waits for requests to end.", "ms", checks.TIME
    )
    forwarded: Forwarding = key(Forwarding.PRESERVE, "What becomes of X-Forwarded-* headers.")
    trace: Tracing = key(Tracing.BEGIN, "What a request without a valid traceparent gets.")
    tls: ListenTls = key(ListenTls(), "TLS for clients.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """`[admin]`: health, metrics and status."""

    host: str = key("127.0.0.1", "The address of the admin port.", check=checks.host)
    port: int = key(9090, "The admin port; 0 lets the system pick a free one.", within=checks.PORT)
