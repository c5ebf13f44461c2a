"""From keys to an Outbound: contradictions by name, credentials from variables and files, no secret in an error."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.control.config import ConfigError, effective, parse
from proxy.control.outbound import FILE_BYTES_MAX, CredentialError, authority, outbound_of
from proxy.control.sides import Backend
from rules.message import Side
from rules.outbound import Auth, HostPolicy, Outbound

SECRET = "Bearer hunter2"
BASE = """
[backends.legacy]
url = "http://legacy:8001"
[backends.new]
url = "http://new:8002"
"""


def backend(**keys: object) -> Backend:
    return Backend(url="http://new:8002", **keys)  # type: ignore[arg-type]


def problems(lines: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(BASE + lines, "f.toml", environment)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('auth = "static"', 'auth = "static": needs one of auth_env and auth_file'),
        (
            'auth = "static"\nauth_env = "A"\nauth_file = "f"',
            'auth = "static": needs one of auth_env and auth_file',
        ),
        ('auth = "map"', 'auth = "map": needs auth_file, and no auth_env'),
        (
            'auth = "map"\nauth_env = "A"\nauth_file = "f"',
            'auth = "map": needs auth_file, and no auth_env',
        ),
        ('auth_env = "A"', 'auth = "forward": contradicts auth_env or auth_file'),
        ('auth = "none"\nauth_file = "f"', 'auth = "none": contradicts auth_env or auth_file'),
        (
            'auth = "none"\nremove_headers = ["authorization"]',
            'auth_header = "***": must not be one of set_headers or remove_headers',
        ),
        (
            'auth = "none"\nauth_header = "X-Key"\nset_headers = {x-key = "a"}',
            'auth_header = "***": must not be one of set_headers or remove_headers',
        ),
        (
            'remove_headers = ["X-A"]\nset_headers = {x-a = "a"}',
            "set_headers.x-a: must not be one of remove_headers: what is set is replaced anyway",
        ),
        (
            'set_headers = {X-Mine = "a"}\n[redact]\nheaders = ["x-mine"]',
            "set_headers.X-Mine: must not be a secret: use auth_header with auth_env or auth_file",
        ),
        (
            'set_headers = {Host = "a"}',
            'set_headers.Host = "***": must be a header that does not frame, route or identify'
            " the message",
        ),
        (
            'set_headers = {X-Api-Key = "hunter2"}',
            "set_headers.X-Api-Key: must not be a secret: use auth_header with auth_env"
            " or auth_file",
        ),
        (
            'set_headers = {X-A = "1", X-B = "2", x-a = "3"}',
            "set_headers.x-a: must stand once, in one case",
        ),
        (
            'remove_headers = ["content_length"]',
            'remove_headers[0] = "content_length": must be a header that does not frame, route'
            " or identify the message",
        ),
        (
            'remove_headers = ["Content-Length"]',
            'remove_headers[0] = "Content-Length": must be a header that does not frame, route'
            " or identify the message",
        ),
        ('host = "copy"', 'host = "copy": must be one of preserve, rewrite'),
        (
            'base_path = "/v2/"',
            'base_path = "/v2/": must be a path as /v2: no / at its end, percent-encoded,'
            " without a query",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_value(lines: str, problem: str) -> None:
    assert problems(lines) == [f"f.toml: backends.new.{problem}"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("auth_env", 'auth = "static"\nauth_env = "Bearer hunter2"'),
        ("auth_env", 'auth = "static"\nauth_env = ["hunter2"]'),
        ("auth_file", 'auth = "static"\nauth_file = "Bearer hunter2\\n"'),
        ("auth_header", 'auth_header = "X-Api-Key: hunter2"'),
        ("set_headers.X-A", 'set_headers = {X-A = "hunter2\\n"}'),
        ("set_headers.X-A", 'set_headers = {X-A = ["hunter2"]}'),
        ("set_headers", 'set_headers = "X-A: hunter2"'),
    ],
)
def test_a_secret_in_the_wrong_key_is_not_shown(key: str, line: str) -> None:
    (told,) = problems(line)
    assert told.startswith(f'f.toml: backends.new.{key} = "***": must be ')
    assert "hunter2" not in told


def test_a_secret_in_the_wrong_variable_is_not_shown() -> None:
    given = {"TWINWRITE_BACKENDS_NEW_AUTH_ENV": "Bearer hunter2"}
    (told,) = problems("", **given)
    assert told.startswith('environment: TWINWRITE_BACKENDS_NEW_AUTH_ENV = "***": must be ')


@pytest.mark.parametrize("keys", [{"auth_env": "hunter2"}, {"auth_file": "Bearer hunter2"}])
def test_a_secret_in_place_of_where_it_is_is_not_shown(keys: Mapping[str, str]) -> None:
    with pytest.raises(CredentialError) as caught:
        outbound_of(backend(auth=Auth.STATIC, **keys), {})
    assert "hunter2" not in str(caught.value)


def test_a_socket_has_no_host_to_rewrite_to() -> None:
    lines = BASE.replace("http://new:8002", "unix:/run/new") + 'host = "rewrite"'
    with pytest.raises(ConfigError, match=r"backends\.new\.host = \"rewrite\": needs a url with"):
        parse(lines, "f.toml", {})


def test_every_key_may_be_set_by_the_environment() -> None:
    given = {
        "TWINWRITE_BACKENDS_NEW_BASE_PATH": "/v2",
        "TWINWRITE_BACKENDS_NEW_HOST": "rewrite",
        "TWINWRITE_BACKENDS_NEW_REMOVE_HEADERS": "X-A, X-B",
        "TWINWRITE_BACKENDS_NEW_AUTH": "static",
        "TWINWRITE_BACKENDS_NEW_AUTH_ENV": "NEW_TOKEN",
        "TWINWRITE_LISTEN_FORWARDED": "replace",
        "TWINWRITE_LISTEN_TRACE": "pass",
    }
    config = parse(BASE, "f.toml", given)
    outbound = outbound_of(config.backends[Side.NEW], {"NEW_TOKEN": SECRET})
    assert outbound is not None
    assert (outbound.base_path, outbound.host) == (b"/v2", b"new:8002")
    assert outbound.removed == {b"x-a", b"x-b", b"authorization"}
    assert outbound.lines == b"Authorization: Bearer hunter2\r\n"
    assert (config.listen.forwarded, config.listen.trace) == ("replace", "pass")


def test_what_is_shown_says_where_the_secret_is_and_gives_the_same_again() -> None:
    lines = 'auth = "static"\nauth_env = "T"\nset_headers = {X-A = "1"}\nbase_path = "/v2"'
    config = parse(BASE + lines, "f.toml", {"T": SECRET})
    shown = effective(config)
    assert "hunter2" not in shown
    assert 'auth_env = "T"  # file' in shown
    assert parse(shown, "f.toml", {}).backends == config.backends


def test_a_side_that_gets_what_the_client_sent_needs_no_outbound() -> None:
    assert outbound_of(backend(), {}) is None
    assert outbound_of(backend(auth_header="X-Key"), {}) is None


def test_the_keys_become_bytes() -> None:
    keys = backend(
        base_path="/v2", host_=HostPolicy.REWRITE, remove_headers=("X_A",), auth=Auth.NONE,
        set_headers={"X-B": "é", "X-C": "2"},
    )  # fmt: skip
    assert outbound_of(keys, {}) == Outbound(
        base_path=b"/v2", host=b"new:8002", lines=b"X-B: \xe9\r\nX-C: 2\r\n",
        removed=frozenset((b"x-a", b"x-b", b"x-c", b"authorization")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://new:8002", "new:8002"), ("http://new:80", "new"), ("https://new:443", "new"),
        ("https://new:80", "new:80"), ("http://new", "new"), ("https://[::1]:443", "[::1]"),
        ("https://[::1]", "[::1]"), ("http://[::1]:8001", "[::1]:8001"), ("unix:/run/new", ""),
    ],
)  # fmt: skip
def test_a_url_names_a_host(url: str, host: str) -> None:
    assert authority(url) == host


def test_a_static_credential_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {SECRET}\n")
    for keys in ({"auth_env": "T"}, {"auth_file": str(file)}):
        given = backend(auth=Auth.STATIC, auth_header="X-Key", **keys)
        outbound = outbound_of(given, {"T": f"{SECRET}\n"})
        assert outbound is not None
        assert outbound.lines == b"X-Key: Bearer hunter2\r\n"
        assert outbound.removed == {b"x-key"}


def test_a_map_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"Bearer a": "Bearer A", "b": "é"}))
    outbound = outbound_of(backend(auth=Auth.MAP, auth_file=str(file)), {})
    assert outbound is not None
    assert outbound.credentials == {b"Bearer a": b"Bearer A", b"b": b"\xe9"}


BROKEN = "must be the value of a header, not empty, on one line"


@pytest.mark.parametrize(
    ("mode", "content", "why"),
    [
        (Auth.STATIC, b"", BROKEN),
        (Auth.STATIC, b"hunter2\nhunter2", BROKEN),
        (Auth.STATIC, b"hunter2\xff", "must be UTF-8"),
        (Auth.STATIC, b"hunter2" * FILE_BYTES_MAX, f"is longer than {FILE_BYTES_MAX} bytes"),
        (Auth.MAP, b"", "must be a JSON object of strings"),
        (Auth.MAP, b"hunter2 = x", "must be a JSON object of strings"),
        (Auth.MAP, b'["hunter2"]', "must be a JSON object of strings"),
        (Auth.MAP, b'[["hunter2", "b"]]', "must be a JSON object of strings"),
        (Auth.MAP, b"[]", "must be a JSON object of strings"),
        (Auth.MAP, b'{"hunter2": 1}', "must be a JSON object of strings"),
        (Auth.MAP, b'{"a": {"hunter2": "b"}}', "must be a JSON object of strings"),
        (Auth.MAP, b'{"a": []}', "must be a JSON object of strings"),
        (Auth.MAP, b'{"hunter2": "a", "hunter2": "b"}', "must name each credential once"),
        (Auth.MAP, b'{"hunter2": ""}', BROKEN),
        (Auth.MAP, b'{"a": "hunter2\\r\\nX: y"}', BROKEN),
        (Auth.MAP, b"[" * 100_000, "must be a JSON object of strings"),
    ],
)
def test_a_file_that_is_wrong_is_told_of_without_what_is_in_it(
    tmp_path: Path, mode: Auth, content: bytes, why: str
) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)
    with pytest.raises(CredentialError) as caught:
        outbound_of(backend(auth=mode, auth_file=str(file)), {})
    assert str(caught.value) == f"auth_file: {why}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "auth_env: the variable that it names is not set"),
        ({"T": " \n"}, f"auth_env: {BROKEN}"),
        ({"T": "hunter2\nhunter2"}, f"auth_env: {BROKEN}"),
    ],
)
def test_a_variable_that_is_wrong_is_told_of_by_the_key(
    environment: Mapping[str, str], why: str
) -> None:
    with pytest.raises(CredentialError) as caught:
        outbound_of(backend(auth=Auth.STATIC, auth_env="T"), environment)
    assert str(caught.value) == why


def test_a_file_that_is_missing_is_told_of_by_the_key(tmp_path: Path) -> None:
    file = tmp_path / "none"
    with pytest.raises(CredentialError) as caught:
        outbound_of(backend(auth=Auth.STATIC, auth_file=str(file)), {})
    assert str(caught.value) == f"auth_file: {os.strerror(2)}"
