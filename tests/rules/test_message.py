"""The nouns: what is told apart, what cannot be changed, and the words that others write down."""

import pytest

from rules.message import Cause, Failure, Framing, Reply, Request, Role, Side


def test_each_side_has_the_other() -> None:
    assert Side.LEGACY.other is Side.NEW
    assert Side.NEW.other is Side.LEGACY


def test_words_are_those_of_the_contract() -> None:
    assert list(Side) == ["legacy", "new"]
    assert list(Role) == ["primary", "secondary"]
    assert list(Framing) == ["none", "length", "chunked", "close", "tunnel"]
    assert list(Cause) == [
        "refused", "name", "connect_timeout", "tls", "pool_full", "timeout", "reset", "broken_reply",
    ]  # fmt: skip


@pytest.mark.parametrize("framing", Framing)
def test_only_a_chunked_reply_has_chunk_lines(framing: Framing) -> None:
    assert Reply(status=200, head=b"", framing=framing).chunked is (framing is Framing.CHUNKED)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (Request(method="GET", target="/", head=b""), "method"),
        (Reply(status=200, head=b""), "status"),
        (Failure(cause=Cause.RESET, sent=True), "sent"),
    ],
)
def test_a_message_cannot_be_changed(message: object, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(message, name, None)


def test_messages_are_equal_by_value() -> None:
    assert Failure(cause=Cause.RESET, sent=True) == Failure(cause=Cause.RESET, sent=True)
    assert Failure(cause=Cause.RESET, sent=True) != Failure(cause=Cause.RESET, sent=False)
