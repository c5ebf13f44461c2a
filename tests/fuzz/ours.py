"""What we make of a stream: the messages that are passed on, and the bytes that are written for them.

It is what a connection does, without sockets: heads by `rules.framing`, bodies by `proxy.wire.framing`.
"""

from proxy.wire.framing import BadFraming, is_reply_head, reader_for, second_opinion
from rules.chunks import unchunk
from rules.framing import Refusal, fields, parse_reply, parse_request
from rules.message import Framing
from tests.fuzz.oracle import Message, seen

Passed = tuple[Message, bytes]


def requests_of(stream: bytes) -> list[Passed]:
    """Every request that would reach a backend whole, and its bytes there."""
    found: list[Passed] = []
    while True:
        stream = stream.removeprefix(b"\r\n")
        end = stream.find(b"\r\n\r\n") + 4
        if end < 4:
            return found
        raw, stream = stream[:end], stream[end:]
        head = parse_request(raw)
        if isinstance(head, Refusal) or second_opinion(raw) is not None:
            return found
        size = _body(head.framing, head.length, stream)
        if size is None:
            return found
        start = (head.method.encode("ascii"), head.target.encode("latin-1"))
        body = stream[:size]
        found.append((_message(start, head.head, head.framing, body), head.head + body))
        stream = stream[size:]
        if not head.keep_alive:
            return found


def reply_of(stream: bytes, method: str) -> Passed | None:
    """The one reply that would reach the client whole, and its bytes there; the stream has ended."""
    while (end := stream.find(b"\r\n\r\n") + 4) >= 4:
        raw, stream = stream[:end], stream[end:]
        head = parse_reply(raw, method)
        if head is None or head.status == 101 or not is_reply_head(raw):
            return None
        if head.status >= 200:
            size = (
                len(stream)
                if head.framing is Framing.CLOSE
                else _body(head.framing, head.length, stream)
            )
            if size is None:
                return None
            body = stream[:size]
            start = (b"%d" % head.status, b"")
            return _message(start, head.head, head.framing, body), head.head + body
    return None


def _body(framing: Framing, length: int, stream: bytes) -> int | None:
    """How long the body is, if it is whole and well-formed."""
    reader = reader_for(framing, length)
    try:
        size = reader.take(stream)
    except BadFraming:
        return None
    return size if reader.done else None


def _message(start: tuple[bytes, bytes], head: bytes, framing: Framing, body: bytes) -> Message:
    named = [seen(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields(head)]
    payload = unchunk(body) if framing is Framing.CHUNKED else body
    return Message(start, named, payload, complete=True)
