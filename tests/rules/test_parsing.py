"""Parsers: the fast way and the strict one agree, and what means two things is refused."""

import json
import struct
from contextlib import suppress
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.coding import Unreadable
from rules.parsing import parse_json, parse_msgpack
from rules.pointer import MISSING

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, database=None)
@given(tree=TREES)
def test_every_spelling_of_a_tree_is_that_tree(tree: object) -> None:
    compact = json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
    for text in (compact, json.dumps(tree), json.dumps(tree, indent=1), f"\ufeff {compact}\n"):
        assert spelled(parse_json(text.encode())) == spelled(tree)


ROWS = st.lists(
    st.dictionaries(
        st.sampled_from("ab"), st.none() | st.booleans() | st.integers(-9, 99), max_size=2
    )
    | st.text("x ,:", max_size=3),
    max_size=3,
)
PIECES = [bytes([each]) for each in b' \t\r\n\x0b\x00,:{}[]"\\-.019tn\xc3'] + [
    b", ",
    b': "',
    b'"a": 1',
]


@settings(max_examples=300, deadline=None, database=None)
@given(tree=ROWS, indent=st.sampled_from([None, 0, 2, "\t"]), data=st.data())
def test_blanks_in_a_text_hide_nothing(
    tree: object, indent: int | str | None, data: st.DataObject
) -> None:
    """Read without its blanks a text must be what it is with them, after any edit."""
    text = json.dumps(tree, indent=indent).encode()
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(PIECES))
            + text[at + data.draw(st.integers(0, 1)) :]
        )
    assert read(text) == expected(text)


def read(text: bytes) -> object:
    try:
        document = parse_json(text)
    except Unreadable:
        return MISSING
    return document if document is MISSING else spelled(document)


def expected(text: bytes) -> object:
    """What Python's json makes of a text, where no name is twice in one object."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        return spelled(json.loads(text.decode(), object_pairs_hook=once))
    except ValueError:
        return MISSING


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b' \t\r\n{"a":1}\n', {"a": 1}),
        (b"\x0b[1]", MISSING),
        (b"[1]\x0c", MISSING),
        (b" \n", MISSING),
    ],
    ids=["blanks", "a tab of another kind", "a form feed", "nothing else"],
)
def test_only_blanks_that_json_knows_may_stand_around_a_document(
    body: bytes, document: object
) -> None:
    assert parse_json(body) == document


def spelled(tree: object) -> str:
    """1 and 1.0, true and 1, are told apart."""
    return json.dumps(tree, sort_keys=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":1,"a":1}', "json_duplicate_key"),
        (b'{"a":{"b":1,"b":2}}', "json_duplicate_key"),
        (b'{"a": 1, "a": 1}', "json_duplicate_key"),
        (b"[NaN]", "json_not_a_number"),
        (b"[-Infinity]", "json_not_a_number"),
        (b"[1e400]", "json_number_too_large"),
        (b"[-1e400]", "json_number_too_large"),
        (b"9" * 5000, "json_number_too_long"),
        (b"[1e-99999999999999999999]", "json_number_too_long"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "json_too_deep"),
        (b'["\xff"]', "not_utf8"),
        (b'["\xed\xa0\x80"]', "not_utf8"),
        ('["a"]'.encode("utf-16"), "not_utf8"),
    ],
)
def test_what_means_two_things_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse_json(body)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[1,]", b"{'a':1}", b"[1] [2]", b"<html>", b"\xef\xbb\xbf"]
)
def test_what_is_no_json_is_missing(body: bytes) -> None:
    assert parse_json(body) is MISSING


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"null", None),
        (b'"\\ud800"', "\ud800"),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b"[-0]", [0]),
        (b"[1E2]", [100.0]),
        (b"12345678901234567890123", 12345678901234567890123),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'{"a":"x\\u0000"}', {"a": "x\0"}),
    ],
)
def test_odd_json_is_still_json(body: bytes, document: object) -> None:
    assert parse_json(body) == document


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.50", float),
        ("0.1", float),
        (
            "0.10000000000000001",
            float,
        ),  # 17 digits tell every float apart, so some always print as many
        ("1.0000000000000000000", float),
        ("1E2", float),
        ("5e-324", float),
        ("0e-400", float),
        ("0.10000000000000000555", Decimal),
        ("12345678901234567.89", Decimal),
        ("9007199254740993.0", Decimal),
        ("1e-400", Decimal),
        ("1.2345e-320", Decimal),
    ],
)
def test_a_number_that_no_float_spells_keeps_its_digits(text: str, kind: type) -> None:
    for body in (f"[{text}]", f"[ {text}\n]"):
        document = parse_json(body.encode())
        assert document == [kind(text)]
        assert isinstance(document, list)
        assert type(document[0]) is kind


@settings(max_examples=100, deadline=None, database=None)
@given(body=st.binary(max_size=40))
def test_bytes_are_parsed_or_refused(body: bytes) -> None:
    for parse in (parse_json, parse_msgpack):
        with suppress(Unreadable):
            parse(body)


@pytest.mark.parametrize(
    "document",
    [None, 1, -5, 1.5, "é", [1, [2]], {"a": {"b": [True]}}, b"\xff", {}, 2**63],
)
def test_msgpack_is_read(document: object) -> None:
    assert parse_msgpack(msgpack.packb(document)) == document


def test_names_that_are_integers_are_written_as_texts() -> None:
    assert parse_msgpack(msgpack.packb({1: "a", "b": {-2: 2}})) == {"1": "a", "b": {"-2": 2}}


def test_a_timestamp_of_msgpack_is_a_scalar() -> None:
    stamp = msgpack.packb(msgpack.Timestamp(1, 0))
    assert parse_msgpack(b"\x91" + stamp) == [msgpack.Timestamp(1, 0)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x82\xa1a\x01\xa1a\x02", "msgpack_duplicate_key"),
        (b"\x82\x01\x01\xa11\x02", "msgpack_duplicate_key"),
        (msgpack.packb({b"a": 1}), "msgpack_name"),
        (msgpack.packb([{None: 1}]), "msgpack_name"),
        (msgpack.packb({True: 1}), "msgpack_name"),
        (msgpack.packb({1.5: 1}), "msgpack_name"),
        (b"\x91" * 5000 + b"\xc0", "msgpack_too_deep"),
        (b"\xa1\xff", "not_utf8"),
    ],
)
def test_msgpack_that_means_two_things_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        parse_msgpack(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x91", b"\xc1", b"\x01\x02", b"\xdd" + struct.pack(">I", 2**32 - 1), b"\xda\xff"],
)
def test_what_is_no_msgpack_is_missing(body: bytes) -> None:
    assert parse_msgpack(body) is MISSING
