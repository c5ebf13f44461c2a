"""Traces: what is valid is passed on untouched, what is not is begun anew, and ids are never zero."""

import re

import pytest

from rules.framing import RequestHead, fields, parse_request
from rules.trace import FLAGS, NUMBER_BITS, Tracing, trace_id, traced

ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GOOD = f"00-{ID}-{PARENT}-01"
VIA = b"Via: 1.1 twinwrite\r\n"


def head(*lines: str) -> bytes:
    block = "".join(f"{line}\r\n" for line in ("PUT /a HTTP/1.1", "Host: a", *lines))
    return block.encode("latin-1") + b"\r\n"


def values(sent: bytes, name: str) -> list[str]:
    assert isinstance(parse_request(sent), RequestHead)
    return [value for found, value in fields(sent) if found == name]


@pytest.mark.parametrize(
    "lines",
    [
        (f"traceparent: {GOOD}",),
        (f"TraceParent:\t{GOOD} \t",),
        (f"TRACEPARENT: {GOOD}", "tracestate: a=1", "TraceState: b=2"),
        ("tracestate: a=1", f"traceparent: {GOOD}"),
        (f"traceparent: 00-{ID}-{PARENT}-00",),
        (f"traceparent: 00-{ID}-{PARENT}-ff",),
        (f"traceparent: 01-{ID}-{PARENT}-01",),
        (f"traceparent: cc-{ID}-{PARENT}-01-what-the-future-has",),
        (f"traceparent: 00-{'0' * 31}1-{'0' * 15}1-00",),
    ],
)
@pytest.mark.parametrize("tracing", Tracing)
def test_a_valid_trace_is_passed_on_byte_for_byte(lines: tuple[str, ...], tracing: Tracing) -> None:
    came = head(*lines)
    assert traced(came, VIA, 5, FLAGS[tracing]) == came[:-2] + VIA + b"\r\n"
    assert trace_id(came) in (ID, "0" * 31 + "1")


BROKEN = [
    ("traceparent:",),
    ("traceparent: x",),
    (f"traceparent: {GOOD.upper()}",),
    (f"traceparent: {GOOD}-more",),
    (f"traceparent: {GOOD}0",),
    (f"traceparent: 01-{ID}-{PARENT}-01.more",),
    (f"traceparent: ff-{ID}-{PARENT}-01",),
    (f"traceparent: 00-{'0' * 32}-{PARENT}-01",),
    (f"traceparent: 00-{ID}-{'0' * 16}-01",),
    (f"traceparent: 00-{ID}-{PARENT}",),
    (f"traceparent: {GOOD}, {GOOD}",),
    (f"traceparent: {GOOD}", f"traceparent: {GOOD}"),
    (f"traceparent: {GOOD}", "TraceParent: x"),
    ("tracestate: a=1",),
    ("traceparent: x", "tracestate: a=1", "TRACESTATE: b=2"),
]


@pytest.mark.parametrize("lines", BROKEN)
def test_a_broken_trace_is_begun_anew_and_its_state_is_dropped(lines: tuple[str, ...]) -> None:
    came = head(*lines, "X-Last: 1")
    assert trace_id(came) == ""
    sent = traced(came, VIA, (7 << 64) + 8, FLAGS[Tracing.BEGIN])
    assert values(sent, "traceparent") == [f"00-{7:032x}-{9:016x}-00"]
    assert values(sent, "tracestate") == []
    assert values(sent, "x-last") == ["1"]
    assert trace_id(sent) == f"{7:032x}"


@pytest.mark.parametrize("lines", BROKEN)
def test_who_only_passes_changes_not_even_a_broken_trace(lines: tuple[str, ...]) -> None:
    came = head(*lines)
    assert traced(came, b"", 5, FLAGS[Tracing.NONE]) == came


@pytest.mark.parametrize(
    ("tracing", "flags"), [(Tracing.BEGIN, "00"), (Tracing.BEGIN_SAMPLED, "01")]
)
def test_a_new_trace_asks_to_be_recorded_only_where_it_is_told_to(
    tracing: Tracing, flags: str
) -> None:
    sent = traced(head(), VIA, 2**NUMBER_BITS - 1, FLAGS[tracing])
    assert values(sent, "traceparent") == [f"00-{'f' * 32}-{'f' * 16}-{flags}"]
    assert values(sent, "via") == ["1.1 twinwrite"]


@pytest.mark.parametrize("number", [0, 1, 1 << 64, 2**64 - 1, 2**191, 2**192 - 1])
def test_no_chance_makes_an_id_of_zeros(number: int) -> None:
    sent = traced(head(), b"", number, b"00")
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-00", values(sent, "traceparent")[0])
    assert found is not None
    assert int(found[1], 16)
    assert int(found[2], 16)
    assert trace_id(sent) == found[1]


def test_every_way_of_tracing_has_its_flags() -> None:
    assert set(FLAGS) == set(Tracing)


def test_a_trace_in_the_target_or_in_another_field_is_none() -> None:
    came = head(f"X-Traceparent: {GOOD}", f"traceparents: {GOOD}", f"X: traceparent: {GOOD}")
    assert trace_id(came) == trace_id(b"") == ""
