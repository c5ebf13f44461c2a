"""Both ends of the sidecar: where it listens, where the backends are, and what TLS stands on.

Law: contradictions between addresses and flaws in certificates are refused here, all at once; what
is allowed but may surprise is a warning.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from proxy.control import encryption
from proxy.control.address import Address
from proxy.control.keys import toml
from proxy.control.reading import Reading
from proxy.control.settings import Settings
from proxy.control.tls import BackendTls, ListenTls, flaws
from rules.message import Side

_ELSEWHERE = ip_address("192.0.2.1")  # RFC 5737: nobody's


def check(settings: Settings, reading: Reading, *, files: bool) -> None:
    """Note what is wrong with the addresses, and if asked for with the files of TLS and of keys."""
    _check_addresses(settings, reading)
    for name, allowed in encryption.contradictions(settings.journal):
        reading.clash((f"journal.{name}", "journal.encryption_key_file"), None, allowed)
    if files:
        _check_files(settings, reading)


def _check_files(settings: Settings, reading: Reading) -> None:
    tables: dict[str, ListenTls | BackendTls] = {"listen.tls": settings.listen.tls}
    tables |= {f"backends.{side}.tls": backend.tls for side, backend in settings.backends.items()}
    for path, table in tables.items():
        for flaw in flaws(table):
            reading.clash((f"{path}.{flaw.key}",), flaw.value, flaw.allowed)
    for name, allowed in encryption.flaws(settings.journal):
        reading.clash((f"journal.{name}",), settings.journal.encryption_key_file, allowed)


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed and may surprise."""
    yield from encryption.warnings(settings.journal)
    if not _ip(settings.admin.host).is_loopback:
        yield f"admin.host = {toml(settings.admin.host)}: whoever reaches this port gets in"
    for side, backend in settings.backends.items():
        path, secure = f"backends.{side}.tls", backend.address.is_secure
        if not secure and backend.tls != BackendTls():
            yield f"{path}: has no effect, {path.removesuffix('tls')}url is not https"
        if secure and not backend.tls.verify:
            yield f"{path}.verify = false: anybody on the way may read and change what is sent"


def _check_addresses(settings: Settings, reading: Reading) -> None:
    listen, sides = settings.listen, settings.backends
    places = {side: _place(each.address) for side, each in sides.items()}
    if places[Side.NEW] == places[Side.LEGACY]:
        paths = ("backends.new.url", "backends.legacy.url")
        reading.clash(paths, sides[Side.NEW].url, "must differ from backends.legacy.url")
    own = _own_hosts(listen.host)
    for side, (host, port, path) in places.items():
        mine = path == listen.unix if listen.unix else port == listen.port and host in own
        if mine:
            own_paths = (f"backends.{side}.url", "listen.port", "listen.host", "listen.unix")
            reading.clash(own_paths, sides[side].url, "must not be the address of [listen]")
    if settings.admin.port == listen.port != 0 and not listen.unix:
        paths = ("admin.port", "listen.port")
        reading.clash(paths, settings.admin.port, "must differ from listen.port")


def _place(address: Address) -> tuple[str, int, str]:
    return _same_host(address.host), address.port, address.path


def _own_hosts(host: str) -> set[str]:
    return {_same_host(host)} | ({"127.0.0.1", "::1"} if _ip(host).is_unspecified else set())


def _same_host(host: str) -> str:
    return "127.0.0.1" if host.lower() == "localhost" else host.lower()


def _ip(host: str) -> IPv4Address | IPv6Address:
    """The address that a host is written as; a name counts as an address of elsewhere."""
    try:
        return ip_address(_same_host(host))
    except ValueError:
        return _ELSEWHERE
