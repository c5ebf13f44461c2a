"""Rows of the usual shapes, and the bytes that they are made of."""

import pytest

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    KEPT,
    LEGACY,
    NEW,
    OK,
    Case,
    Last,
    Step,
    Way,
    finds_end,
    gets,
    says,
    told,
)


def head(first: bytes, *fields: bytes) -> bytes:
    """A head from its first line and its other lines, each without CRLF."""
    return b"\r\n".join((first, *fields, b"", b""))


def request(first: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request for the host `shop`, which stands first."""
    return head(first, b"Host: shop", *fields) + body


def served(
    request: bytes, got: bytes | None = None, *, reply: bytes = OK, answer: bytes | None = None
) -> tuple[Step, ...]:
    """The primary receives `got` and replies, the client receives `answer`: unless told, unchanged."""
    return (
        says(CLIENT, request),
        gets(LEGACY, request if got is None else got),
        says(LEGACY, reply),
        gets(CLIENT, reply if answer is None else answer),
    )


def relayed(
    name: str,
    section: str,
    sent: bytes,
    got: bytes | None = None,
    *,
    answer: bytes = OK,
    last: Last = KEPT,
) -> Case:
    """A request that only the primary receives, and answers with OK."""
    return Case(name=name, section=section, steps=served(sent, got, answer=answer), last=last)


def mirrored(
    name: str,
    section: str,
    sent: bytes,
    got: bytes | None = None,
    *,
    answer: bytes = OK,
    last: Last = KEPT,
) -> Case:
    """A write that both sides receive alike, and answer with OK."""
    at_new = (gets(NEW, sent if got is None else got), says(NEW, OK))
    steps = (*served(sent, got, answer=answer), *at_new)
    return Case(name=name, section=section, steps=steps, last=last)


def both(name: str, section: str, sent: bytes, got: bytes | None = None) -> list[Case]:
    """What follows the method, once as a GET that is relayed, once as a PUT that is mirrored."""
    got = sent if got is None else got
    return [
        relayed(f"{name}, relayed", section, b"GET" + sent, b"GET" + got),
        mirrored(f"{name}, mirrored", section, b"PUT" + sent, b"PUT" + got),
    ]


def refused(
    name: str, section: str, sent: bytes, status: int = 400, *, head_only: bool = False
) -> Case:
    """What no side receives a byte of, and the client's connection ends with."""
    steps = (says(CLIENT, sent), told(status, closes=True, head_only=head_only))
    return Case(name=name, section=section, steps=steps, last=CLOSED)


GET = request(b"GET /a HTTP/1.1")
PUT = request(b"PUT /a HTTP/1.1", b"Content-Length: 2", body=b"hi")


def replied(
    name: str,
    section: str,
    reply: bytes,
    answer: bytes | None = None,
    *,
    sent: bytes = GET,
    last: Last = KEPT,
) -> Case:
    """A reply of the primary to a request that is not mirrored, and what the client makes of it."""
    steps = served(sent, reply=reply, answer=answer)
    return Case(name=name, section=section, steps=steps, last=last)


def broken(name: str, section: str, reply: bytes, ways: tuple[Way, ...] = tuple(Way)) -> list[Case]:
    """A reply that no client gets to see; a write so answered does not go to the other side."""
    return [
        Case(
            name=f"{name}, {word}",
            section=section,
            steps=(
                says(CLIENT, sent),
                gets(LEGACY, sent),
                says(LEGACY, reply),
                told(502),
                finds_end(LEGACY),
            ),
            ways=ways if word == "relayed" else tuple(Way),
        )
        for word, sent in (("relayed", GET), ("mirrored", PUT))
    ]


def table(cases: list[Case]) -> pytest.MarkDecorator:
    """The rows of one module, each in all of its ways; `make check` plays them whole."""
    rows = [
        pytest.param(
            case, way, id=f"{case}, {way}", marks=[] if way is Way.WHOLE else pytest.mark.system
        )
        for case in cases
        for way in case.ways
    ]
    return pytest.mark.parametrize(("case", "way"), rows)
