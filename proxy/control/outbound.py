"""From the keys of one side to its `Outbound`, with its credential read; and what contradicts itself.

Law: a credential is read here and nowhere else, goes into the `Outbound` and nowhere else, and is in
no error text. Those name the key, never what stands in it: it may be the credential, by mistake.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.control.checks import field_value
from proxy.control.keys import under
from proxy.control.sides import Backend
from rules.outbound import Auth, HostPolicy, Outbound

FILE_BYTES_MAX = 1_048_576
"""The longest credential file: a table of some 10,000 tokens, read in a few ms."""

Clash = tuple[tuple[str, ...], object, str]
"""The keys that contradict each other, the value of the first (None: not shown), and what is allowed there."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}  # RFC 9110 4.2; left out of a Host (RFC 3986 6.2.3)


class CredentialError(Exception):
    """A credential cannot be used: which key, and why, in one line."""


def contradictions(backend: Backend, masked: frozenset[str]) -> Iterator[Clash]:
    """What contradicts itself in the keys of one side; `masked` are headers that carry secrets."""
    env, file, mode = backend.auth_env, backend.auth_file, backend.auth
    if mode is Auth.STATIC and bool(env) == bool(file):
        yield ("auth", "auth_env", "auth_file"), mode, "needs one of auth_env and auth_file"
    if mode is Auth.MAP and (env or not file):
        yield ("auth", "auth_env", "auth_file"), mode, "needs auth_file, and no auth_env"
    if mode in (Auth.FORWARD, Auth.NONE) and (env or file):
        yield ("auth", "auth_env", "auth_file"), mode, "contradicts auth_env or auth_file"
    removed = {name.lower() for name in backend.remove_headers}
    changed = set(removed)
    for name in backend.set_headers:
        at = (under("set_headers", name), "remove_headers")
        if name.lower() in removed:
            yield at, None, "must not be one of remove_headers: what is set is replaced anyway"
        elif name.lower() in changed:
            yield at, None, "must stand once, in one case"
        if name.lower() in masked:
            yield at, None, "must not be a secret: use auth_header with auth_env or auth_file"
        changed.add(name.lower())
    if mode is not Auth.FORWARD and backend.auth_header.lower() in changed:
        places = ("auth_header", "set_headers", "remove_headers")
        yield places, backend.auth_header, "must not be one of set_headers or remove_headers"
    if backend.host_ is HostPolicy.REWRITE and not authority(backend.url):
        yield ("host", "url"), backend.host_, "needs a url with a host"


def authority(url: str) -> str:
    """The Host of a url, without its scheme's own port; "" if it names none."""
    scheme, found, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    bare = found and host and port == _DEFAULT_PORTS.get(scheme)
    return host if bare else rest


def outbound_of(backend: Backend, environment: Mapping[str, str]) -> Outbound | None:
    """What the side gets, with its credential read; None if that is just what the client sent.

    Raises CredentialError.
    """
    removed = {name.lower() for name in (*backend.remove_headers, *backend.set_headers)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in backend.set_headers.items())
    credentials = None
    if backend.auth is not Auth.FORWARD:
        removed.add(backend.auth_header.lower())
    if backend.auth is Auth.STATIC:
        lines += f"{backend.auth_header}: {_static(backend, environment)}\r\n"
    elif backend.auth is Auth.MAP:
        credentials = _table(backend)
    outbound = Outbound(
        base_path=backend.base_path.encode(),
        host=authority(backend.url).encode() if backend.host_ is HostPolicy.REWRITE else b"",
        removed=frozenset(name.replace("_", "-").encode() for name in removed),
        lines=lines.encode("latin-1"),
        header=backend.auth_header.encode(),
        credentials=credentials,
    )
    return None if outbound == Outbound(header=outbound.header) else outbound


def _static(backend: Backend, environment: Mapping[str, str]) -> str:
    name = backend.auth_env
    if not name:
        return _value(_content(backend).strip(), "auth_file")
    if name not in environment:
        raise CredentialError("auth_env: the variable that it names is not set")
    return _value(environment[name].strip(), "auth_env")


def _table(backend: Backend) -> Mapping[bytes, bytes]:
    where = "auth_file"
    content = _content(backend).strip()
    try:
        pairs = json.loads(content, object_pairs_hook=list)
    except (ValueError, RecursionError):
        pairs = None
    if (
        not content.startswith("{")
        or not isinstance(pairs, list)
        or not all(_is_pair(pair) for pair in pairs)
    ):
        raise CredentialError(f"{where}: must be a JSON object of strings")
    table = {_value(ours, where).encode("latin-1"): _value(theirs, where) for ours, theirs in pairs}
    if len(table) != len(pairs):
        raise CredentialError(f"{where}: must name each credential once")
    return {ours: theirs.encode("latin-1") for ours, theirs in table.items()}


def _is_pair(pair: object) -> bool:
    return isinstance(pair, tuple) and isinstance(pair[0], str) and isinstance(pair[1], str)


def _content(backend: Backend) -> str:
    path = Path(backend.auth_file)
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise CredentialError(f"auth_file: {error.strerror or 'cannot be read'}") from None
    except ValueError:
        raise CredentialError("auth_file: must be UTF-8") from None
    if len(content) > FILE_BYTES_MAX:
        raise CredentialError(f"auth_file: is longer than {FILE_BYTES_MAX} bytes")
    return text


def _value(text: str, where: str) -> str:
    try:
        field_value(text)
    except ValueError as error:
        raise CredentialError(f"{where}: {error}") from None
    return text
