"""CONNECT, Upgrade and event streams: between the client and the primary only (RFC 9110 7.8, 9.3.6)."""

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    NEW,
    OK,
    OPEN,
    Case,
    Step,
    Way,
    breaks,
    ends,
    finds_end,
    gets,
    gets_untouched,
    says,
    told,
)
from tests.conformance.rows import GET, PUT, head, mirrored, refused, request, served, table
from tests.conformance.stand import Stand

UPGRADE = b"Connection: Upgrade"
CLOSE = b"Connection: close"
CHUNKED = b"Transfer-Encoding: chunked"
EVERY_BYTE = bytes(range(256))

SOCKET = (
    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Protocol: chat",
)  # fmt: skip
ACCEPT = (b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"Sec-WebSocket-Protocol: chat")
WEBSOCKET = b"Upgrade: websocket"
HELLO = request(b"GET /socket?a=b HTTP/1.1", WEBSOCKET, UPGRADE, *SOCKET)
ASKED = request(b"GET /socket?a=b HTTP/1.1", *SOCKET, UPGRADE, WEBSOCKET)
"""As the primary gets it: what is asked of one server is asked anew, as the last fields."""
SWITCHING = head(b"HTTP/1.1 101 Switching Protocols", WEBSOCKET, UPGRADE, *ACCEPT)
SWITCHED = head(b"HTTP/1.1 101 Switching Protocols", *ACCEPT, UPGRADE, WEBSOCKET)
FRAME = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
ECHO = b"\x81\x05Hello"
OPENED = (says(CLIENT, HELLO), gets(LEGACY, ASKED), says(LEGACY, SWITCHING), gets(CLIENT, SWITCHED))

CONNECT = head(b"CONNECT pay:443 HTTP/1.1", b"Host: pay:443", b"Proxy-Authorization: Basic YTpi")
CONNECTED = head(b"HTTP/1.1 200 Connection established")
TUNNEL = (
    says(CLIENT, CONNECT),
    gets(LEGACY, CONNECT),
    says(LEGACY, CONNECTED),
    gets(CLIENT, CONNECTED),
)

EVENTS = head(b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream", CHUNKED)
EVENTS_TO_THE_END = head(b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream")
EVENT = b"9\r\ndata: 1\n\n\r\n"

TALK = (
    says(CLIENT, FRAME), gets_untouched(LEGACY, FRAME), says(LEGACY, ECHO), gets(CLIENT, ECHO),
    says(LEGACY, OK), gets(CLIENT, OK), says(CLIENT, GET), gets_untouched(LEGACY, GET),
    says(CLIENT, EVERY_BYTE * 20), gets_untouched(LEGACY, EVERY_BYTE * 20),
    says(LEGACY, EVERY_BYTE * 20), gets(CLIENT, EVERY_BYTE * 20),
)  # fmt: skip
"""Anything goes, also what looks like HTTP."""


def tunnelled(name: str, section: str, *steps: Step) -> Case:
    return Case(name=name, section=section, steps=steps, last=OPEN)


def declined(name: str, section: str, reply: bytes) -> Case:
    """The backend does not switch: an ordinary reply, and the connection goes on."""
    return Case(name=name, section=section, steps=served(HELLO, ASKED, reply=reply))


def unconnected(name: str, *lines: bytes) -> Case:
    """The backend does not connect: an ordinary reply, and the end."""
    steps = served(CONNECT, reply=head(*lines), answer=head(*lines, CLOSE))
    return Case(name=name, section="9110 9.3.6", steps=steps, last=CLOSED)


def not_asked(name: str, *fields: bytes, left: tuple[bytes, ...] = (), body: bytes = b"") -> Case:
    """An upgrade that is not asked of the primary: an ordinary request, without a switch."""
    first = b"GET /a HTTP/1.1"
    steps = served(request(first, *fields, body=body), request(first, *left, body=body))
    return Case(name=name, section="9110 7.8", steps=steps)


CASES = [
    tunnelled("a WebSocket", "6455 4", *OPENED, *TALK, ends(CLIENT), finds_end(LEGACY)),
    tunnelled("a WebSocket that the backend closes", "6455 7.1", *OPENED, *TALK, ends(LEGACY),
              finds_end(CLIENT)),
    tunnelled("a WebSocket that the backend resets", "6455 7.1", *OPENED, breaks(LEGACY)),
    tunnelled("a WebSocket that the client resets", "6455 7.1", *OPENED, breaks(CLIENT), finds_end(LEGACY)),
    tunnelled("a frame behind the handshake of the server", "6455 4.2.2",
              says(CLIENT, HELLO), gets(LEGACY, ASKED), says(LEGACY, SWITCHING + ECHO),
              gets(CLIENT, SWITCHED + ECHO), *TALK),
    tunnelled("an upgrade among other options", "9110 7.8",
              says(CLIENT, request(b"GET /s HTTP/1.1", b"Connection: keep-alive, Upgrade", WEBSOCKET, b"X: 1")),
              gets(LEGACY, request(b"GET /s HTTP/1.1", b"X: 1", UPGRADE, WEBSOCKET)),
              says(LEGACY, SWITCHING), gets(CLIENT, SWITCHED), *TALK),
    tunnelled("an upgrade in odd case", "9110 7.8",
              says(CLIENT, request(b"GET /s HTTP/1.1", b"connection: upgrade", b"upgrade: WebSocket")),
              gets(LEGACY, request(b"GET /s HTTP/1.1", UPGRADE, b"Upgrade: WebSocket")),
              says(LEGACY, SWITCHING), gets(CLIENT, SWITCHED), *TALK),
    tunnelled("an upgrade to a protocol that nobody knows", "9110 7.8",
              says(CLIENT, request(b"GET /s HTTP/1.1", UPGRADE, b"Upgrade: chat/2, talk")),
              gets(LEGACY, request(b"GET /s HTTP/1.1", UPGRADE, b"Upgrade: chat/2, talk")),
              says(LEGACY, SWITCHING.replace(b"websocket", b"chat/2")),
              gets(CLIENT, SWITCHED.replace(b"websocket", b"chat/2")), *TALK),
    tunnelled("bytes behind a handshake wait for the switch", "9110 7.8",
              says(CLIENT, HELLO + FRAME), gets(LEGACY, ASKED), says(LEGACY, SWITCHING),
              gets(CLIENT, SWITCHED), gets_untouched(LEGACY, FRAME), *TALK),
    Case(
        name="a request behind a handshake that comes to nothing",
        section="9110 7.8",
        steps=(
            says(CLIENT, HELLO + GET), gets(LEGACY, ASKED), says(LEGACY, OK), gets(CLIENT, OK),
            gets(LEGACY, GET), says(LEGACY, OK), gets(CLIENT, OK),
        ),
    ),
    declined("an upgrade that the backend ignores", "9110 7.8", OK),
    declined("an upgrade that the backend refuses", "6455 4.2.2",
             head(b"HTTP/1.1 403 Forbidden", b"Content-Length: 2") + b"no"),
    declined("an upgrade to another version", "6455 4.4",
             head(b"HTTP/1.1 400 Bad Request", b"Sec-WebSocket-Version: 13, 8", b"Content-Length: 0")),
    declined("an upgrade that the backend answers in chunks", "9110 7.8",
             head(b"HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\n\r\n"),
    not_asked("Upgrade without Connection", WEBSOCKET),
    not_asked("Connection: Upgrade without what to", UPGRADE),
    not_asked("an upgrade to HTTP/2", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
              b"HTTP2-Settings: AAMAAABk"),
    not_asked("an upgrade to HTTP/2 among others", UPGRADE, b"Upgrade: websocket, H2C"),
    not_asked("an upgrade to HTTP/2 in a second field", UPGRADE, WEBSOCKET, b"Upgrade: h2c"),
    *(
        not_asked(f"an upgrade to {value!r}, which names no protocol", UPGRADE, b"Upgrade: " + value)
        for value in (b"h 2c", b"h2c;q=1", b"websocket h2c", b"h2c:", b"\xa0h2c", b"websocket, h2c/", b"a/1/2")
    ),
    not_asked("an upgrade to TLS", UPGRADE, b"Upgrade: TLS/1.0"),
    not_asked("an upgrade with a body", UPGRADE, WEBSOCKET, b"Content-Length: 2",
              left=(b"Content-Length: 2",), body=b"hi"),
    Case(
        name="a switch to what was not asked for",
        section="9110 15.2.2",
        steps=(
            says(CLIENT, request(b"GET /a HTTP/1.1", UPGRADE, b"Upgrade: h2c")), gets(LEGACY, GET),
            says(LEGACY, SWITCHING.replace(b"websocket", b"h2c")), told(502), finds_end(LEGACY),
        ),
    ),
    *(
        Case(
            name=f"a switch to {name} where a WebSocket was asked for",
            section="9110 15.2.2",
            steps=(
                says(CLIENT, HELLO), gets(LEGACY, ASKED),
                says(LEGACY, SWITCHING.replace(b"websocket", to)), told(502), finds_end(LEGACY),
            ),
        )
        for name, to in {"HTTP/2": b"h2c", "something else": b"chat", "both": b"h2c, websocket"}.items()
    ),
    Case(
        name="a switch without a name",
        section="9110 7.8",
        steps=(
            says(CLIENT, HELLO), gets(LEGACY, ASKED),
            says(LEGACY, head(b"HTTP/1.1 101 Switching Protocols", UPGRADE)), told(502), finds_end(LEGACY),
        ),
    ),
    Case(
        name="an upgrade of HTTP/1.0 is ignored",
        section="9110 7.8",
        steps=served(
            request(b"GET /a HTTP/1.0", UPGRADE, b"Upgrade: websocket"), GET,
            answer=OK[:-4] + CLOSE + b"\r\n\r\nok",
        ),
        last=CLOSED,
    ),
    mirrored("an upgrade does not keep a write from the other side", "9110 7.8",
             request(b"PUT /a HTTP/1.1", UPGRADE, b"Upgrade: websocket", b"Content-Length: 2", body=b"hi"), PUT),
    tunnelled("CONNECT", "9110 9.3.6", *TUNNEL, *TALK, ends(CLIENT), finds_end(LEGACY)),
    tunnelled("CONNECT, closed by the backend", "9110 9.3.6", *TUNNEL, *TALK, ends(LEGACY), finds_end(CLIENT)),
    tunnelled("bytes behind the reply to CONNECT", "9110 9.3.6",
              says(CLIENT, CONNECT), gets(LEGACY, CONNECT), says(LEGACY, CONNECTED + ECHO),
              gets(CLIENT, CONNECTED + ECHO), *TALK),
    tunnelled("lengths in a reply to CONNECT are ignored", "9110 9.3.6",
              says(CLIENT, CONNECT), gets(LEGACY, CONNECT),
              says(LEGACY, head(b"HTTP/1.1 200 OK", b"Content-Length: 5")),
              gets(CLIENT, CONNECTED.replace(b"Connection established", b"OK")), *TALK),
    unconnected("CONNECT that the backend refuses", b"HTTP/1.1 405 Method Not Allowed", b"Allow: GET",
                b"Content-Length: 0"),
    unconnected("CONNECT that asks for credentials", b"HTTP/1.1 407 Proxy Authentication Required",
                b"Proxy-Authenticate: Basic", b"Content-Length: 0"),
    tunnelled("bytes behind CONNECT wait for the reply", "9110 9.3.6",
              says(CLIENT, CONNECT + FRAME), gets(LEGACY, CONNECT), says(LEGACY, CONNECTED),
              gets(CLIENT, CONNECTED), gets_untouched(LEGACY, FRAME), *TALK),
    Case(
        name="nothing behind a refused CONNECT is a request",
        section="9110 9.3.6",
        steps=(
            says(CLIENT, CONNECT + GET), gets(LEGACY, CONNECT),
            says(LEGACY, head(b"HTTP/1.1 403 Forbidden", b"Content-Length: 0")),
            gets(CLIENT, head(b"HTTP/1.1 403 Forbidden", b"Content-Length: 0", CLOSE)),
        ),
        last=CLOSED,
    ),
    refused("CONNECT with a body", "9110 9.3.6", CONNECT[:-2] + b"Content-Length: 2\r\n\r\nhi"),
    refused("CONNECT in chunks", "9110 9.3.6", CONNECT[:-2] + CHUNKED + b"\r\n\r\n0\r\n\r\n"),
    refused("CONNECT to another host than in Host", "9112 3.2.3",
            head(b"CONNECT pay:443 HTTP/1.1", b"Host: shop:443")),
    tunnelled("CONNECT to an IPv6 address", "9112 3.2.3",
              says(CLIENT, head(b"CONNECT [::1]:443 HTTP/1.1", b"Host: [::1]:443")),
              gets(LEGACY, head(b"CONNECT [::1]:443 HTTP/1.1", b"Host: [::1]:443")),
              says(LEGACY, CONNECTED), gets(CLIENT, CONNECTED), *TALK),
    *(
        refused(f"CONNECT to {name}", "9112 3.2.3", head(b"CONNECT " + target + b" HTTP/1.1", b"Host: shop"))
        for name, target in {
            "a path": b"/a", "an absolute target": b"http://shop/", "a host without a port": b"shop",
            "a user": b"me@shop:443", "an asterisk": b"*", "a host and a path": b"shop:443/a",
            "a port of letters": b"shop:https", "a port without a host": b":443",
        }.items()
    ),
    tunnelled("events come one by one", "9112 7.1",
              says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, EVENTS), gets(CLIENT, EVENTS),
              says(LEGACY, EVENT), gets(CLIENT, EVENT), says(LEGACY, EVENT), gets(CLIENT, EVENT),
              says(LEGACY, b"0\r\n\r\n"), gets(CLIENT, b"0\r\n\r\n"), *served(GET)),
    tunnelled("events until the connection ends", "9112 6.3",
              says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, EVENTS_TO_THE_END),
              gets(CLIENT, EVENTS_TO_THE_END[:-2] + CLOSE + b"\r\n\r\n"),
              says(LEGACY, b"data: 1\n\n"), gets(CLIENT, b"data: 1\n\n"),
              says(LEGACY, b"data: 2\n\n"), gets(CLIENT, b"data: 2\n\n"), ends(LEGACY), finds_end(CLIENT)),
    tunnelled("events in reply to a write", "9112 7.1",
              says(CLIENT, PUT), gets(LEGACY, PUT), says(LEGACY, EVENTS + EVENT), gets(CLIENT, EVENTS + EVENT),
              gets(NEW, PUT), says(NEW, OK),
              says(LEGACY, EVENT), gets(CLIENT, EVENT), says(LEGACY, b"0\r\n\r\n"), gets(CLIENT, b"0\r\n\r\n"),
              *served(GET)),
    tunnelled("a client that leaves a stream of events", "9112 9.5",
              says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, EVENTS + EVENT), gets(CLIENT, EVENTS + EVENT),
              breaks(CLIENT), finds_end(LEGACY)),
    tunnelled("pieces of a download come as they are", "9112 6.3",
              says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, OK[:-2]), gets(CLIENT, OK[:-2]),
              says(LEGACY, b"o"), gets(CLIENT, b"o"), says(LEGACY, b"k"), gets(CLIENT, b"k"), *served(GET)),
]  # fmt: skip


@table(CASES)
def test_a_tunnel_is_between_the_client_and_the_primary(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
