"""What of a body may be kept as evidence: it is read by its content type, and redacted (`rules.redact`).

Law: what cannot be searched for secrets is not kept, only its length and keyed digest.
"""

import math
import re
from urllib.parse import unquote_plus

from msgspec import DecodeError, msgpack

from rules.redact import DEPTH_MAX, NOT_SEARCHED, Masker, Path, written

SEARCHED_MAX = 262_144
"""Bytes of a body that is searched; a longer one is only measured: the time must stay bounded."""

READ_MAX = 20_480
"""Characters of a body that are masked, 4,096 more than are kept: no secret is cut at the end of that."""

MEASURED = re.compile(rb"<[0-9]+ bytes, digest [a-p]{16}>")
"""What stands for a body that could not be read."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BOUNDARY = re.compile(r";\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;,\"]{1,70}))", re.IGNORECASE)
_PART_NAME = re.compile(r";\s*name=(?:\"([^\"]*)\"|([^\s;\"]*))", re.IGNORECASE)
_PART_TYPE = re.compile(r"^content-type:(.*)$", re.IGNORECASE | re.MULTILINE)
_FORM = "application/x-www-form-urlencoded"
_LINES = frozenset(
    f"application/{name}" for name in ("x-ndjson", "ndjson", "jsonl", "jsonlines", "x-jsonlines")
)
_MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


class Reader(Masker):
    """Reads a body, and masks what it finds."""

    def body(self, body: bytes, content_type: str, depth: int = 0) -> bytes:
        """Hide sensitive fields and secrets of a body. Never raises.

        JSON, also line by line, is written anew, msgpack as JSON; forms and multipart keep their form.
        Other text is kept only where no sensitive name is mentioned in it. Binary, damaged, long and
        deeply nested bodies, and all the rest, become b"<N bytes, digest ...>".
        """
        if not body or MEASURED.fullmatch(body):
            return body
        if len(body) <= SEARCHED_MAX and depth < DEPTH_MAX:
            self.left = READ_MAX
            try:
                return self.searched(body, content_type, depth)
            except (*NOT_SEARCHED, DecodeError):
                pass  # damaged, or nested too deeply: not to be searched, so not to be kept
            finally:
                self.left = math.inf
        return self.measured(body)

    def searched(self, body: bytes, content_type: str, depth: int) -> bytes:
        """Redact by the content type. Raises ValueError and others for what cannot be searched."""
        media = content_type.partition(";")[0].strip().lower()
        path: Path | None = () if self.redaction.paths else None
        if media in _MSGPACK:
            return written(self.member(self.plain(msgpack.decode(body)), path, depth)).encode()
        if media.startswith("multipart/"):
            return self.multipart(body, content_type, depth)
        text = body.decode().removeprefix("\ufeff")
        if media in _LINES:
            lines = [
                self.json(line, path, depth) if line.strip() else "" for line in text.split("\n")
            ]
            return "\n".join(lines).encode()
        if _is_json(media) or text.lstrip()[:1] in ("{", "["):
            return self.json(text, path, depth).encode()
        if media == _FORM:
            return self.form(text[:READ_MAX], path, depth).encode()
        return self.prose(text).encode()

    def prose(self, text: str) -> str:
        """Redact text without a form; raises ValueError where a sensitive name is mentioned in it."""
        decoded = unquote_plus(text)
        if _CONTROL.search(text) or self.mentions(text) or ("%" in text and self.mentions(decoded)):
            raise ValueError("it mentions a sensitive name")
        shown = self.scan(self.links(text[:READ_MAX], 0))
        decoded = unquote_plus(shown)
        if decoded != shown and self.scan(decoded) != decoded:
            raise ValueError("a secret is percent-encoded in it")
        return shown

    def multipart(self, body: bytes, content_type: str, depth: int) -> bytes:
        """Redact each part by its name and its own content type (RFC 2046 5.1, RFC 7578)."""
        found = _BOUNDARY.search(content_type)
        delimiter = b"--" + (found[1] or found[2]).encode() if found else b""
        first, *parts, last = body.split(delimiter) if found else (b"", b"")
        if not parts or first.strip() or last.strip() != b"--":
            raise ValueError("no multipart, or something around it")
        return delimiter.join([b"", *(self.part(part, depth) for part in parts), b"--\r\n"])

    def part(self, part: bytes, depth: int) -> bytes:
        head, empty, content = part.partition(b"\r\n\r\n")
        if not empty or not part.startswith(b"\r\n") or not content.endswith(b"\r\n"):
            raise ValueError("a part has no head")
        lines = head.decode().removeprefix("\r\n").split("\r\n")
        content = content.removesuffix(b"\r\n")
        name, media = _first(_PART_NAME, lines), _first(_PART_TYPE, lines)
        if self.sensitive(name) or (self.redaction.paths and self.named((name,))):
            shown = self.hidden(content.decode()).encode()
        else:
            shown = self.body(content, media, depth + 1)
        shown_lines = [self.text(line, depth + 1) for line in lines]
        return "\r\n".join(["", *shown_lines, "", ""]).encode() + shown + b"\r\n"

    def plain(self, value: object) -> object:
        """What msgpack held as JSON has it; bytes and extensions as their length and digest."""
        if isinstance(value, dict):
            return {self.member_name(name): self.plain(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(each) for each in value]
        if value is None or isinstance(value, str | int | float):
            return value
        return self.measured(value if isinstance(value, bytes) else repr(value).encode()).decode()

    def member_name(self, name: object) -> str:
        """A name in msgpack may be bytes, or no text at all."""
        if isinstance(name, bytes):
            return name.decode("utf-8", "backslashreplace")
        return str(self.plain(name))


def _first(pattern: re.Pattern[str], lines: list[str]) -> str:
    for line in lines:
        found = pattern.search(line)
        if found is not None:
            return next((group for group in found.groups() if group), "")
    return ""


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")
