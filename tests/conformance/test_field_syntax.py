"""Header lines that no side may see (RFC 9112 5): one reader would drop what another one obeys."""

from tests.conformance.harness import (
    Case,
    Way,
)
from tests.conformance.rows import GET, head, refused, request, table
from tests.conformance.stand import Stand

FIRST = b"PUT /a HTTP/1.1"


def sent(*lines: bytes) -> bytes:
    return request(FIRST, *lines)


CONTROLS = {
    "NUL": b"\0", "SOH": b"\x01", "BEL": b"\x07", "a backspace": b"\x08", "a vertical tab": b"\x0b",
    "a form feed": b"\x0c", "an escape": b"\x1b", "DEL": b"\x7f",
}  # fmt: skip

NO_TOKENS = {
    "a space": b"X Y", "a tab": b"X\tY", "NUL": b"X\0Y", "a bare CR": b"X\rY", "an at": b"X@Y",
    "a slash": b"X/Y", "a bracket": b"X[1]", "a brace": b"X{", "a parenthesis": b"X(Y)", "quotes": b'"X"',
    "a comma": b"X,Y", "a semicolon": b"X;Y", "an equals sign": b"X=Y", "a question mark": b"X?",
    "a byte that is not ASCII": b"X\xe9", "DEL": b"X\x7f",
}  # fmt: skip

CASES = [
    *(
        refused(f"{name} in a value", "9110 5.5", sent(b"X: a" + byte + b"b"))
        for name, byte in CONTROLS.items()
    ),
    *(
        refused(f"{name} in a name", "9110 5.1", sent(field + b": 1"))
        for name, field in NO_TOKENS.items()
    ),
    refused("NUL at the end of a value", "9110 5.5", sent(b"X: a\0")),
    refused("a bare CR in a value", "9112 2.2", sent(b"X: a\rb")),
    refused("a bare CR that hides a field", "9112 2.2", sent(b"X: a\rContent-Length: 5")),
    refused("a bare LF that hides a field", "9112 2.2", sent(b"X: a\nContent-Length: 5")),
    refused("CR CR LF behind a value", "9112 2.2", sent(b"X: a\r")),
    refused("LF CR behind a value", "9112 2.2", sent(b"X: a\n\rY: b")),
    refused("a line of the head that ends in LF", "9112 2.2", sent(b"X: a\nY: b")),
    refused("a head that ends in LF LF", "9112 2.2", sent()[:-4] + b"\n\n" + GET),
    refused("a head that ends in CR LF LF", "9112 2.2", sent()[:-2] + b"\n\r\n\r\n"),
    refused("a head that ends in LF CR LF", "9112 2.2", sent()[:-4] + b"\n\r\n\r\n"),
    refused("a head that ends in CR CR LF", "9112 2.2", sent()[:-2] + b"\r\r\n\r\n"),
    refused("a folded value", "9112 5.2", sent(b"X: a", b" b")),
    refused("a value folded by a tab", "9112 5.2", sent(b"X: a", b"\tb")),
    refused("a value folded twice", "9112 5.2", sent(b"X: a", b" b", b"  c")),
    refused("a folded empty value", "9112 5.2", sent(b"X:", b" b")),
    refused("a folded Host", "9112 5.2", head(FIRST, b"Host:", b" shop")),
    refused("a folded length", "9112 5.2", sent(b"Content-Length:", b" 5")),
    refused("a folded encoding", "9112 5.2", sent(b"Transfer-Encoding:", b"\tchunked")),
    refused("a line of spaces", "9112 5.2", sent(b"X: a", b"  ")),
    refused("a space before the colon", "9112 5.1", sent(b"X : 1")),
    refused("a tab before the colon", "9112 5.1", sent(b"X\t: 1")),
    refused("a space before the colon of a length", "9112 5.1", sent(b"Content-Length : 5")),
    refused("a space before the colon of an encoding", "9112 5.1", sent(b"Transfer-Encoding : chunked")),
    refused("a space before the colon of Host", "9112 5.1", head(FIRST, b"Host : shop")),
    refused("a field without a colon", "9112 5", sent(b"X")),
    refused("a last field without a colon or an end", "9112 5", sent()[:-2] + b"X\r\n\r\n"),
    refused("a field without a name", "9112 5", sent(b": 1")),
    refused("nothing but a colon", "9112 5", sent(b":")),
    refused("a name that begins with a colon", "9112 5", sent(b":path: /b")),
    refused("no Host", "9112 3.2", head(FIRST, b"X: 1")),
    refused("no field at all", "9112 3.2", head(FIRST)),
    refused("two Hosts", "9112 3.2", sent(b"Host: pay")),
    refused("two Hosts that agree", "9112 3.2", sent(b"Host: shop")),
    refused("two Hosts in different case", "9112 3.2", sent(b"X: 1", b"hOST: shop")),
    refused("two Hosts in HTTP/1.0", "9112 3.2", request(b"PUT /a HTTP/1.0", b"Host: pay")),
    refused("two Hosts, one empty", "9112 3.2", sent(b"Host:")),
    *(
        refused(f"Host is {name}", "9112 3.2", head(FIRST, b"Host: " + host))
        for name, host in {
            "a list": b"shop, pay", "two words": b"shop pay", "a user and a host": b"me@shop",
            "a host with a path": b"shop/a", "a host with a query": b"shop?a", "an address": b"http://shop",
            "a host with a port of letters": b"shop:a", "a host with two ports": b"shop:1:2",
            "a host with a negative port": b"shop:-1", "an open bracket": b"[::1", "no address": b"[shop]",
            "a backslash": b"shop\\pay", "not ASCII": b"caf\xe9", "quoted": b'"shop"', "a fragment": b"a#b",
        }.items()
    ),
    refused("Connection names Content-Length", "9110 7.6.1",
            sent(b"Connection: Content-Length", b"Content-Length: 0")),
    refused("Connection names Transfer-Encoding", "9110 7.6.1",
            sent(b"Connection: close, transfer-encoding", b"Transfer-Encoding: chunked")),
    refused("Connection names Host", "9110 7.6.1", sent(b"Connection: HOST")),
    refused("another expectation", "9110 10.1.1", sent(b"Expect: 200-ok"), 417),
    refused("an expectation of more than 100-continue", "9110 10.1.1",
            sent(b"Expect: 100-continue, more"), 417),
    refused("an expectation with a word before it", "9110 10.1.1", sent(b"Expect: y 100-continue"), 417),
    refused("an empty expectation", "9110 10.1.1", sent(b"Expect:"), 417),
]  # fmt: skip


@table(CASES)
def test_a_malformed_head_is_refused(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
