"""nginx, one process: as backend (`return 200`), and as contestant (its mirror module).

Law: as a proxy it does what the others do: connections to the backends are kept, request buffering is
its default, nothing is logged per request.
"""

from enum import StrEnum
from pathlib import Path

from bench import sample

_CONFIG = """
daemon off;
master_process off;
error_log stderr notice;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    client_header_buffer_size 4k;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
{servers}
}}
"""

_ANSWERING = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 '{body}'; }}
    }}
"""

_COUNTING = """
    server {{
        listen 127.0.0.1:{port};
        location / {{ stub_status; }}
    }}
"""

_UPSTREAM = """
    upstream {name} {{
        server {address};
{kept}
    }}
"""

_UPSTREAM_KEPT = """
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
"""

_CONNECTION_KEPT = 'proxy_http_version 1.1; proxy_set_header Connection "";'

_PROXYING = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            {mirror}
            proxy_pass http://legacy;
            {kept}
        }}
        location = /mirror {{
            internal;
            proxy_pass http://new$request_uri;
            {mirror_kept}
        }}
    }}
"""


class Mirror(StrEnum):
    """How the proxy mirrors."""

    NONE = "none"
    DEFAULT = (
        "default"  # a connection to the new side per request, as nginx does unless told otherwise
    )
    TUNED = "tuned"  # `keepalive` at the new side: helps where its replies have no body


def backend(directory: Path, bodies: dict[int, str], count_port: int) -> tuple[str, ...]:
    """Writes the configuration and returns what starts a backend; `bodies`: port -> reply's body.

    On `count_port` it tells how many requests came to all ports together.
    """
    servers = [_ANSWERING.format(port=port, body=body) for port, body in bodies.items()]
    return _command(directory, "".join((*servers, _COUNTING.format(port=count_port))))


def proxy(directory: Path, port: int, legacy: str, new: str, mirror: Mirror) -> tuple[str, ...]:
    """Writes the configuration and returns what starts a proxy to `legacy` and `new` (host:port)."""
    return _command(directory, proxying(port, legacy, new, mirror))


def proxying(port: int, legacy: str, new: str, mirror: Mirror) -> str:
    """The servers of a proxy."""
    mirror_kept = mirror is Mirror.TUNED
    return "".join(
        (
            _UPSTREAM.format(name="legacy", address=legacy, kept=_UPSTREAM_KEPT),
            _UPSTREAM.format(name="new", address=new, kept=_UPSTREAM_KEPT if mirror_kept else ""),
            _PROXYING.format(
                port=port,
                mirror="" if mirror is Mirror.NONE else "mirror /mirror;",
                kept=_CONNECTION_KEPT,
                mirror_kept=_CONNECTION_KEPT if mirror_kept else "",
            ),
        )
    )


BODIES = (sample.REPLY_BODY, sample.REPLY_BODY, "")
"""What a backend's three ports answer: legacy, new, and new with an empty body."""


def is_ready(line: str) -> bool:
    """Whether a line of nginx's output says that it serves (it listens before it writes this)."""
    return "event method" in line


def _command(directory: Path, servers: str) -> tuple[str, ...]:
    path = directory / "nginx.conf"
    path.write_text(_CONFIG.format(directory=directory, servers=servers))
    return ("nginx", "-p", str(directory), "-c", str(path), "-e", "stderr")
