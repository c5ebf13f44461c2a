"""The same streams through a whole sidecar: what arrives at a backend is what we said that we pass on,
every answer goes to the request that it is for, nothing hangs and nothing crashes. Seeded.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rules.framing import SAFE_METHODS
from tests.faults.sidecar import CONFIG, Running, running
from tests.fuzz.grammar import reply_streams, request_streams
from tests.fuzz.oracle import Llhttp, Message, Refused, Stricter, h11_reply, llhttp
from tests.fuzz.ours import reply_of, requests_of
from tests.fuzz.recorder import Recorder, mark, recorders

HANG_SECONDS = 5.0
ASCII = bytes(range(128)) + b"x" * 128
"""llhttp takes nothing else in a target; test_parsers.py tries the other bytes."""

ADDED = (
    b"expect", b"forwarded", b"idempotency-key", b"traceparent", b"tracestate", b"twinwrite-hop", b"via",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
)  # fmt: skip
"""Fields that a sidecar may add or answer by itself."""

FRAMING = (b"content-length", b"transfer-encoding")
AGAIN = b"GET /relay/again HTTP/1.1\r\nHost: a\r\n\r\n"


class Through:
    """A sidecar between two recorders, on a loop that stands still between examples."""

    def __init__(self, sidecar: Running, legacy: Recorder, new: Recorder) -> None:
        self.sidecar = sidecar
        self.legacy = legacy
        self.new = new

    async def say(self, pieces: list[bytes], count: int) -> list[Message]:
        """What a client is answered that sends these pieces and waits for `count` replies before it ends."""
        reader, writer = await asyncio.open_connection(self.sidecar.host, self.sidecar.port)
        read = Llhttp(replies=True)
        try:
            async with asyncio.timeout(HANG_SECONDS):
                for piece in pieces:
                    if writer.is_closing():
                        break
                    writer.write(piece)
                    if len(pieces) > 1:
                        await asyncio.sleep(0.001)
                while len(finals(read)) < count and (data := await reader.read(65536)):
                    read.feed(data)
                if not writer.is_closing():
                    writer.write_eof()
                read.feed(await reader.read())
        except ConnectionError:
            pass  # the answer tells
        finally:
            writer.transport.abort()
        return finals(read)

    async def raw(self, request: bytes) -> bytes:
        """What comes back until the connection ends, or a reply is complete."""
        reader, writer = await asyncio.open_connection(self.sidecar.host, self.sidecar.port)
        got = b""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                writer.write(request)
                while not is_whole(got) and (data := await reader.read(65536)):
                    got += data
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return got


def is_whole(got: bytes) -> bool:
    """Whether a client need not wait for the end of the connection."""
    message = h11_reply(got, "GET", ended=False)
    return message is not None and message.complete


def finals(read: Llhttp) -> list[Message]:
    """The replies that are complete, without the interim ones."""
    return [each for each in read.messages if each.complete and not each.start[0].startswith(b"1")]


def essence(messages: list[Message]) -> list[Message]:
    """The messages without the fields that a sidecar may add."""
    return [
        Message(each.start, [field for field in each.fields if field[0] not in ADDED], each.body, each.complete)
        for each in messages
    ]  # fmt: skip


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def through(directory: Path) -> Iterator[tuple[Through, Run]]:
    """Start it all; `run` lets the loop go on until a coroutine has ended."""
    trouble: list[dict[str, Any]] = []
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.get_loop().set_exception_handler(lambda _, context: trouble.append(context))
        backends = recorders()
        legacy, new = runner.run(backends.__aenter__())
        text = CONFIG.format(legacy=legacy.port, new=new.port, directory=directory)
        started = running(text, directory)
        sidecar = runner.run(started.__aenter__())
        try:
            yield Through(sidecar, legacy, new), runner.run
        finally:
            runner.run(started.__aexit__(None, None, None))
            runner.run(backends.__aexit__(None, None, None))
    assert not trouble


def seeded(examples: int) -> settings:
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip


def expected(stream: bytes) -> list[Message]:
    """What would reach a backend whole; only streams that llhttp reads to their end."""
    passed = requests_of(stream)
    try:
        llhttp(b"".join(written for _, written in passed))
    except Stricter:
        assume(False)
    return [message for message, _ in passed]


def test_backends_get_what_we_said_that_we_pass_on(tmp_path: Path) -> None:
    with through(tmp_path) as (way, run):

        @seeded(400)
        @given(request_streams())
        def try_one(stream: bytes) -> None:
            stream = stream.translate(ASCII)
            messages = expected(stream)
            way.legacy.messages.clear()
            replies = run(way.say([stream], len(messages)))

            assert essence(way.legacy.messages) == essence(messages)
            assert [reply.body for reply in replies if reply.start[0] == b"200"] == [
                mark(message) for message in messages if message.start[0] != b"HEAD"
            ]
            assert len(replies) - len(messages) in (0, 1)
            assert all(int(reply.start[0]) >= 400 for reply in replies[len(messages) :])
            written.extend(each for each in messages if each.start[0].decode() not in SAFE_METHODS)

        written: list[Message] = []
        try_one()
        run(way.sidecar.settled())
        assert essence(way.new.messages) == essence(written)
        assert not way.legacy.refused
        assert not way.new.refused


def test_clients_get_the_reply_that_we_read_or_none(tmp_path: Path) -> None:
    with through(tmp_path) as (way, run):

        @seeded(400)
        @given(reply_streams(), st.booleans())
        def try_one(stream: bytes, ends: bool) -> None:
            passed = reply_of(stream, "GET")
            may_stay = passed is not None and any(name in FRAMING for name, _ in passed[0].fields)
            way.legacy.script = (stream, ends or not may_stay)
            got = run(way.raw(b"GET /relay/x HTTP/1.1\r\nHost: a\r\n\r\n"))
            if passed is None:
                assert_none(got)
            else:
                assert essence_of_reply(got) == essence_of_reply(passed[1])
            (reply,) = run(way.say([AGAIN], 1))
            assert reply.body == mark(way.legacy.messages[-1])

        try_one()


def assert_none(got: bytes) -> None:
    """The client was told that there is no reply, or what it got cannot be taken for one."""
    try:
        message = h11_reply(got, "GET", ended=True)
    except Refused:
        return
    assert message is None or not message.complete or message.start[0] == b"502"


def essence_of_reply(got: bytes) -> Message | None:
    message = h11_reply(got, "GET", ended=True)
    if message is not None:
        message.fields = [field for field in message.fields if field[0] != b"connection"]
    return message


STREAM = (
    b"POST /relay/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /relay/b?c=d HTTP/1.1\r\nhost: a\r\nX-A:  b\r\n\r\n"
    b"PUT /relay/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
)


def test_a_stream_that_is_cut_at_every_byte_gives_what_it_gives_in_one_piece(
    tmp_path: Path,
) -> None:
    messages = [message for message, _ in requests_of(STREAM)]
    assert len(messages) == 3
    with through(tmp_path) as (way, run):
        for cut in range(len(STREAM)):
            way.legacy.messages.clear()
            replies = run(way.say([STREAM[:cut], STREAM[cut:]], 3))
            assert essence(way.legacy.messages) == essence(messages)
            assert [reply.body for reply in replies] == [mark(message) for message in messages]


@pytest.mark.parametrize("size", [1, 3])
def test_a_stream_in_small_pieces_gives_what_it_gives_in_one(tmp_path: Path, size: int) -> None:
    messages = [message for message, _ in requests_of(STREAM)]
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    with through(tmp_path) as (way, run):
        replies = run(way.say(pieces, 3))
        assert essence(way.legacy.messages) == essence(messages)
        assert [reply.body for reply in replies] == [mark(message) for message in messages]


def test_a_connection_that_carried_an_old_request_carries_no_other(tmp_path: Path) -> None:
    """A server closes after HTTP/1.0 (RFC 9112 9.3), and need not say so: what follows would be lost."""
    with through(tmp_path) as (way, run):
        (old,) = run(way.say([b"GET /relay/old HTTP/1.0\r\n\r\n"], 1))
        (new,) = run(way.say([AGAIN], 1))

        assert [old.start[0], new.start[0]] == [b"200", b"200"]
        assert not way.legacy.refused
