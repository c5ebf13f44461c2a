"""HTTP/1.1 as Go's net/http writes it, byte by byte: and every byte that comes back counts."""

import json
import socket
from typing import BinaryIO
from urllib.parse import urlsplit

from tests.clients.cases import UNSEEN, Case, Reply, Step

BOUNDARY = "6f1b"
PIECE = 32_768  # io.Copy's buffer: so long are its chunks


def by_raw_bytes(url: str, case: Case, name: str) -> list[Reply]:
    """Headers are compared as they came: names' case, order and duplicates, too."""
    where = urlsplit(url)
    address = (where.hostname or "", where.port or 0)
    replies: list[Reply] = []
    line: socket.socket | None = None
    for step in case.steps:
        line = line or socket.create_connection(address, timeout=10)
        with line.makefile("rb") as reader:
            answer, kept = _ask(line, reader, case, step, f"{address[0]}:{address[1]}", name)
        replies.append(answer)
        if not kept:
            assert line.recv(1) == b"", "more than the reply came"
            line.close()
            line = None
    if line is not None:
        line.close()
    return replies


def _ask(
    line: socket.socket, reader: BinaryIO, case: Case, step: Step, host: str, name: str
) -> tuple[Reply, bool]:
    """The reply to one request, and whether the connection stays."""
    headers, body = _body(step)
    version = "1.0" if case.old else "1.1"
    lines = [
        f"{step.method} {step.path} HTTP/{version}",
        f"Host: {host}",
        "User-Agent: Go-http-client/1.1",
    ]
    lines += [
        *headers,
        f"X-Case: {name}",
        *(f"{key}: {value}" for key, value in step.headers.items()),
    ]
    lines += ["Expect: 100-continue"] if step.expect else []
    lines += [] if "Accept-Encoding" in step.headers else ["Accept-Encoding: gzip"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if step.expect:
        line.sendall(head)
        assert _head(reader)[0].startswith(b"HTTP/1.1 100 ")
        line.sendall(body)
    else:
        line.sendall(head + body)
    return _reply(reader, step)


def _body(step: Step) -> tuple[list[str], bytes]:
    if step.form is not None and step.file is not None:
        parts = [f'name="{key}"\r\n\r\n{value}' for key, value in step.form.items()]
        told = "".join(
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts
        )
        file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{step.file[0]}"\r\n'
        whole = (
            (told + file).encode()
            + b"Content-Type: application/octet-stream\r\n\r\n"
            + step.file[1]
        )
        whole += f"\r\n--{BOUNDARY}--\r\n".encode()
        return [
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {len(whole)}",
        ], whole
    if step.json is not None:
        whole = json.dumps(step.json).encode()
        return ["Content-Type: application/json", f"Content-Length: {len(whole)}"], whole
    if step.body is None:
        return [], b""
    if step.chunked:
        pieces = [step.body[at : at + PIECE] for at in range(0, len(step.body), PIECE)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return ["Transfer-Encoding: chunked", "Trailer: X-Sum"], chunks + b"0\r\nX-Sum: 1\r\n\r\n"
    return [f"Content-Length: {len(step.body)}"], step.body


def _head(reader: BinaryIO) -> list[bytes]:
    lines = []
    while line := reader.readline().rstrip(b"\r\n"):
        lines.append(line)
    return lines


def _reply(reader: BinaryIO, step: Step) -> tuple[Reply, bool]:
    first, *lines = _head(reader)
    pairs = [(line.split(b": ", 1)[0], line.split(b": ", 1)[1]) for line in lines]
    named = {key.lower(): value for key, value in pairs}
    kept = first.startswith(b"HTTP/1.1") and named.get(b"connection") != b"close"
    if step.method == "HEAD" or first[9:12] in (b"204", b"304"):
        body = b""
    elif named.get(b"transfer-encoding") == b"chunked":
        body = _chunks(reader)
    else:
        body = (
            reader.read(int(named[b"content-length"]))
            if b"content-length" in named
            else reader.read()
        )
    told = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in pairs]
    seen = tuple(pair for pair in told if pair[0].lower() not in UNSEEN)
    return Reply(int(first[9:12]), (("", first[13:].decode()), *seen), body), kept


def _chunks(reader: BinaryIO) -> bytes:
    """The chunks as they are framed, trailers included."""
    found = b""
    while True:
        line = reader.readline()
        size = int(line, 16)
        found += line
        if not size:
            break
        found += reader.read(size + 2)
    while line := reader.readline():
        found += line
        if line == b"\r\n":
            break
    return found
