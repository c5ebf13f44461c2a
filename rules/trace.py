"""The trace of a request (W3C Trace Context): passed on when it is valid, else begun anew.

Law: what came is passed on byte for byte, because Twinwrite records no spans of its own: it is no
participant, only a bearer. A broken or doubled `traceparent` is no trace, and then `tracestate` is
none either (W3C Trace Context 3.2.2, 3.3). One trace serves both sides and every replay.
"""

import re
from binascii import hexlify
from enum import StrEnum

from rules.framing import without

NUMBER_BITS = 192
"""The random bits that a new trace is made of: 128 for the trace, 64 for the parent (W3C 3.2.2)."""

_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID = rb"(?:00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[^\r]*)?)(?=[ \t]*\r)"
_FIELDS = re.compile(
    rb"\r\n(?i:trace)(?:(?i:parent):[ \t]*(" + _VALID + rb")?|((?i:state)):)"  # (valid, state)
)
_NOT_ZERO = 1 << 64 | 1  # neither id may be all zeros
_NAMES = (b"traceparent", b"tracestate")


class Tracing(StrEnum):
    """What a request without a valid trace gets."""

    BEGIN = "begin"  # a trace that nobody is asked to record
    BEGIN_SAMPLED = "begin_sampled"  # a trace that everybody is asked to record
    NONE = "pass"  # nothing: every byte as it came


FLAGS = {Tracing.BEGIN: b"00", Tracing.BEGIN_SAMPLED: b"01", Tracing.NONE: b""}
"""The flags of a new trace. Not sampled is the default for who records nothing (W3C 3.2.2.5)."""


def traced(head: bytes, lines: bytes, number: int, flags: bytes, *, noted: bool = True) -> bytes:
    """The head with more field lines (each with CRLF), and with a trace if there are `flags`.

    `number` is NUMBER_BITS of chance. `noted` as in RequestHead: False spares the look for a trace that came.
    """
    if not flags:
        return b"%b%b\r\n" % (head[:-2], lines)
    found = _FIELDS.findall(head) if noted else None
    if found:
        if _trace_id(found):
            return b"%b%b\r\n" % (head[:-2], lines)
        head = without(head, _NAMES)
    ids = hexlify((number | _NOT_ZERO).to_bytes(NUMBER_BITS // 8, "big"), b"-", -16)
    return b"%b%btraceparent: 00-%b-%b\r\n\r\n" % (head[:-2], lines, ids, flags)


def trace_id(head: bytes) -> str:
    """The trace id of a checked head: 32 hexadecimal digits; "" without a valid trace."""
    return _trace_id(_FIELDS.findall(head))


def _trace_id(found: list[tuple[bytes, bytes]]) -> str:
    if len(found) > 1:
        found = [each for each in found if not each[1]]
    return found[0][0][3:35].decode("ascii") if len(found) == 1 else ""
