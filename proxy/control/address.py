"""Where a backend is: the url of the config, taken apart.

Law: the scheme alone decides how a connection is opened: plain TCP, TLS, or a Unix domain socket.
"""

import re
from dataclasses import dataclass

PATH_BYTES_MAX = 107
"""The longest path of a Unix domain socket: unix(7) has 108 bytes, one of them for the end."""

_PORTS = {"http": 80, "https": 443}  # RFC 9110 4.2
_ALLOWED = "http://host:port, https://host:port or unix:/path, without user, path or query"
_URL = re.compile(r"(https?)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host (an IPv6 address without its brackets) and a port, or the `path` of a socket file."""

    host: str = ""
    port: int = 0
    path: str = ""
    is_secure: bool = False


def parse_url(url: str) -> Address:
    """The address of a url; ValueError says what is allowed."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        check_socket_path(path)
        return Address(path=path)
    found = _URL.fullmatch(url)
    port = 0 if found is None else int(found[4] or _PORTS[found[1]])
    if found is None or not 1 <= port <= 65535:
        raise ValueError(f"must be {_ALLOWED}")
    return Address(host=found[2] or found[3], port=port, is_secure=found[1] == "https")


def check_socket_path(path: str) -> None:
    """ValueError if a path cannot be that of a Unix domain socket."""
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise ValueError("must be the absolute path of a socket file")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise ValueError(f"must be a path of at most {PATH_BYTES_MAX} bytes")
