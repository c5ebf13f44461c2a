"""The keys of `[backends.legacy]` and `[backends.new]`: how a side is reached, and what it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from proxy.control import checks
from proxy.control.address import Address, parse_url
from proxy.control.keys import key
from proxy.control.tls import BackendTls
from rules.outbound import Auth, HostPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """`[backends.legacy]` and `[backends.new]`: one side, and how it is reached."""

    url: str = key("", "Where it is: http://host:port, https or unix:/path.", check=parse_url)
    connections_max: int = key(128, "Connections to it at once.", "", checks.COUNT)
    pool_timeout_ms: int = key(
        5000, "How long a request waits for a free connection.", "ms", checks.TIME
    )
    name_timeout_ms: int = key(2000, "How long its name may take to resolve.", "ms", checks.TIME)
    connect_timeout_ms: int = key(
        2000, "How long a connection may take to open.", "ms", checks.TIME
    )
    tls_timeout_ms: int = key(5000, "How long a TLS handshake may take.", "ms", checks.TIME)
    first_byte_timeout_ms: int = key(
        30000, "How long the reply may take to begin.", "ms", checks.TIME
    )
    total_timeout_ms: int = key(
        60000, "How long the exchange may take, or a relayed stream may pause.", "ms", checks.TIME
    )
    idle_timeout_ms: int = key(4000, "How long an unused connection is kept.", "ms", checks.TIME)
    lifetime_seconds: float = key(
        300.0, "The age at which a connection is not used again; 0 is any.", "seconds", checks.AGE
    )
    base_path: str = key("", "Put before the path of each request.", check=checks.base_path)
    host_: HostPolicy = key(HostPolicy.PRESERVE, "Whose Host it gets: the client's, or its own.")
    remove_headers: tuple[str, ...] = key(
        (), "Request headers it does not get.", check=checks.settable
    )
    set_headers: Mapping[str, str] = key(
        MappingProxyType({}), "Request headers it gets: name = value.", check=checks.set_header
    )
    auth: Auth = key(Auth.FORWARD, "Whose credential it gets.")
    auth_header: str = key("Authorization", "The header of the credential.", check=checks.settable)
    auth_env: str = key("", "The variable that holds the static value.", check=checks.variable)
    auth_file: str = key("", "The file of the static value, or of the map.", check=checks.path)
    tls: BackendTls = key(BackendTls(), "How an https backend is met.")

    @property
    def address(self) -> Address:
        """Where `url` says it is; nowhere, if it is not valid."""
        try:
            return parse_url(self.url)
        except ValueError:
            return Address()
