"""From the bodies of two replies to two documents that can be compared field by field.

Law: what a body is follows from its Content-Type and, where that is silent, from its bytes; both bodies
are read in one way, or not at all. What cannot be read is `Unreadable`, or has no document.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qsl

from msgspec import Struct

from rules.checksum import Whole
from rules.coding import Unreadable
from rules.parsing import parse_json, parse_msgpack
from rules.pointer import MISSING, Missing

PARTS_MAX = 10_000
"""Fields of a form, parts of a multipart body."""

TYPES_MAX = 64
"""Values of Content-Type whose meaning is remembered."""

_CHARSETS: Mapping[str, str] = {
    "": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8",
    "iso-8859-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252",
}  # fmt: skip
_MARKUP = frozenset(
    {"application/xml", "application/javascript", "application/yaml", "application/toml"}
)
_LINES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"}
)
_MSGPACK = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
_FORM = "application/x-www-form-urlencoded"
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_FOLD = re.compile(r"\r\n[ \t]+")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


class Format(StrEnum):
    """How bodies were read."""

    JSON = "json"
    MSGPACK = "msgpack"
    NDJSON = "ndjson"
    FORM = "form"
    MULTIPART = "multipart"
    TEXT = "text"
    BYTES = "bytes"


_Formats = tuple[Format | None, Format | None]


class Answer(Struct, frozen=True, gc=False):
    """What is compared of a reply: header names in lower case, the body without chunk framing.

    `truncated` says that `body` is only the start of it; `whole`, where it is known, what all of it was.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False
    whole: Whole | None = None

    @property
    def content_type(self) -> str:
        """The value of its Content-Type; "" where it has none."""
        return self.headers.get("content-type", "")

    def parameter(self, name: str) -> str:
        """A parameter of the media type; "" where it has none of this name."""
        return parameters(self.content_type).get(name, "")


class Documents(Struct, frozen=True, gc=False):
    """Two documents, and how they were read. Of `bytes` there are none: the bodies differ as a whole."""

    format: Format
    primary: object = None
    secondary: object = None


def parameters(value: str) -> dict[str, str]:
    """The parameters of a field value (RFC 9110 5.6.6), names in lower case, the last one counts."""
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(value)
    }


def _media(content_type: str) -> str:
    """The media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def documents(primary: Answer, secondary: Answer) -> Documents:
    """Read two decoded bodies in the same way. Raises Unreadable where they cannot be trusted to mean one thing."""
    answers = (primary, secondary)
    formats = (_declared(primary.content_type), _declared(secondary.content_type))
    if formats[0] in _TREES or formats[1] in _TREES:
        found = _trees(answers, formats)
        return found or _lines(answers) or Documents(Format.BYTES)
    if formats == (Format.FORM, Format.FORM):
        return Documents(Format.FORM, _form(primary.body), _form(secondary.body))
    if formats == (Format.MULTIPART, Format.MULTIPART):
        ours, theirs = _multipart(primary), _multipart(secondary)
        if ours is not None and theirs is not None:
            return Documents(Format.MULTIPART, ours, theirs)
    if Format.NDJSON in formats or all(_like_json(answer) for answer in answers):
        found = _guessed(answers)
        if found is not None:
            return found
    if Format.BYTES not in formats:
        return _texts(answers)
    return Documents(Format.BYTES)


@lru_cache(TYPES_MAX)
def _declared(content_type: str) -> Format | None:
    """What the media type says; None where it says nothing that is known."""
    media = _media(content_type)
    if media == "application/json" or media.endswith("+json"):
        return Format.JSON
    if media in _MSGPACK or media.endswith("+msgpack"):
        return Format.MSGPACK
    if media in _LINES:
        return Format.NDJSON
    if media == _FORM:
        return Format.FORM
    if media.startswith("multipart/"):
        return Format.MULTIPART
    if media.startswith("text/") or media in _MARKUP or media.endswith(("+xml", "+yaml")):
        return Format.TEXT
    return Format.BYTES if media else None


_JSON, _MSGPACKED = Format.JSON, Format.MSGPACK
_TREES = (_JSON, _MSGPACKED)


def _like_json(answer: Answer) -> bool:
    return answer.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def _trees(answers: tuple[Answer, Answer], formats: _Formats) -> Documents | None:
    """Read each as it declares, JSON where it declares nothing; None where one is no such thing."""
    primary, secondary = answers
    ours, theirs = formats[0] is _MSGPACKED, formats[1] is _MSGPACKED
    one = parse_msgpack(primary.body) if ours else parse_json(primary.body)
    other = parse_msgpack(secondary.body) if theirs else parse_json(secondary.body)
    if one is MISSING or other is MISSING:
        return None
    return Documents(_MSGPACKED if ours and theirs else _JSON, one, other)


def _guessed(answers: tuple[Answer, Answer]) -> Documents | None:
    """Read as JSON or lines of JSON what looks like it; None where that is in doubt."""
    try:
        return _trees(answers, (_JSON, _JSON)) or _lines(answers)
    except Unreadable:
        if any(_declared(answer.content_type) is Format.NDJSON for answer in answers):
            raise
        return None


def _lines(answers: tuple[Answer, Answer]) -> Documents | None:
    """Read both as JSON documents, one in a line."""
    found = []
    for answer in answers:
        if not _like_json(answer) and answer.body.strip():
            return None
        rows: list[object | Missing] = []
        for line in answer.body.split(b"\n"):
            if line.strip():
                rows.append(parse_json(line.strip()))
                if rows[-1] is MISSING:
                    return None
        found.append(rows)
    return Documents(Format.NDJSON, *found) if max(map(len, found)) > 1 else None


def _form(data: bytes) -> dict[str, list[str]]:
    """Parse a form to name -> values, by name; bytes that are no UTF-8 stay distinct."""
    try:
        pairs = parse_qsl(
            data.decode("utf-8", "surrogateescape"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=PARTS_MAX,
        )
    except ValueError:
        raise Unreadable("form_too_many_fields") from None
    found: dict[str, list[str]] = {}
    for name, value in sorted(pairs, key=lambda pair: pair[0]):
        found.setdefault(name, []).append(value)
    return found


def _multipart(answer: Answer) -> object | None:
    """Parse a multipart body (RFC 2046 5.1): form-data by name, others in order; None if it is none."""
    boundary = answer.parameter("boundary").encode("utf-8", "replace")
    if not boundary:
        return None
    delimiter = b"\r\n--" + boundary
    pieces = (b"\r\n" + answer.body).split(delimiter, PARTS_MAX + 1)
    if len(pieces) > PARTS_MAX + 1:
        raise Unreadable("multipart_too_many_parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    inner = [piece.lstrip(b" \t") for piece in pieces[1:-1]]
    if not all(piece.startswith(b"\r\n") for piece in inner):  # no whole delimiter, or an early end
        return None
    parts = [_part(piece) for piece in inner]
    if _media(answer.content_type) != "multipart/form-data":
        return [part for _, part in parts]
    found: dict[str, list[object]] = {}
    for name, part in sorted(parts, key=lambda pair: pair[0]):
        found.setdefault(name, []).append(part)
    return found


def _part(piece: bytes) -> tuple[str, dict[str, object]]:
    """The name of a part, and what there is of it; bytes that are no UTF-8 stay distinct."""
    head, _, data = piece.partition(b"\r\n\r\n")
    headers = _part_headers(head.decode("utf-8", "surrogateescape"))
    part: dict[str, object] = {"value": data.decode("utf-8", "surrogateescape")}
    name = ""
    if (disposition := headers.pop("content-disposition", None)) is not None:
        given, rest = _disposition(disposition)
        name = given.pop("name", "")
        part |= given
        if rest != "form-data":
            headers["content-disposition"] = rest
    if "content-type" in headers:
        part["content-type"] = headers.pop("content-type")
    return name, part | ({"headers": headers} if headers else {})


def _disposition(value: str) -> tuple[dict[str, str], str]:
    """The name and filename of a Content-Disposition, and the rest of it: all, where it is malformed."""
    kind, semicolon, rest = value.partition(";")
    given = parameters(semicolon + rest)
    found = _PARAMETER.findall(semicolon + rest)
    named: dict[str, str] = {
        name: given.pop(name) for name in ("name", "filename") if name in given
    }
    if len(found) > len(named) + len(given) or _PARAMETER.sub("", semicolon + rest).strip(" \t;"):
        return named, value
    others = (f"; {name}={text}" for name, text in sorted(given.items()))
    return named, "".join((kind.strip().lower(), *others))


def _part_headers(head: str) -> dict[str, str]:
    """The fields of a part by name in lower case; folded lines are one (RFC 5322 2.2.3)."""
    found: dict[str, str] = {}
    for line in filter(None, _FOLD.sub(" ", head).split("\r\n")):
        name, _, value = (text.strip() for text in line.partition(":"))
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _texts(answers: tuple[Answer, Answer]) -> Documents:
    """Read both as text, line by line where one has several lines; else they are bytes."""
    texts = []
    for answer in answers:
        charset = _CHARSETS.get(answer.parameter("charset").lower())
        try:
            text = answer.body.decode(charset or "utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            return Documents(Format.BYTES)
        if charset is None or _CONTROLS.search(text):
            return Documents(Format.BYTES)
        texts.append(text)
    lines = [text.replace("\r\n", "\n").split("\n") for text in texts]
    if max(map(len, lines)) == 1:
        return Documents(Format.TEXT, *texts)
    return Documents(Format.TEXT, *lines)
