"""No bytes mean one thing to us and another to llhttp or h11: they read in what we pass on what we read.

Seeded (`derandomize`): the same examples in every run.
"""

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.wire.framing import BadFraming, ChunkedReader
from rules.chunks import unchunk
from tests.fuzz.grammar import CHUNK_STREAMS, chunk_streams, reply_streams, request_streams
from tests.fuzz.oracle import Stricter, h11_reply, h11_requests, llhttp
from tests.fuzz.ours import Passed, reply_of, requests_of

ASCII = bytes(range(128)) + b"x" * 128


def seeded(examples: int) -> settings:
    """So many examples, the same in every run."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=checks
    )  # fmt: skip


def plain(passed: Passed) -> Passed:
    """With a target of ASCII only: we pass other bytes on, and neither of the two takes them."""
    message, written = passed
    first, end, rest = written.partition(b"\r\n")
    start = (message.start[0], message.start[1].translate(ASCII))
    return replace(message, start=start), first.translate(ASCII) + end + rest


@seeded(800)
@given(request_streams())
def test_others_read_in_what_we_pass_on_the_requests_that_we_read(stream: bytes) -> None:
    passed = [plain(each) for each in requests_of(stream)]
    messages = [message for message, _ in passed]
    written = b"".join(written for _, written in passed)

    assert h11_requests(written) == messages
    with suppress(Stricter):
        assert llhttp(written) == messages


@seeded(350)
@given(reply_streams(), st.sampled_from(("GET", "HEAD", "POST")))
def test_others_read_in_what_we_pass_on_the_reply_that_we_read(stream: bytes, method: str) -> None:
    passed = reply_of(stream, method)
    assume(passed is not None)
    assert passed is not None
    message, written = passed

    assert h11_reply(written, method, ended=True) == message
    if method != "HEAD":  # llhttp is not told the method
        with suppress(Stricter):
            (read,) = llhttp(written, replies=True)
            assert (read.start, read.fields, read.body) == (
                message.start,
                message.fields,
                message.body,
            )


@seeded(250)
@given(request_streams())
def test_a_stream_that_is_cut_at_any_byte_yields_the_first_of_its_requests(stream: bytes) -> None:
    whole = requests_of(stream)
    for cut in range(len(stream)):
        part = requests_of(stream[:cut])
        assert part == whole[: len(part)]


def read_in(pieces: list[bytes], *, decode: bool) -> tuple[int, bytes, bool, bool]:
    """How much a reader takes, its payload, whether it is at the end, and whether it refuses."""
    reader, taken, payload = ChunkedReader(decode=decode), 0, b""
    for piece in pieces:
        if reader.done:
            break
        try:
            taken += reader.take(piece)
        except BadFraming:
            return 0, b"", False, True
        payload += reader.payload
    return taken, payload, reader.done, False


@seeded(250)
@given(chunk_streams(), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_chunks_in_any_pieces_are_the_chunks_in_one(
    stream: bytes, places: list[int], decode: bool
) -> None:
    cuts = [0, *sorted(places), len(stream)]
    pieces = [stream[at:end] for at, end in pairwise(cuts)]

    assert read_in(pieces, decode=decode) == read_in([stream], decode=decode)


@seeded(250)
@given(chunk_streams())
def test_others_read_in_chunks_what_we_read(stream: bytes) -> None:
    taken, payload, done, _ = read_in([stream], decode=True)
    assume(done)
    framed = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + stream[:taken]

    assert unchunk(stream[:taken]) == payload
    for parse in (h11_requests, llhttp):
        with suppress(Stricter):
            (read,) = parse(framed)
            assert (read.body, read.complete) == (payload, True)


@pytest.mark.parametrize("stream", CHUNK_STREAMS)
def test_chunks_that_are_cut_at_every_byte_are_the_chunks_in_one(stream: bytes) -> None:
    whole = read_in([stream], decode=True)
    for cut in range(len(stream)):
        assert read_in([stream[:cut], stream[cut:]], decode=True) == whole
    assert read_in([stream[at : at + 1] for at in range(len(stream))], decode=True) == whole
