"""Which Idempotency-Keys are remembered, and what another request under one of them gets."""

from pathlib import Path

import pytest

from proxy.flow.repeats import (
    ANSWERED_MAX,
    IN_FLIGHT,
    OTHER,
    UNREADABLE,
    Claim,
    Repeats,
    fingerprint_of,
)
from rules.message import Request
from rules.repeat import mark_of
from tests.proxy.samples import a_request


def keyed(key: str, body: bytes = b"x") -> Request:
    return a_request("PUT", "/a", body, f"Idempotency-Key: {key}\r\n")


async def claimed(repeats: Repeats[str], request: Request) -> Claim:
    claim = await repeats.take(request)
    assert isinstance(claim, Claim)
    return claim


async def test_a_key_is_taken_until_it_is_released() -> None:
    repeats: Repeats[str] = Repeats()
    claim = await claimed(repeats, keyed("1"))

    assert await repeats.take(keyed("1")) is IN_FLIGHT
    assert await repeats.take(keyed("1", b"y")) is IN_FLIGHT
    await claimed(repeats, keyed("2"))
    repeats.release(claim)
    await claimed(repeats, keyed("1", b"y"))


async def test_an_empty_key_is_no_key() -> None:
    repeats: Repeats[str] = Repeats()

    assert await repeats.take(keyed("")) is None
    repeats.release(None)
    assert len(repeats) == 0


async def test_an_answered_key_is_for_the_same_request_only() -> None:
    repeats: Repeats[str] = Repeats()
    claim = await claimed(repeats, keyed("1"))
    repeats.answered(claim)
    repeats.release(claim)

    assert await repeats.take(keyed("1", b"y")) is OTHER
    assert await claimed(repeats, keyed("1")) == claim


async def test_the_oldest_answered_keys_are_forgotten() -> None:
    repeats: Repeats[str] = Repeats()
    for number in range(ANSWERED_MAX + 1):
        repeats.answered(Claim(mark_of(keyed(str(number)).head), b""))

    assert len(repeats) == ANSWERED_MAX
    await claimed(repeats, keyed("0"))
    assert await repeats.take(keyed("1")) is OTHER


async def test_an_unknown_key_says_what_waits_until_it_is_settled() -> None:
    repeats: Repeats[str] = Repeats()
    claim = await claimed(repeats, keyed("1"))
    repeats.wait(claim, "intent 1")
    repeats.release(claim)

    assert await repeats.take(keyed("1", b"y")) is OTHER
    assert repeats.waiting(await claimed(repeats, keyed("1"))) == "intent 1"
    repeats.settled(claim, "intent 2")
    assert repeats.waiting(claim) == "intent 1"
    repeats.settled(claim, "intent 1")
    assert repeats.waiting(claim) is None


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_a_spooled_body_or_one_in_pieces_has_the_fingerprint_that_it_has_in_memory(
    tmp_path: Path, size: int
) -> None:
    body = bytes(range(250)) * (size // 250)
    chunks = b"".join(
        b"%x;a=b\r\n%b\r\n" % (len(part), part)
        for part in (body[at : at + 70_000] for at in range(0, len(body), 70_000))
    )
    whole = await fingerprint_of(a_request("PUT", "/a", body))
    for chunked, wire in ((False, body), (True, chunks + b"0\r\nX-Sum: 1\r\n\r\n")):
        file = tmp_path / "1"
        file.write_bytes(wire)
        request = Request(
            method="PUT", target="/a", head=b"", chunked=chunked, spool=str(file),
            body_bytes=len(wire),
        )  # fmt: skip
        assert await fingerprint_of(request) == whole
        pieces = (wire[:7], wire[7:])
        request = Request(method="PUT", target="/a", head=b"", chunked=chunked, pieces=pieces)
        assert await fingerprint_of(request) == whole


async def test_a_body_that_cannot_be_read_is_refused_and_leaves_the_key_free(
    tmp_path: Path,
) -> None:
    repeats: Repeats[str] = Repeats()
    head = keyed("1").head
    gone = Request(method="PUT", target="/a", head=head, spool=str(tmp_path / "1"), body_bytes=1)

    assert await repeats.take(gone) is UNREADABLE
    assert len(repeats) == 0
