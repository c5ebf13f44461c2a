"""What each side gets, on the wire: path, host, fields, credentials; and where no secret is ever found."""

import io
import json
import os
from pathlib import Path

import pytest

from proxy.app import App, StartError
from proxy.control.log import Log
from proxy.control.sides import Backend
from proxy.flow.exit import Exit
from rules.compare import VerdictKind
from rules.message import Side
from rules.outbound import Auth
from tests.proxy.flow.background import configured
from tests.proxy.flow.foreground import Sidecar, sidecar
from tests.proxy.flow.scripted import Answer, backends
from tests.proxy.samples import crashed, until

SECRET = "Bearer hunter2"
HOP = b"Twinwrite-Hop: 0123456789abcdef"
HEAD = b"PUT /a HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer mine\r\n\r\n"
MINE = "Authorization: Bearer mine\r\n"


def bytes_of(directory: Path) -> bytes:
    """Every byte of every file below a directory."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def seen(s: Sidecar, name: str) -> tuple[str | None, str | None]:
    """One header as each side saw it in its only request."""
    return s.legacy.seen[0].headers.get(name), s.new.seen[0].headers.get(name)


async def test_by_default_both_sides_get_the_clients_request(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        await s.ask("PUT", "/orders/1?q=%2F", b"x", MINE + "X-A: 1\r\n")
        await s.done()
        for side in (s.legacy, s.new):
            (got,) = side.seen
            assert (got.target, got.body) == ("/orders/1?q=%2F", b"x")
            for name in ("twinwrite-hop", "traceparent", "idempotency-key"):
                got.headers.pop(name, None)
            assert got.headers == {
                "host": "shop", "authorization": "Bearer mine", "x-a": "1", "content-length": "1",
                "via": "1.1 twinwrite",
            }  # fmt: skip


@pytest.mark.parametrize("side", ["LEGACY", "NEW"])
async def test_each_side_has_its_own_path_host_and_fields(tmp_path: Path, side: str) -> None:
    settings = {
        f"BACKENDS_{side}_BASE_PATH": "/v2", f"BACKENDS_{side}_HOST": "rewrite",
        f"BACKENDS_{side}_REMOVE_HEADERS": "X-A,Via",
    }  # fmt: skip
    toml = f'[backends.{side.lower()}]\nset_headers = {{X-B = "set"}}'
    async with sidecar(tmp_path, toml, **settings) as s:
        await s.ask("PUT", "/orders/1?q", b"x", "X-A: 1\r\nx-b: client\r\n")
        await s.done()
        changed, same = (s.legacy, s.new) if side == "LEGACY" else (s.new, s.legacy)
        got, other = changed.seen[0], same.seen[0]
        assert (got.target, other.target) == ("/v2/orders/1?q", "/orders/1?q")
        assert (got.headers["host"], other.headers["host"]) == (changed.url[7:], "shop")
        assert (got.headers["x-b"], other.headers["x-b"]) == ("set", "client")
        assert ("x-a" in got.headers, "x-a" in other.headers) == (False, True)
        assert ("via" in got.headers, "via" in other.headers) == (False, True)


async def test_a_relayed_read_is_dressed_too(tmp_path: Path) -> None:
    async with sidecar(tmp_path, BACKENDS_LEGACY_BASE_PATH="/v2", BACKENDS_LEGACY_AUTH="none") as s:
        assert (await s.ask("GET", "/a", fields=MINE)).status == 200
        assert s.legacy.targets() == ["/v2/a"]
        assert "authorization" not in s.legacy.seen[0].headers


@pytest.mark.parametrize("stage", ["dual_legacy_primary", "shadow"])
async def test_identities_are_translated_before_the_base_path_is_put_there(
    tmp_path: Path, stage: str
) -> None:
    toml = """
[[routes]]
name = "create"
methods = ["POST"]
path = "/orders"
harvest = [{ kind = "order", from = "json:/id" }]
[[routes]]
name = "change"
path = "/orders/{id}"
entity_key = ["path:id"]
translate = { "path:id" = "order" }
"""
    paths = {"BACKENDS_NEW_BASE_PATH": "/orders", "BACKENDS_LEGACY_BASE_PATH": "/v1/orders"}
    async with sidecar(tmp_path, toml, STAGE=stage, **paths) as s:
        s.legacy.always = Answer(body=b'{"id": 1}')
        s.new.always = Answer(body=b'{"id": 2}')
        await s.ask("POST", "/orders", b"x")
        await until(lambda: s.new.seen)
        await s.idle()
        await s.ask("PUT", "/orders/1", b"x")
        await until(lambda: len(s.new.seen) == 2)
        await s.idle()
        assert s.legacy.targets() == ["/v1/orders/orders", "/v1/orders/orders/1"]
        assert s.new.targets() == ["/orders/orders", "/orders/orders/2"]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, ("Bearer mine", "Bearer mine")),
        ({"BACKENDS_NEW_AUTH": "none"}, ("Bearer mine", None)),
        ({"BACKENDS_LEGACY_AUTH": "none"}, (None, "Bearer mine")),
        (
            {"BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_ENV": "TOKEN_OF_NEW"},
            ("Bearer mine", SECRET),
        ),
        (
            {"BACKENDS_LEGACY_AUTH": "static", "BACKENDS_LEGACY_AUTH_ENV": "TOKEN_OF_NEW"},
            (SECRET, "Bearer mine"),
        ),
    ],
)
async def test_each_side_gets_the_credential_of_its_policy(
    tmp_path: Path, settings: dict[str, str], sent: tuple[str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TOKEN_OF_NEW", SECRET)
    async with sidecar(tmp_path, **settings) as s:
        assert (await s.ask("PUT", "/a", b"x", MINE)).status == 200
        await s.done()
        assert seen(s, "authorization") == sent


async def test_a_credential_may_be_put_into_another_header(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2\n")
    settings = {
        "BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_HEADER": "X-Api-Key",
        "BACKENDS_NEW_AUTH_FILE": str(tmp_path / "key"),
    }  # fmt: skip
    async with sidecar(tmp_path / "data", **settings) as s:
        await s.ask("PUT", "/a", b"x", MINE + "x-api-key: client\r\n")
        await s.done()
        assert seen(s, "x-api-key") == ("client", "hunter2")
        assert seen(s, "authorization") == ("Bearer mine", "Bearer mine")


async def test_a_secret_of_a_side_is_in_no_file_and_in_no_log(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    toml = '[[routes]]\nname = "orders"\npath = "/orders/{id}"\nentity_key = ["path:id"]'
    settings = {
        "BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_FILE": str(tmp_path / "token"),
        "BACKENDS_LEGACY_AUTH": "static", "BACKENDS_LEGACY_AUTH_FILE": str(tmp_path / "token"),
    }  # fmt: skip
    data = tmp_path / "data"
    async with sidecar(data, toml, **settings) as s:
        s.new.always = Answer(body=b'{"differs": 1}')
        for number in range(3):
            assert (await s.ask("PUT", f"/orders/{number}", b"body", MINE)).status == 200
        await s.done(3)
        assert s.app.tally.verdicts[VerdictKind.MISMATCH] == 3
        (tmp_path / "token").write_text(f"{SECRET}\n{SECRET}")  # not usable: told, not shown
        s.app.exits[Side.NEW].sweep()
        ledger = s.app._ledger
        assert ledger is not None
        ledger.sweep()
        await ledger.writer.call(lambda _: None)
        assert seen(s, "authorization") == (SECRET, SECRET)
        found = bytes_of(data)
        assert b"body" in found  # the writes themselves are there
        assert b"hunter2" not in found
    assert "credential_failed" in s.events()
    assert "hunter2" not in s.log.getvalue()
    assert b"hunter2" not in bytes_of(data)


async def test_a_replay_after_a_restart_has_the_same_trace_and_the_credential_of_now(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    settings = {"BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_FILE": str(token)}
    async with sidecar(tmp_path / "data", **settings) as s:
        s.app.delivery.pause()
        await s.ask("PUT", "/a", b"x", MINE)
        await s.ask("PUT", "/a", b"y", "traceparent: broken\r\ntracestate: a=1\r\n")
        first = [each.headers["traceparent"] for each in s.legacy.seen]
        assert s.new.seen == []
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    token.write_text("Bearer tomorrow")
    async with sidecar(copy, **settings) as again:
        await again.done(2)
        assert [each.headers["traceparent"] for each in again.new.seen] == first
        assert {each.headers["authorization"] for each in again.new.seen} == {"Bearer tomorrow"}
        assert {each.headers["via"] for each in again.new.seen} == {"1.1 twinwrite"}
        hops = {each.headers["twinwrite-hop"] for each in again.new.seen}
        assert hops == {again.app.instance}
        assert all("tracestate" not in each.headers for each in again.new.seen)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_what_the_primarys_map_does_not_know_is_refused_before_anything_is_sent(
    tmp_path: Path, method: str
) -> None:
    table = tmp_path / "map.json"
    table.write_text(json.dumps({"Bearer mine": "Bearer theirs"}))
    settings = {"BACKENDS_LEGACY_AUTH": "map", "BACKENDS_LEGACY_AUTH_FILE": str(table)}
    async with sidecar(tmp_path / "data", **settings) as s:
        got = await s.ask(method, "/a", b"x", "Authorization: Bearer hunter2\r\n")
        assert got.status == 403
        assert "hunter2" not in got.body.decode()
        assert (s.legacy.seen, s.new.seen, s.app.tally.accepted) == ([], [], 0)
        assert (await s.ask(method, "/a", b"x", MINE)).status == 200
        assert (await s.ask(method, "/a", b"x")).status == 200  # none at all: the side decides
        await s.idle()
        sent = [each.headers.get("authorization") for each in s.legacy.seen]
        assert sent == ["Bearer theirs", None]
        assert {each.headers.get("authorization") for each in s.new.seen} <= {"Bearer mine", None}


async def test_what_the_secondarys_map_does_not_know_is_a_dead_letter_and_the_client_is_answered(
    tmp_path: Path,
) -> None:
    table = tmp_path / "map.json"
    table.write_text(json.dumps({"Bearer mine": "Bearer theirs"}))
    settings = {
        "BACKENDS_NEW_AUTH": "map", "BACKENDS_NEW_AUTH_FILE": str(table), "DELIVERY_ON_DEAD": "skip"
    }  # fmt: skip
    async with sidecar(tmp_path / "data", **settings) as s:
        assert (await s.ask("PUT", "/a", b"x", "Authorization: Bearer other\r\n")).status == 200
        assert (await s.ask("PUT", "/a", b"y", MINE)).status == 200
        await s.done()
        assert s.states() == {"done": 1, "dead": 1}
        (got,) = s.new.seen
        assert (got.body, got.headers["authorization"]) == (b"y", "Bearer theirs")
        await s.idle()
        assert b"credential_unknown" in bytes_of(tmp_path / "data")


async def test_a_shadowed_write_without_a_credential_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("{}")
    settings = {
        "STAGE": "shadow", "BACKENDS_NEW_AUTH": "map",
        "BACKENDS_NEW_AUTH_FILE": str(tmp_path / "map.json"),
    }  # fmt: skip
    async with sidecar(tmp_path / "data", **settings) as s:
        assert (await s.ask("PUT", "/a", b"x", MINE)).status == 200
        await s.idle()
        assert s.new.seen == []
        assert s.app.tally.verdicts[VerdictKind.NOT_COMPARABLE] == 1


async def test_a_credential_that_cannot_be_read_ends_the_start_with_one_line(
    tmp_path: Path,
) -> None:
    missing = str(tmp_path / "none")
    settings = {"BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_FILE": missing}
    async with backends() as both:
        app = App(configured(tmp_path, both, **settings), Log(io.StringIO()))
        with pytest.raises(StartError) as caught:
            await app.start()
    assert str(caught.value) == f"backends.new.auth_file: {os.strerror(2)}"


def an_exit(backend: Backend) -> tuple[Exit, io.StringIO]:
    stream = io.StringIO()
    return Exit(Side.NEW, backend, HOP, {}, Log(stream)), stream


def test_a_side_without_settings_gets_the_hop_and_no_more() -> None:
    way, _ = an_exit(Backend(url="http://new:1"))
    assert way.head(HEAD) == HEAD[:-2] + HOP + b"\r\n\r\n"
    assert way.knows(HEAD)
    assert not way.maps
    way.sweep()


def test_a_file_that_changes_is_read_and_one_that_breaks_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter1")
    way, log = an_exit(Backend(url="http://new:1", auth=Auth.STATIC, auth_file=str(file)))

    def value() -> bytes:
        return way.head(HEAD).split(b"Authorization: ")[1].split(b"\r\n")[0]

    events = []
    for change in ("same", "hunter2", "", None, "hunter3"):
        if change is None:
            file.unlink()
        elif change != "same":
            replacement = tmp_path / "next"
            replacement.write_text(change)
            replacement.rename(file)  # as a mounted secret is replaced
        way.sweep()
        way.sweep()
        events.append(value())
    assert events == [b"hunter1", b"hunter2", b"hunter2", b"hunter2", b"hunter3"]
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [each["event"] for each in told] == [
        "credential_read", "credential_failed", "credential_failed", "credential_read",
    ]  # fmt: skip
    assert {each["side"] for each in told} == {"new"}
    assert "hunter" not in log.getvalue()


def test_a_map_that_changes_knows_what_it_did_not(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text("{}")
    way, _ = an_exit(Backend(url="http://new:1", auth=Auth.MAP, auth_file=str(file)))
    assert (way.maps, way.knows(HEAD)) == (True, False)
    assert b"mine" not in way.head(HEAD)
    file.write_text(json.dumps({"Bearer mine": "Bearer theirs"}))
    way.sweep()
    assert way.knows(HEAD)
    assert b"Authorization: Bearer theirs\r\n" in way.head(HEAD)


async def test_the_running_sidecar_looks_at_its_credential_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one")
    settings = {"BACKENDS_NEW_AUTH": "static", "BACKENDS_NEW_AUTH_FILE": str(tmp_path / "token")}
    async with sidecar(tmp_path / "data", **settings) as s:
        (tmp_path / "token").write_text("another")
        await until(lambda: "credential_read" in s.events())
        await s.ask("PUT", "/a", b"x")
        await s.done()
        assert s.new.seen[0].headers["authorization"] == "another"
