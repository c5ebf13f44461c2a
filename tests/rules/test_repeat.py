"""Idempotency keys in heads, and what makes two requests the same."""

import pytest

from rules.repeat import KEY_LINE, fingerprint, key_of, mark_of

HEAD = b"POST /a HTTP/1.1\r\nHost: shop\r\n%b\r\n"


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
def test_a_key_is_found_in_any_case_and_kept_as_it_is_on_the_wire(name: str) -> None:
    head = HEAD % f'{name}:  "8e03-Q" \r\n'.encode()

    assert KEY_LINE in head.lower()
    assert key_of(head) == '"8e03-Q"'


def test_a_head_without_the_field_has_no_key() -> None:
    head = HEAD % b"X-Idempotency-Key: 1\r\n"

    assert KEY_LINE not in head.lower()
    assert key_of(head) == ""


def test_an_empty_key_is_none() -> None:
    head = HEAD % b"Idempotency-Key: \r\n"

    assert (key_of(head), mark_of(head)) == ("", b"")


def test_a_mark_is_short_and_of_one_key() -> None:
    marks = {
        mark_of(HEAD % b"Idempotency-Key: %b\r\n" % key) for key in (b"a", b"b" * 9999, b"\xe9")
    }

    assert {len(mark) for mark in marks} == {16}
    assert len(marks) == 3


def test_a_fingerprint_is_of_the_payload_however_it_comes() -> None:
    assert fingerprint("PUT", "/a", [b"one", b"two"]) == fingerprint("PUT", "/a", [b"onetwo"])


@pytest.mark.parametrize(
    ("method", "target", "payload"),
    [("POST", "/a", b"x"), ("PUT", "/b", b"x"), ("PUT", "/a?b", b"x"), ("PUT", "/a", b"y")],
)
def test_another_method_target_or_payload_is_another_fingerprint(
    method: str, target: str, payload: bytes
) -> None:
    assert fingerprint(method, target, [payload]) != fingerprint("PUT", "/a", [b"x"])
