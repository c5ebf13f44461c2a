"""The short way to read a head: most have nothing special but Host, Content-Length and one plain
Connection option, each once. One expression checks such a head and finds these; others take the long
way (`rules.framing`). A test holds both ways to the same answers.

Law: it accepts only what the long way accepts. Measured: a request head of nine fields takes 1.2 us
here, and 1.9 us with one expression for the grammar and another one for the special fields.
"""

import re

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*+)(?::[0-9]*+)?"
_OTHER = (
    rb"(?![hcteukpHCTEUKP](?i:ost|ontent-length|onnection|ransfer-encoding|e|xpect|pgrade|eep-alive"
    rb"|roxy-connection):)" + _TOKEN + rb":" + _VALUE + rb"\r\n"
)


def _once(group: int, field: bytes) -> bytes:
    """A field that may stand once: not when its group has matched already."""
    return b"(?(%d)(?!)|%b\r\n)" % (group, field)


def _fields(*known: bytes) -> bytes:
    return b"(?:" + b"|".join((_OTHER, *known)) + rb")*+\r\n"


_HOST_FIELD = rb"[Hh](?i:ost):[ \t]*+(" + _HOST + rb")"
_LENGTH = rb"[Cc](?i:ontent-length):[ \t]*+([0-9]{1,15}+)"
_CONNECTION = rb"([Cc](?i:onnection):[ \t]*+(?i:keep-alive|(close)))"

REQUEST = re.compile(
    rb"(%b) (/[\x21\x22\x24-\x7e\x80-\xff]*+) HTTP/1\.1\r\n" % _TOKEN
    + _fields(_once(3, _HOST_FIELD), _once(4, _LENGTH), _once(5, _CONNECTION))
)
"""A whole request head in origin form. Groups: method, target, Host, Content-Length, Connection's line
without CRLF, and its value if that is close."""

REPLY = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: %b)?\r\n" % _VALUE
    + _fields(_once(2, _LENGTH), _once(3, _CONNECTION))
)
"""A whole head of a final reply. Groups: status, Content-Length, Connection's line, and close."""
