"""Sources: reading a value where it stands, and writing another one there and nowhere else."""

import json
from collections.abc import Mapping
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.coding import Unreadable
from rules.framing import fields
from rules.source import Parts, Place, Source, parse_source, read, read_all, write

HEAD = (
    b"POST /orders/42 HTTP/1.1\r\nHost: shop\r\nX-Order:  42 \r\nX-order: 43\r\n"
    b"Location: http://shop/v1/orders/a%20b/?x=1#top\r\nX-Utf: caf\xc3\xa9\r\nX-Latin: caf\xe9\r\n\r\n"
)


def parts(
    target: str = "/orders/42?of=7",
    payload: bytes = b"",
    captures: Mapping[str, tuple[int, int]] | None = None,
    head: bytes = HEAD,
) -> Parts:
    return Parts(target=target, head=head, payload=payload, captures=captures or {})


def read_json(pointer: str, payload: bytes) -> str | None:
    return read(parse_source(f"json:{pointer}"), parts(payload=payload))


def write_json(pointer: str, payload: bytes, value: str) -> bytes:
    return write(parse_source(f"json:{pointer}"), parts(payload=payload), value).payload


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("path:id", Source(Place.PATH, "id")),
        ("json:/a/b~1c/0", Source(Place.JSON, "/a/b~1c/0", ("a", "b/c", "0"))),
        ("header:X-Id", Source(Place.HEADER, "X-Id")),
        ("form:order[id]", Source(Place.FORM, "order[id]")),
        ("query:a:b", Source(Place.QUERY, "a:b")),
    ],
)
def test_a_source_is_written_as_place_and_name(text: str, source: Source) -> None:
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize("text", ["", "id", "path:", "cookie:a", "PATH:id", ":id", "json:a"])
def test_what_is_no_source_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|pointer|/"):
        parse_source(text)


@pytest.mark.parametrize(
    ("target", "span", "value"),
    [
        ("/orders/42", (8, 10), "42"),
        ("/orders/a%2Fb", (8, 13), "a/b"),
        ("/orders/caf%C3%A9", (8, 17), "caf\u00e9"),
        ("/orders/caf\xc3\xa9", (8, 13), "caf\u00e9"),
        ("/orders/a+b", (8, 11), "a+b"),
        ("/orders/%FF", (8, 11), "\\xff"),
        ("/orders/", (8, 8), ""),
    ],
)
def test_a_path_capture_is_read_decoded(target: str, span: tuple[int, int], value: str) -> None:
    assert read(Source(Place.PATH, "id"), parts(target, captures={"id": span})) == value


def test_bytes_that_are_not_utf_8_stay_different_values() -> None:
    values = {
        read(Source(Place.PATH, "id"), parts(f"/{code}", captures={"id": (1, 4)}))
        for code in ("%FF", "%FE", "%80")
    }
    assert len(values) == 3


def test_a_path_capture_is_written_and_the_others_move() -> None:
    captures = {"a": (1, 3), "b": (4, 6), "c": (7, 7)}
    written = write(Source(Place.PATH, "a"), parts("/xx/yy/?q=xx", captures=captures), "a/b \u00e9")
    assert written.target == "/a%2Fb%20%C3%A9/yy/?q=xx"
    assert [read(Source(Place.PATH, name), written) for name in "abc"] == ["a/b \u00e9", "yy", ""]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-order", "42"),
        ("X-None", None),
        ("location", "a b"),
        ("x-utf", "caf\u00e9"),
        ("x-latin", "caf\u00e9"),
    ],
)
def test_the_first_header_of_a_name_is_read(name: str, value: str | None) -> None:
    assert read(Source(Place.HEADER, name), parts()) == value


@pytest.mark.parametrize(
    ("location", "value"),
    [
        ("/orders/7", "7"),
        ("7", "7"),
        ("/orders/7/", "7"),
        ("http://shop/orders/7?to=/8", "7"),
        ("/orders/7#/8", "7"),
        ("/", None),
        ("", None),
    ],
)
def test_of_a_location_the_last_segment_is_the_value(location: str, value: str | None) -> None:
    head = f"HTTP/1.1 201 Created\r\nLocation: {location}\r\n\r\n".encode()
    assert read(Source(Place.HEADER, "Location"), parts(head=head)) == value


def test_a_header_is_written_in_its_first_field_only() -> None:
    written = write(Source(Place.HEADER, "x-order"), parts(), "99")
    assert written.head == HEAD.replace(b"42 \r\n", b"99\r\n")
    assert write(Source(Place.HEADER, "X-None"), parts(), "99").head == HEAD


def test_of_a_location_only_the_last_segment_is_written() -> None:
    written = write(Source(Place.HEADER, "Location"), parts(), "c/d")
    assert written.head == HEAD.replace(b"a%20b", b"c%2Fd")


def test_no_value_can_add_a_header() -> None:
    written = write(Source(Place.HEADER, "X-Order"), parts(), "1\r\nX-Evil: 1\n\0\x7f\u20ac")
    assert [name for name, _ in fields(written.head)] == [name for name, _ in fields(HEAD)]
    assert b"X-Order:  1%0D%0AX-Evil: 1%0A%00%7F\xe2\x82\xac\r\n" in written.head


PAYLOAD = (
    b'{ "a" : {"b": [1, "two", {"c": null}]}, "id": 7, "id" : 42,\n "s":"\\u00e9\\"", "f":1.5 }'
)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/id", "42"),  # of a repeated name the last counts
        ("/s", '\u00e9"'),
        ("/a/b/0", "1"),
        ("/a/b/1", "two"),
        ("/a/b/2/c", None),
        ("/a/b/3", None),
        ("/a/b/x", None),
        ("/a/b/-1", None),
        ("/none", None),
        ("/id/x", None),
    ],
)
def test_a_string_or_an_integer_is_read_from_json(pointer: str, value: str | None) -> None:
    assert read_json(pointer, PAYLOAD) == value


@pytest.mark.parametrize(
    "payload", [b"", b" \r\n", b'"id"', b"[1]", b"{}", b"\xef\xbb\xbf{}", b'{"id": null}']
)
def test_json_that_lacks_the_value_has_none(payload: bytes) -> None:
    assert read_json("/id", payload) is None
    assert write_json("/id", payload, "7") == payload


def test_a_byte_order_mark_does_not_hide_a_value() -> None:
    payload = b'\xef\xbb\xbf{"id": 17}'

    assert read_json("/id", payload) == "17"
    assert write_json("/id", payload, "x") == b'\xef\xbb\xbf{"id": "x"}'


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", "no_json"),
        (b'{"id"', "no_json"),
        (b'{"id":', "no_json"),
        (b"[", "no_json"),
        (b"\xff\xfe", "no_json"),
        (b"nonsense", "no_json"),
        (b"{id: 1}", "no_json"),
        (b"\x1f\x8b\x08 compressed", "no_json"),
        (b'{"id":' + b"9" * 5000 + b"}", "no_json"),
        (b'{"a":' + b"[" * 100_000, "no_json"),
        (b'{"id": 1e3}', "no_scalar"),
        (b'{"id": 17.0}', "no_scalar"),
        (b'{"id": true}', "no_scalar"),
        (b'{"id": [17]}', "no_scalar"),
        (b'{"id": {}}', "no_scalar"),
    ],
    ids=range(15),
)
def test_json_that_may_hold_the_value_is_not_guessed_at(payload: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        read_json("/id", payload)


def test_half_a_surrogate_pair_is_a_value_that_can_be_stored() -> None:
    value = read_json("/id", b'{"id": "a\\ud800"}')
    assert value == "a\\ud800"


@pytest.mark.parametrize(
    ("pointer", "value", "old", "new"),
    [
        ("/id", "8", b'"id" : 42', b'"id" : 8'),
        ("/id", "-8", b'"id" : 42', b'"id" : -8'),
        ("/id", "08", b'"id" : 42', b'"id" : "08"'),
        ("/id", "x", b'"id" : 42', b'"id" : "x"'),
        ("/a/b/1", "3", b'"two"', b'"3"'),
        ("/a/b/1", '"\n', b'"two"', b'"\\"\\n"'),
        ("/s", "\u00e9", b'"\\u00e9\\""', b'"\\u00e9"'),
    ],
)
def test_json_is_written_in_place(pointer: str, value: str, old: bytes, new: bytes) -> None:
    assert write_json(pointer, PAYLOAD, value) == PAYLOAD.replace(old, new)


PAIRS = "a=1&b%5B%5D=x+y&c=&d&=e&a=2&f%=%zz"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "1"),
        ("b[]", "x y"),
        ("c", ""),
        ("d", None),
        ("", "e"),
        ("f%", "%zz"),
        ("e", None),
    ],
)
def test_a_pair_is_read_however_its_name_is_encoded(name: str, value: str | None) -> None:
    assert read(Source(Place.QUERY, name), parts(f"/x?{PAIRS}")) == value
    assert read(Source(Place.FORM, name), parts(payload=PAIRS.encode())) == value


def test_an_encoded_name_does_not_hide_a_value() -> None:
    assert read(Source(Place.QUERY, "id"), parts("/x?xid=1&%69%64=42")) == "42"
    assert read(Source(Place.FORM, "a b"), parts(payload=b"a+b=%C3%A9")) == "\u00e9"
    assert read(Source(Place.FORM, "caf\u00e9"), parts(payload="caf\u00e9=1".encode())) == "1"


def test_a_pair_is_written_in_place() -> None:
    target = write(Source(Place.QUERY, "b[]"), parts(f"/a=0?{PAIRS}"), "1&2 \u00e9").target
    assert target == f"/a=0?{PAIRS}".replace("x+y", "1%262%20%C3%A9")
    payload = write(Source(Place.FORM, "a"), parts(payload=b"a=1&b=\xff"), "9").payload
    assert payload == b"a=9&b=\xff"
    assert (
        write(Source(Place.FORM, "z"), parts(payload=b"a=1&b=\xff"), "9").payload == b"a=1&b=\xff"
    )


@pytest.mark.parametrize(
    "source", ["path:none", "header:X-None", "json:/none", "form:none", "query:none"]
)
def test_what_is_not_there_is_neither_read_nor_written(source: str) -> None:
    before = parts(payload=b'{"a": 1}')
    assert read(parse_source(source), before) is None
    assert write(parse_source(source), before, "7") == before


# all of several


def all_of(text: str, given_parts: Parts) -> list[str | None]:
    return list(read_all(parse_source(text), given_parts))


@pytest.mark.parametrize(
    ("pointer", "payload", "values"),
    [
        ("/items/*/id", b'{"items": [{"id": 1}, {"id": "b"}, {"id": 1}]}', ["1", "b", "1"]),
        ("/items/*/id", b'{"items": {"x": {"id": 1}, "*": {"id": 2}}}', ["1", "2"]),
        ("/*", b'[1, "\\ud800", null]', ["1", "\\ud800", None]),
        ("/*/*", b'[[1], {"a": 2}, [], 3]', ["1", "2", None]),
        ("/a/*/0", b'{"a": [[7, 8], []]}', ["7", None]),
        ("/*/id", b'\xef\xbb\xbf [{"id": 1, "id": 2}] ', ["2"]),  # of a repeated name the last
        ("/*/id", b"[]", []),
        ("/*/id", b"{}", []),
        ("/*/id", b"7", [None]),
        ("/items/*/id", b"{}", [None]),
        ("/items/*/id", b" ", [None]),
    ],
)
def test_a_star_in_a_pointer_is_each_element_or_member(
    pointer: str, payload: bytes, values: list[str | None]
) -> None:
    assert all_of(f"json:{pointer}", parts(payload=payload)) == values


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[", "no_json"),
        (b"\x1f\x8b compressed", "no_json"),
        (b"[" * 100_000, "no_json"),
        (b"[" + b"9" * 5000 + b"]", "no_json"),
        (b"[1, true]", "no_scalar"),
        (b"[1, 1.0]", "no_scalar"),
        (b"[1, [2]]", "no_scalar"),
    ],
    ids=range(7),
)
def test_elements_that_may_be_values_are_not_guessed_at(payload: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        all_of("json:/*", parts(payload=payload))


def test_a_repeated_header_pair_or_name_has_all_of_its_values() -> None:
    assert all_of("header:X-ORDER", parts()) == ["42", "43"]
    assert all_of("header:X-Utf", parts()) == ["caf\u00e9"]
    assert all_of("header:X-None", parts()) == [None]
    assert all_of("query:a", parts(f"/x?{PAIRS}")) == ["1", "2"]
    assert all_of("form:a", parts(payload=PAIRS.encode())) == ["1", "2"]
    assert all_of("form:none", parts(payload=PAIRS.encode())) == [None]
    assert all_of("query:ids", parts("/x?ids=1,2&ids=")) == ["1,2", ""]


@pytest.mark.parametrize("source", ["path:id", "json:/id", "query:of", "header:X-Utf"])
def test_what_stands_there_once_is_the_only_one_of_all(source: str) -> None:
    once = parts("/orders/42?of=7", b'{"id": 1}', {"id": (8, 10)})
    assert all_of(source, once) == [read(parse_source(source), once)]


@pytest.mark.parametrize(
    ("source", "is_unbounded"),
    [("json:/*/id", True), ("form:id", True), ("json:/id", False), ("query:id", False)],
)
def test_a_body_may_name_any_number(source: str, is_unbounded: bool) -> None:
    assert parse_source(source).is_unbounded is is_unbounded


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT)
def test_what_is_written_is_read_again(value: str) -> None:
    before = parts(
        "/x/old?q=old", payload=b'{"id": "old"}', captures={"id": (3, 6)},
    )  # fmt: skip
    form = parts(payload=b"a=1&id=old&b=2")
    for source, given_parts in (
        ("path:id", before), ("query:q", before), ("json:/id", before), ("form:id", form),
    ):  # fmt: skip
        assert read(parse_source(source), write(parse_source(source), given_parts, value)) == value


@given(st.text(alphabet=[c for c in printable if c.isprintable()], max_size=20))
def test_a_header_that_is_written_is_read_again(value: str) -> None:
    written = write(Source(Place.HEADER, "X-Order"), parts(), value)
    assert read(Source(Place.HEADER, "X-Order"), written) == value.strip(" ")


@given(st.integers() | TEXT, st.integers(0, 3))
def test_json_as_others_write_it_is_read(value: int | str, indent: int) -> None:
    document = {"a": [{"b": value}, 1], "c": {"b": 0}}
    payload = json.dumps(document, indent=indent).encode()
    assert read_json("/a/0/b", payload) == str(value)
