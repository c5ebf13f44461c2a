"""nginx as backend: `return 200`, one process, keep-alive for ever."""

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

_SERVER = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 '{body}'; }}
    }}
"""


def command(directory: Path, *ports: int) -> tuple[str, ...]:
    """Writes the configuration and returns what starts nginx on these ports."""
    servers = "".join(_SERVER.format(port=port, body=sample.REPLY_BODY) for port in ports)
    path = directory / "nginx.conf"
    path.write_text(_CONFIG.format(directory=directory, servers=servers))
    return ("nginx", "-p", str(directory), "-c", str(path), "-e", "stderr")


def is_ready(line: str) -> bool:
    """Whether a line of nginx's output says that it serves (it listens before it writes this)."""
    return "event method" in line
