"""Shapes of secrets: what is found, what is not, and in how much time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.shapes import FINDERS, HINT, Shape, custom, masked

ALL = tuple(FINDERS.values())


def found(text: str, shape: Shape) -> list[str]:
    return [text[start:end] for start, end in FINDERS[shape](text)]


FOUND = [
    (Shape.CARD, "4111111111111111", None),
    (Shape.CARD, "4111 1111 1111 1111", None),
    (Shape.CARD, "4111-1111-1111-1111", None),
    (Shape.CARD, "3782-822463-10005", None),
    (Shape.CARD, "paid with 2223000048400011.", "2223000048400011"),
    (Shape.CARD, "2024 4111 1111 1111 1111 5", "4111 1111 1111 1111"),
    (Shape.CARD, "5555 5555 5555 4444 123", "5555 5555 5555 4444"),
    (Shape.EMAIL, "a@b.co", None),
    (Shape.EMAIL, "mail: Ada.B+x@ex-ample.co.uk!", "Ada.B+x@ex-ample.co.uk"),
    (Shape.EMAIL, "<mailto:jürgen@müller.example>", "jürgen@müller.example"),
    (Shape.IBAN, "DE89370400440532013000", None),
    (Shape.IBAN, "de89370400440532013000", None),
    (Shape.IBAN, "GB29 NWBK 6016 1331 9268 19 THEN", "GB29 NWBK 6016 1331 9268 19"),
    (Shape.IBAN, "to GB29NWBK60161331926819.", "GB29NWBK60161331926819"),
    (Shape.KEY, "AKIAIOSFODNN7EXAMPLE", None),
    (Shape.KEY, "key=ghp_" + "a1" * 18 + ";", "ghp_" + "a1" * 18),
    (Shape.KEY, "github_pat_" + "a1" * 41, None),
    (Shape.KEY, "sk_live_4eC39HqLyjWDarjtT1zdp7dc", None),
    (Shape.KEY, "sk-abcdefghijklmnopqrstuvwx", None),
    (Shape.KEY, "xoxb-1234567890-abcdef", None),
    (Shape.KEY, "AIza" + "Sy" * 17 + "x", None),
    (Shape.KEY, "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", None),
    (Shape.KEY, "-----BEGIN RSA PRIVATE KEY-----\nMIIE", None),
    (Shape.TOKEN, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def", None),
    (Shape.TOKEN, "is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc. Next", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"),
    (Shape.TOKEN, "eyJpdiI6IlpzMnp/cz0iLCJ2YWx1ZSI6+x==", None),
    (Shape.TOKEN, "Bearer abcdefgh1", "abcdefgh1"),
    (Shape.TOKEN, "Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "text", "expected"), FOUND)
def test_a_secret_is_found_by_its_shape(shape: Shape, text: str, expected: str | None) -> None:
    assert found(text, shape) == [expected or text]
    assert HINT.search(text)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (Shape.CARD, "4111111111111112"),
        (Shape.CARD, "1700000000000"),
        (Shape.CARD, "0.4111111111111111"),
        (Shape.CARD, "94111111111111111"),
        (Shape.EMAIL, "@app.get"),
        (Shape.EMAIL, "user@localhost"),
        (Shape.IBAN, "DE89370400440532013001"),
        (Shape.KEY, "task-abcdefghijklmnopqrstuvwx"),
        (Shape.KEY, "-----BEGIN CERTIFICATE-----"),
        (Shape.TOKEN, "Bearer authentication"),
        (Shape.TOKEN, "Basic information"),
        (Shape.TOKEN, "eyJ"),
    ],
)
def test_what_only_looks_like_one_is_left(shape: Shape, text: str) -> None:
    assert found(text, shape) == []


def test_each_shape_has_a_finder() -> None:
    assert set(FINDERS) == set(Shape)


def test_what_is_masked_is_not_masked_again() -> None:
    once = masked("a@b.co", (custom("[a-z]{16}"), *ALL), lambda _: "redacted:" + "a" * 16)
    assert once == "redacted:" + "a" * 16
    assert masked(once, (custom("[a-z]{16}"), *ALL), str.upper) == once


def test_many_secrets_take_time_by_their_number() -> None:
    text = "a@b.co 4111111111111111 DE89370400440532013000 " * 8000
    started = time.perf_counter()
    shown = masked(text, ALL, lambda _: "redacted:" + "a" * 16)
    assert time.perf_counter() - started < 4.0
    assert shown == ("redacted:" + "a" * 16 + " ") * 24_000


def test_a_custom_expression_hides_its_first_group_or_all() -> None:
    assert masked("/x/abc", (custom("/x/([a-z]+)"),), str.upper) == "/x/ABC"
    assert masked("id-77 id", (custom("id-[0-9]+"),), str.upper) == "ID-77 id"
    assert masked("ab", (custom("a|(b)"),), str.upper) == "aB"


@pytest.mark.parametrize(
    "expression",
    [
        "(",
        "a*",
        "",
        "(a+)+b",
        "(?:[a-z]+ ?)*x",
        "((a|b)+)+",
        "(a{2,})*",
        "([^)]*)+",
        "(?:(?:ab)*c)*d",
        "a" + "(" * 200,
        "(?:a|aa)+!",
        "(a?){30}!",
        ".*.*.*x",
        r"(a)\1",
        "(?<=a)b",
    ],
)
def test_a_bad_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        custom(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "[a-z]+@x",
        "(?:ab)+c",
        "ACME-[0-9]{6,}",
        "(a+)b",
        "(?:(?:[0-9]{2}):){5}",
        r"\(+x",
        "[(*]+x",
        "(?:inv|ref)-[0-9]{6,8}",
    ],
)
def test_a_good_expression_is_taken(expression: str) -> None:
    custom(expression)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "4",
            "4 ",
            "4444 ",
            "4111 1111 1111 1111 ",
            "@",
            "a@",
            "a@b.c",
            "@a.",
            "a",
            "eyJ",
            "eyJ.",
        ),
        *(
            "eyJaa ",
            "AA11",
            "AA11 ",
            "AA11 AAAA AAAA;",
            "sk-",
            "-----BEGIN ",
            "SG.aaaaaaaaaaaaaaaa",
        ),
        *("-----BEGIN PRIVATE KEY-----", "Bearer ", "Bearer abcdefghi ", "Basic a=b", "3444 "),
    ],
)
def test_a_mebibyte_of_anything_is_searched_in_bounded_time(shape: Shape, piece: str) -> None:
    text = piece * (2**20 // len(piece))
    started = time.perf_counter()
    list(FINDERS[shape](text))
    assert time.perf_counter() - started < 6.0


@settings(max_examples=500, deadline=None, database=None)
@given(
    text=st.text("ab@.-_ 4111eyJBearAKIskxoG/", max_size=80)
    | st.lists(
        st.sampled_from([text for _, text, _ in FOUND] + [" ", "x", "-", "4"]), max_size=4
    ).map("".join)
)
def test_there_is_no_secret_without_a_hint(text: str) -> None:
    shown = masked(text, ALL, lambda _: "*")
    assert shown == text or HINT.search(text)
