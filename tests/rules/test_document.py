"""Documents: what a body is read as, by its type and by its looks; both sides in one way."""

import json

import msgpack
import pytest

from rules.coding import Unreadable
from rules.document import PARTS_MAX, Answer, Documents, Format, documents, parameters

FORM = "application/x-www-form-urlencoded"


def read(
    primary: bytes, secondary: bytes, types: str | tuple[str, str] = "application/json"
) -> Documents:
    ours, theirs = (types, types) if isinstance(types, str) else types
    answers = (
        Answer(200, {"content-type": content_type} if content_type else {}, body)
        for body, content_type in ((primary, ours), (secondary, theirs))
    )
    return documents(*answers)


@pytest.mark.parametrize(
    ("content_type", "body", "format_", "document"),
    [
        ("application/json", b'{"a":1}', Format.JSON, {"a": 1}),
        ("Application/Problem+JSON; x=y", b"[1]", Format.JSON, [1]),
        ("", b' {"a":1}', Format.JSON, {"a": 1}),
        ("text/plain", b"[1]", Format.JSON, [1]),
        ("application/octet-stream", b"[1]", Format.JSON, [1]),
        ("application/json", b'{"a":1}\n{"a":2}\n', Format.NDJSON, [{"a": 1}, {"a": 2}]),
        ("application/x-ndjson", b"[1]\r\n\n[2]", Format.NDJSON, [[1], [2]]),
        ("", b'{"a":1}\n{"a":2}', Format.NDJSON, [{"a": 1}, {"a": 2}]),
        ("application/msgpack", msgpack.packb({"a": [1]}), Format.MSGPACK, {"a": [1]}),
        ("application/vnd.x+msgpack", msgpack.packb(1), Format.MSGPACK, 1),
        (FORM, b"b=%20&a=2&a=1&c", Format.FORM, {"a": ["2", "1"], "b": [" "], "c": [""]}),
        ("text/plain", b"one", Format.TEXT, "one"),
        ("text/html", b"<p>\r\none\n", Format.TEXT, ["<p>", "one", ""]),
        ("application/atom+xml", b"<a/>", Format.TEXT, "<a/>"),
        ("text/plain; charset=ISO-8859-1", b"\xe9", Format.TEXT, "é"),
        ("text/plain; charset=utf-8", b"\xef\xbb\xbfx", Format.TEXT, "x"),
        ("", b"plain", Format.TEXT, "plain"),
        ("text/plain", b"{oops", Format.TEXT, "{oops"),
        ("application/json", b"{oops", Format.BYTES, None),
        ("application/json", b"", Format.BYTES, None),
        ("application/msgpack", b"\xc1", Format.BYTES, None),
        ("text/plain", b"\xe9", Format.BYTES, None),
        ("text/plain; charset=utf-16", b"\xff\xfea\0", Format.BYTES, None),
        ("", b"\0\1", Format.BYTES, None),
        ("image/png", b"plain", Format.BYTES, None),
        ("multipart/form-data", b"--x--", Format.TEXT, "--x--"),
    ],
)
def test_a_body_is_read_as_what_it_is(
    content_type: str, body: bytes, format_: Format, document: object
) -> None:
    assert read(body, body, content_type) == Documents(format_, document, document)


@pytest.mark.parametrize(
    ("bodies", "types", "format_"),
    [
        ((b"[1]", msgpack.packb([1])), ("application/json", "application/msgpack"), Format.JSON),
        ((b"[1]", b"[1] "), ("application/json", "text/html"), Format.JSON),
        ((b"[1]", b"<html>"), ("application/json", "text/html"), Format.BYTES),
        ((b"a=1", b"a=1"), (FORM, "text/plain"), Format.TEXT),
        ((b"x", b"x"), ("text/plain", "image/png"), Format.BYTES),
        ((b"[1]\n[2]", b""), ("application/x-ndjson", "application/x-ndjson"), Format.NDJSON),
    ],
    ids=["two trees", "undeclared", "an error page", "form or text", "text or image", "no lines"],
)
def test_two_types_are_read_in_one_way_or_not_at_all(
    bodies: tuple[bytes, bytes], types: tuple[str, str], format_: Format
) -> None:
    assert read(*bodies, types).format is format_


def test_msgpack_and_json_can_mean_the_same() -> None:
    found = read(b'{"a":[1,null]}', msgpack.packb({"a": [1, None]}), ("a/b+json", "a/b+msgpack"))
    assert found.primary == found.secondary


def test_declared_lines_that_mean_two_things_are_refused_and_guessed_ones_are_text() -> None:
    bodies = (b'{"a":1,"a":1}\n[1]', b"[1]\n[2]")
    with pytest.raises(Unreadable, match=r"^json_duplicate_key$"):
        read(*bodies, "application/x-ndjson")
    assert read(*bodies, "text/plain").format is Format.TEXT


def multipart(boundary: str, *parts: tuple[str, str]) -> bytes:
    lines = [f"--{boundary}\r\n{head}\r\n\r\n{value}\r\n" for head, value in parts]
    return ("preamble\r\n" + "".join(lines) + f"--{boundary}--\r\nepilogue").encode()


NAMED = ('Content-Disposition: form-data; name="a"', "1")
FILE = (
    'content-disposition: form-data; name=b; filename="x \\"y\\".txt"\r\nContent-Type: text/plain',
    "--\r\ntext",
)


def test_form_data_is_read_by_name_and_its_boundary_means_nothing() -> None:
    one, other = multipart("X", NAMED, FILE), multipart("YY", FILE, NAMED)
    types = ("multipart/form-data; boundary=X", 'multipart/form-data; boundary="YY"')
    found = read(one, other, types)
    assert found.format is Format.MULTIPART
    assert found.primary == found.secondary
    assert found.primary == {
        "a": [{"value": "1"}],
        "b": [{"value": "--\r\ntext", "filename": 'x "y".txt', "content-type": "text/plain"}],
    }


def test_other_parts_are_in_order() -> None:
    body = multipart("X", ("Content-Type: text/plain", "1"), ("X-A: b", ""))
    found = read(body, body, "multipart/mixed; boundary=X")
    assert found.primary == [
        {"value": "1", "content-type": "text/plain"},
        {"value": "", "headers": {"x-a": "b"}},
    ]


FIELD = "Content-Disposition: form-data; name=a"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Content-ID: <1>", "Content-ID: <2>", False),
        ("Content-Range: bytes 0-1/9", "content-range:  bytes 0-1/9", True),
        ("Content-Transfer-Encoding: base64", "X-A: b", False),
        ("X-A: b\r\nX-B: c", "X-B: c\r\nX-A: b", True),
        ("X-A: b\r\nX-A: c", "X-A: c", False),
        ("X-A: b\r\n c", "X-A: b c", True),
        ("no field", "another", False),
        (FIELD, 'content-disposition:form-data;name="a"', True),
        (f"{FIELD}; filename*=UTF-8''a", f"{FIELD}; filename*=UTF-8''b", False),
        (f"{FIELD}; x=1; y=2", f"{FIELD}; y=2; x=1", True),
        (f"{FIELD}; x=1; x=2", f"{FIELD}; x=3; x=2", False),
        (f"{FIELD}; odd", FIELD, False),
        (FIELD, "Content-Disposition: attachment; name=a", False),
    ],
)
@pytest.mark.parametrize("media", ["multipart/form-data", "multipart/mixed"])
def test_all_that_the_head_of_a_part_says_counts(
    media: str, one: str, other: str, equal: bool
) -> None:
    found = read(multipart("X", (one, "v")), multipart("X", (other, "v")), f"{media}; boundary=X")
    assert found.format is Format.MULTIPART
    assert (found.primary == found.secondary) is equal


def test_bytes_of_a_part_that_are_no_text_stay_distinct() -> None:
    type_ = "multipart/mixed; boundary=X"
    bodies = [
        b"--X\r\n\r\n%s\r\n--X--" % data for data in (b"\xff", b"\\xff", b"\xfe", b"\xc3\xbf")
    ]
    found = [json.dumps(read(body, body, type_).primary) for body in bodies]
    assert len(set(found)) == len(bodies)


@pytest.mark.parametrize(
    "body",
    [b"--X\r\n\r\nv\r\n--X--\r\nw\r\n--X--", b"--X\r\n\r\nv\r\n--Xy\r\n\r\nw\r\n--X--"],
    ids=["two ends", "a longer boundary"],
)
def test_parts_that_may_end_in_two_ways_are_compared_as_bytes(body: bytes) -> None:
    found = read(body, body, "multipart/mixed; boundary=X")
    assert found.format is Format.TEXT or found.format is Format.BYTES


def test_a_part_may_have_no_head() -> None:
    found = read(b"--X\r\n\r\nv\r\n--X--", b"--X\r\n\r\nv\r\n--X--", "multipart/mixed; boundary=X")
    assert found.primary == [{"value": "v"}]


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (FORM, b"a&" * (PARTS_MAX + 1), "form_too_many_fields"),
        ("multipart/x; boundary=X", b"--X\r\n\r\n" * (PARTS_MAX + 2), "multipart_too_many_parts"),
    ],
)
def test_too_many_parts_are_refused(content_type: str, body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        read(body, body, content_type)


def test_parameters_are_unquoted() -> None:
    assert parameters('a/b; X=1; y="a;\\"b"; x = 2') == {"x": "2", "y": 'a;"b'}


def test_a_long_line_of_openings_is_read_in_time() -> None:
    body = b"[" * 60_000 + b"\n" + b"[" * 60_000
    with pytest.raises(Unreadable):
        read(body, body)
    assert json.dumps(read(body, body, "text/plain").primary)
