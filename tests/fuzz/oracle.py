"""Two parsers that know nothing of ours, llhttp and h11: what they read in bytes, message by message."""

from dataclasses import dataclass, field

import h11
import httptools

Fields = list[tuple[bytes, bytes]]


def seen(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A field as it is compared; h11 shows the value of Transfer-Encoding in lower case."""
    return name, value.lower() if name == b"transfer-encoding" else value


class Refused(Exception):
    """The parser takes the bytes for no HTTP."""


class Stricter(Refused):
    """llhttp does not take a chunk extension, about which nobody can disagree (RFC 9112 7.1.1: ignore it)."""


@dataclass
class Message:
    """One message as a parser sees it: `start` is (method, target), or (status, "")."""

    start: tuple[bytes, bytes] = (b"", b"")
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


class Llhttp:
    """llhttp, strict as it comes; `feed` any pieces, `messages` is what was read so far."""

    def __init__(self, *, replies: bool = False) -> None:
        self.messages: list[Message] = []
        self._in_head = True
        kind = httptools.HttpResponseParser if replies else httptools.HttpRequestParser
        self._parser = kind(self)

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            kind = Stricter if "chunk extensions" in str(error) else Refused
            raise kind(str(error)) from error

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        self._in_head = True
        self.messages.append(Message())

    def on_url(self, url: bytes) -> None:
        message = self.messages[-1]
        message.start = (b"", message.start[1] + url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer
            self.messages[-1].fields.append(seen(name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._in_head = False
        message = self.messages[-1]
        if isinstance(self._parser, httptools.HttpRequestParser):
            message.start = (self._parser.get_method(), message.start[1])
        else:
            message.start = (b"%d" % self._parser.get_status_code(), b"")

    def on_body(self, data: bytes) -> None:
        self.messages[-1].body += data

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True


def llhttp(stream: bytes, *, replies: bool = False) -> list[Message]:
    """What llhttp reads; raises Refused."""
    parser = Llhttp(replies=replies)
    parser.feed(stream)
    return parser.messages


def h11_requests(stream: bytes) -> list[Message]:
    """What h11 reads as a server; raises Refused."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    found: list[Message] = []
    try:
        while isinstance(event := connection.next_event(), h11.Request):
            message = Message((event.method, event.target), list(event.headers))
            found.append(message)
            message.complete = _h11_body(connection, message)
            if not message.complete:
                break
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from error
    return found


def h11_reply(stream: bytes, method: str, *, ended: bool) -> Message | None:
    """What h11 reads as the client that asked; None while there is no head; raises Refused."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    if stream:  # nothing would be the end
        connection.receive_data(stream)
    if ended:
        connection.receive_data(b"")
    try:
        while isinstance(event := connection.next_event(), h11.InformationalResponse):
            pass
        if not isinstance(event, h11.Response):
            return None
        message = Message((b"%d" % event.status_code, b""), list(event.headers))
        message.complete = _h11_body(connection, message)
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from error
    return message


def _h11_body(connection: h11.Connection, message: Message) -> bool:
    while isinstance(event := connection.next_event(), h11.Data):
        message.body += bytes(event.data)
    return isinstance(event, h11.EndOfMessage)
