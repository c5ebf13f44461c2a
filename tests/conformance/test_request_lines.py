"""Request lines that no side may see (RFC 9112 2 and 3): each would be another request to somebody."""

from tests.conformance.harness import (
    Case,
    Way,
)
from tests.conformance.rows import GET, head, refused, relayed, request, table
from tests.conformance.stand import Stand

HOST = b"\r\nHost: shop\r\n\r\n"


def line(raw: bytes) -> bytes:
    return raw + HOST


CASES = [
    refused("no version", "9112 3", line(b"GET /a")),
    refused("no target", "9112 3", line(b"GET HTTP/1.1")),
    refused("an empty target", "9112 3", line(b"GET  HTTP/1.1")),
    refused("only a method", "9112 3", line(b"GET")),
    refused("two spaces before the target", "9112 3", line(b"PUT  /a HTTP/1.1")),
    refused("two spaces before the version", "9112 3", line(b"PUT /a  HTTP/1.1")),
    refused("a tab for a space", "9112 3", line(b"PUT\t/a HTTP/1.1")),
    refused("a form feed for a space", "9112 3", line(b"PUT /a\x0cHTTP/1.1")),
    refused("a space before the method", "9112 3", line(b" PUT /a HTTP/1.1")),
    refused("a space behind the version", "9112 3", line(b"PUT /a HTTP/1.1 ")),
    refused("a word behind the version", "9112 3", line(b"PUT /a HTTP/1.1 x")),
    refused("a space in the target", "9112 3.2", line(b"PUT /a b HTTP/1.1")),
    refused("a version in the target", "9112 11.2", line(b"PUT /a HTTP/1.1 HTTP/1.1")),
    refused("a line end of LF", "9112 2.2", b"PUT /a HTTP/1.1\nHost: shop\r\n\r\n"),
    refused("a bare CR behind the version", "9112 2.2", line(b"PUT /a HTTP/1.1\r")),
    refused("a bare CR in the target", "9112 2.2", line(b"PUT /a\rb HTTP/1.1")),
    refused("a bare CR for a space", "9112 2.2", line(b"PUT\r/a HTTP/1.1")),
    refused("NUL in the target", "9112 3.2", line(b"PUT /a\0b HTTP/1.1")),
    refused("an escape in the target", "9112 3.2", line(b"PUT /a\x1bb HTTP/1.1")),
    refused("DEL in the target", "9112 3.2", line(b"PUT /a\x7fb HTTP/1.1")),
    refused("a fragment", "9112 3.2", line(b"PUT /a#b HTTP/1.1")),
    refused("NUL in the method", "9110 5.6.2", line(b"PU\0T /a HTTP/1.1")),
    refused("a method that is no token", "9110 5.6.2", line(b"PU(T /a HTTP/1.1")),
    refused("a method of bytes that are not ASCII", "9110 5.6.2", line(b"P\xdcT /a HTTP/1.1")),
    refused("a method in quotes", "9110 5.6.2", line(b'"PUT" /a HTTP/1.1')),
    refused("a method that nobody knows", "9110 9.1", line(b"BREW /pot HTTP/1.1"), 501),
    refused("a method in small letters", "9110 9.1", line(b"put /a HTTP/1.1"), 501),
    refused("HTTP/0.9", "9112 2.3", line(b"GET /a HTTP/0.9"), 505),
    refused("HTTP/0.9 without a version", "9112 2.3", b"GET /a\r\n\r\n"),
    refused("HTTP/1.2", "9110 2.5", line(b"PUT /a HTTP/1.2"), 505),
    refused("HTTP/2.0", "9110 15.6.6", line(b"PUT /a HTTP/2.0"), 505),
    refused("HTTP/3.0", "9110 15.6.6", line(b"PUT /a HTTP/3.0"), 505),
    refused("the preface of HTTP/2", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("http in small letters", "9112 2.3", line(b"PUT /a http/1.1")),
    refused("Http in mixed letters", "9112 2.3", line(b"PUT /a Http/1.1")),
    refused("a version of two digits", "9112 2.3", line(b"PUT /a HTTP/1.10")),
    refused("a version with a leading zero", "9112 2.3", line(b"PUT /a HTTP/01.1")),
    refused("a version without its minor part", "9112 2.3", line(b"PUT /a HTTP/1")),
    refused("a version with a comma", "9112 2.3", line(b"PUT /a HTTP/1,1")),
    refused("a version without the slash", "9112 2.3", line(b"PUT /a HTTP1.1")),
    refused("another protocol", "9112 2.3", line(b"PUT /a HTTPS/1.1")),
    refused("RTSP", "9112 2.3", line(b"OPTIONS * RTSP/1.0")),
    refused("a target that is no path", "9112 3.2.1", line(b"PUT a HTTP/1.1")),
    refused("a target that is a query", "9112 3.2.1", line(b"PUT ?a HTTP/1.1")),
    refused("an asterisk for another method", "9112 3.2.4", line(b"PUT * HTTP/1.1")),
    refused("a host and port for another method", "9112 3.2.3", line(b"PUT shop:80 HTTP/1.1")),
    refused("another host than in Host", "9112 3.2.2", line(b"PUT http://pay/a HTTP/1.1")),
    refused("another port than in Host", "9112 3.2.2", line(b"PUT http://shop:81/a HTTP/1.1")),
    refused("a user in the target", "9110 4.2.4", line(b"PUT http://me@shop/a HTTP/1.1")),
    refused("a user that hides the host", "9110 4.2.4", line(b"PUT http://shop@pay/a HTTP/1.1")),
    refused("a target without a host", "9110 4.2.1", line(b"PUT http:///a HTTP/1.1")),
    refused("a target of another scheme", "9112 3.2.2", line(b"PUT https://shop/a HTTP/1.1")),
    refused("a file", "9112 3.2.2", line(b"GET file:///etc/passwd HTTP/1.1")),
    refused("the hello of TLS", "9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + HOST),
    refused("a line of the PROXY protocol", "9112 3", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET),
    refused("two empty lines before it", "9112 2.2", b"\r\n\r\n" + GET),
    refused("an empty line of LF before it", "9112 2.2", b"\n" + GET),
    refused("a bare CR before it", "9112 2.2", b"\r" + GET),
    refused("a space on a line before it", "9112 2.2", b" \r\n" + GET),
    refused("nothing but a line end", "9112 2.2", b"\r\n\r\n\r\n"),
    relayed("an empty line before the first request", "9112 2.2", b"\r\n" + GET, GET),
    refused("a space before the first field", "9112 2.2", b"PUT /a HTTP/1.1\r\n Host: shop\r\n\r\n"),
    refused("a space before a field that frames", "9112 2.2",
            head(b"PUT /a HTTP/1.1", b" Content-Length: 5", b"Host: shop")),
    refused("a line that is too long", "9112 3", line(b"PUT /" + b"a" * 5000 + b" HTTP/1.1"), 414),
    refused("a line that does not end", "9112 3", b"PUT /" + b"a" * 5000, 414),
    refused("a method that does not end", "9112 3", b"A" * 5000, 414),
    refused("a field that is too long", "9110 5.4",
            request(b"PUT /a HTTP/1.1", b"X: " + b"a" * 5000), 431),
    refused("too many fields", "9110 5.4", request(b"PUT /a HTTP/1.1", *[b"X: 1"] * 800), 431),
    refused("a head that does not end", "9110 5.4", request(b"PUT /a HTTP/1.1", *[b"X: 1"] * 800)[:-2],
            431),
]  # fmt: skip


@table(CASES)
def test_a_request_line_is_taken_as_it_is_or_refused(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
