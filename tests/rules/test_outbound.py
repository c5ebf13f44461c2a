"""What a side gets: one table per policy, and all of them at once."""

import pytest

from rules.framing import Refusal, parse_request
from rules.outbound import UNTOUCHABLE, VIA, Outbound, dressed, is_known


def head(target: str = "/orders/1?q=%2F", *lines: str, method: str = "PUT") -> bytes:
    block = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", *lines))
    return block.encode("latin-1") + b"\r\n"


def after(outbound: Outbound, came: bytes) -> list[str]:
    out = dressed(came, outbound)
    assert out.endswith(b"\r\n\r\n")
    assert not isinstance(parse_request(out), Refusal)
    return out.decode("latin-1").split("\r\n")[:-2]


MAP = Outbound(
    removed=frozenset((b"authorization",)), credentials={b"Bearer a": b"Bearer A", b"x": b"Y"}
)


def test_an_outbound_that_changes_nothing_gives_the_very_same_bytes() -> None:
    came = head("/a", "Host: shop")
    assert dressed(came, Outbound()) is came


@pytest.mark.parametrize(
    ("method", "target", "sent"),
    [
        ("PUT", "/orders/1?q=%2F", "/v2/orders/1?q=%2F"),
        ("GET", "/", "/v2/"),
        ("GET", "//a", "/v2//a"),
        ("GET", "/?a b".replace(" ", "%20"), "/v2/?a%20b"),
        ("OPTIONS", "*", "*"),
    ],
)
def test_the_base_path_is_put_before_a_path(method: str, target: str, sent: str) -> None:
    out = after(Outbound(base_path=b"/v2"), head(target, "Host: a", method=method))
    assert out == [f"{method} {sent} HTTP/1.1", "Host: a"]


def test_a_target_in_absolute_form_has_become_a_path_before_the_base_path_is_put_there() -> None:
    parsed = parse_request(head("http://shop/orders/1", "Host: shop"))
    assert not isinstance(parsed, Refusal)
    assert after(Outbound(base_path=b"/v2"), parsed.head)[0] == "PUT /v2/orders/1 HTTP/1.1"


@pytest.mark.parametrize("line", ["Host: shop", "host:shop", "HOST:  shop:80 "])
def test_the_host_is_rewritten_where_it_stands(line: str) -> None:
    out = after(Outbound(host=b"new:8002"), head("/a", "A: b", line, "C: Host: d"))
    assert out == ["PUT /a HTTP/1.1", "A: b", line[:5] + " new:8002", "C: Host: d"]


def test_a_request_of_http_1_0_without_a_host_gets_one() -> None:
    came = b"PUT /a HTTP/1.0\r\nA: b\r\n\r\n"
    assert after(Outbound(host=b"new"), came) == ["PUT /a HTTP/1.0", "A: b", "Host: new"]


def test_fields_are_removed_in_any_case_and_number() -> None:
    came = head("/a", "Host: a", "X-A: 1", "x-a: 2", "X-AB: 3", "X-B: x-a")
    out = after(Outbound(removed=frozenset((b"x-a",))), came)
    assert out[2:] == ["X-AB: 3", "X-B: x-a"]


@pytest.mark.parametrize("name", ["X_Api_Key", "x-api_key", "X_API-KEY"])
def test_a_field_whose_name_has_another_spelling_of_the_hyphen_is_removed(name: str) -> None:
    came = head("/a", "Host: a", f"{name}: 1", "X_Api: 2", "Content_Length: 3")
    out = after(Outbound(removed=frozenset((b"x-api-key",))), came)
    assert out[2:] == ["X_Api: 2", "Content_Length: 3"]


def test_a_field_that_is_set_replaces_every_one_of_its_name() -> None:
    outbound = Outbound(removed=frozenset((b"x-a",)), lines=b"X-A: new\r\n")
    assert after(outbound, head("/a", "Host: a", "x-a: 1", "X-A: 2"))[2:] == ["X-A: new"]
    assert after(outbound, head("/a", "Host: a"))[2:] == ["X-A: new"]


@pytest.mark.parametrize(
    ("lines", "sent", "known"),
    [
        (["Authorization: Bearer a"], ["Authorization: Bearer A"], True),
        (["authorization:Bearer a\t"], ["Authorization: Bearer A"], True),
        (["AUTHORIZATION: x"], ["Authorization: Y"], True),
        ([], [], True),
        (["Authorization: Bearer b"], [], False),
        (["Authorization: bearer a"], [], False),
        (["Authorization: Bearer a", "Authorization: Bearer a"], [], False),
        (["Authorization: Bearer a", "Authorization: x"], [], False),
        (["X-Authorization: Bearer a"], ["X-Authorization: Bearer a"], True),
    ],
)
def test_a_credential_is_mapped_or_left_out_but_never_passed_on(
    lines: list[str], sent: list[str], known: bool
) -> None:
    came = head("/a", "Host: a", *lines)
    assert after(MAP, came)[2:] == sent
    assert is_known(came, MAP) is known


def test_a_credential_may_stand_in_another_field() -> None:
    keys = Outbound(removed=frozenset((b"x-key",)), header=b"X-Key", credentials={b"a": b"A"})
    came = head("/a", "Host: a", "x-key: a", "Authorization: kept")
    assert after(keys, came)[2:] == ["Authorization: kept", "X-Key: A"]


def test_all_of_it_at_once() -> None:
    outbound = Outbound(
        base_path=b"/v2", host=b"new", removed=frozenset((b"authorization", b"x-a")),
        lines=b"X-A: 1\r\n", credentials={b"a": b"A"},
    )  # fmt: skip
    came = head("/o", "Host: shop", "Authorization: a", "X-A: 0", "Content-Length: 3")
    assert after(outbound, came) == [
        "PUT /v2/o HTTP/1.1", "Host: new", "Content-Length: 3", "X-A: 1", "Authorization: A",
    ]  # fmt: skip


def test_what_is_secret_is_not_shown() -> None:
    shown = repr(
        Outbound(lines=b"Authorization: hunter2\r\n", credentials={b"hunter2": b"hunter2"})
    )
    assert "hunter2" not in shown


def test_what_frames_a_message_is_untouchable() -> None:
    framing = {"host", "content-length", "transfer-encoding", "connection", "trailer", "upgrade"}
    assert framing | {"expect", "te", "twinwrite-hop", "idempotency-key"} <= UNTOUCHABLE


def test_via_says_how_it_was_asked() -> None:
    assert [line.split()[1] for line in VIA] == [b"1.0", b"1.1"]
