"""Bodies as evidence: each sort is read in its own way, and what cannot be read is only measured."""

import gzip
import json
import re
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from rules.body import READ_MAX, SEARCHED_MAX, Reader
from rules.pointer import compile_pattern
from rules.redact import Masker, Redaction

REDACTION = Redaction(key=b"key of this test")
SECRET = "hunter2"
HIDDEN = Masker(REDACTION).hidden(SECRET)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=xx"
MARK = re.compile("redacted:[a-p]{16}")


def redact_body(body: bytes, content_type: str, redaction: Redaction) -> bytes:
    return Reader(redaction).body(body, content_type)


def body(text: str, content_type: str, redaction: Redaction = REDACTION) -> str:
    return redact_body(text.encode(), content_type, redaction).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "b": [1.5, null]}', {"a": 1, "b": [1.5, None]}),
        (f'{{"a": [{{"PassWord": "{SECRET}"}}]}}', {"a": [{"PassWord": HIDDEN}]}),
        (f'[{{"p\\u0061ssword": "{SECRET}"}}]', [{"password": HIDDEN}]),
        (f'\ufeff {{"pin": "{SECRET}"}}', {"pin": HIDDEN}),
        (f'{{"next": "/a?token={SECRET}&b=1"}}', {"next": f"/a?token={HIDDEN}&b=1"}),
        ('{"a": "\\ud800é"}', {"a": "\ud800é"}),
    ],
    ids=["harmless", "nested", "escaped name", "byte order mark", "link", "surrogate"],
)
@pytest.mark.parametrize("content_type", [JSON, "a/b+json; charset=utf-8", "text/plain", ""])
def test_json_bodies_keep_all_but_sensitive_values(
    text: str, expected: object, content_type: str
) -> None:
    assert json.loads(body(text, content_type)) == expected


@pytest.mark.parametrize("value", ['{"a": "hunter2"}', '["hunter2"]', "7", "null", "true"])
def test_a_sensitive_value_of_any_sort_is_hidden_whole(value: str) -> None:
    hidden = json.loads(body(f'{{"secret": {value}}}', JSON))["secret"]
    assert hidden.startswith("redacted:")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"\xff\xfe hunter2", "text/plain"),
        (b"\x00hunter2", "text/plain"),
        (b'{"a": "hunter2"', JSON),
        (b'{"a": "hunter2"', "text/plain"),
        (b"hunter2", JSON),
        (b'{"a": 1}\n{"p\\u0061ssword": "hunter2"}', "text/plain"),
        (b"[" * 100_000 + b"hunter2", JSON),
        (b"[" * 900 + b'"hunter2"' + b"]" * 901, JSON),
        (b'<password a="1">hunter2</password>', "application/xml"),
        (b"--x\r\nname=password\r\n\r\nhunter2", "multipart/form-data"),
        (b"--xx\r\n\r\nhunter2\r\n--xx--hunter2", "multipart/form-data; boundary=xx"),
        (b"--xx\r\nhunter2\r\n--xx--", "multipart/form-data; boundary=xx"),
        (b"\xc1hunter2", "application/msgpack"),
        (b"mail a%40example.com hunter2", "text/plain"),
        (b'{"a": 1}\n{hunter2}', "application/x-ndjson"),
        (b"p%61ssword=hunter2", "text/plain"),
        (b"My Password: hunter2", ""),
        (b'{"a":' + b"9" * 5000 + b', "b": "hunter2"}', JSON),
    ],
    ids=[
        *("no utf-8", "control", "broken json", "looks like json", "declared json", "json lines"),
        *(
            "too deep",
            "too deep to write",
            "xml",
            "multipart",
            "undeclared form",
            "prose",
            "number",
        ),
        *("after the end", "no head", "no msgpack", "encoded", "one bad line"),
    ],
)
def test_what_cannot_be_searched_is_only_measured(content: bytes, content_type: str) -> None:
    shown = redact_body(content, content_type, REDACTION)
    assert shown.startswith(f"<{len(content)} bytes, digest ".encode())
    assert len(shown) < 50
    assert shown == redact_body(content, content_type, REDACTION)
    assert shown != redact_body(content + b" ", content_type, REDACTION)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", JSON),
        (b"cpu,host=a usage=0.5 1700000000", "text/plain"),
        (b"shipping spins", "text/plain"),
        ("<p>é</p>\r\n\tx".encode(), "text/html"),
        (b"a=1&b=%20", FORM),
    ],
    ids=["empty", "lines", "a name inside a word", "html", "form"],
)
def test_harmless_text_is_kept_as_it_is(content: bytes, content_type: str) -> None:
    assert redact_body(content, content_type, REDACTION) == content


MAIL, CARD = "ada@example.com", "4111 1111 1111 1111"


def part(disposition: str, content: str, content_type: str = "") -> str:
    line = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"--xx\r\nContent-Disposition: form-data; {disposition}\r\n{line}\r\n{content}\r\n"


def test_multipart_keeps_its_form_and_each_part_is_read_by_its_own_type() -> None:
    sent = (
        part('name="a"', "1")
        + part('name="user[password]"', SECRET)
        + part('name="b"', f'{{"token": "{SECRET}"}}', JSON)
        + part(f'name="c"; filename="{MAIL}.txt"', "x")
        + part('name="d"', "\x00")
        + "--xx--\r\n"
    )
    shown = body(sent, PARTS)
    assert body(part('name="a"', "1") + "--xx--\r\n", PARTS) == part('name="a"', "1") + "--xx--\r\n"
    assert part('name="user[password]"', HIDDEN) in shown
    assert part('name="b"', f'{{"token": "{HIDDEN}"}}', JSON) in shown
    assert "<1 bytes, digest " in shown
    assert MAIL not in shown
    assert body(shown, PARTS) == shown


def test_msgpack_is_shown_as_json() -> None:
    document = {
        "a": [1, 2.5, None, True, b"\x00"],
        7: {"password": SECRET, b"token": SECRET, b"\xff": 1},
        "mail": MAIL,
    }
    shown = json.loads(redact_body(msgpack.encode(document), "application/msgpack", REDACTION))
    assert shown["a"][:4] == [1, 2.5, None, True]
    assert shown["a"][4].startswith("<1 bytes, digest ")
    assert shown["7"] == {"password": HIDDEN, "token": HIDDEN, "\\xff": 1}
    assert MARK.fullmatch(shown["mail"])


def test_json_lines_are_read_line_by_line() -> None:
    sent = f'{{"token": "{SECRET}"}}\n\n[1]\n'
    assert body(sent, "application/x-ndjson") == f'{{"token": "{HIDDEN}"}}\n\n[1]\n'


@pytest.mark.parametrize(
    "value",
    [
        MAIL,
        CARD,
        f"write to {MAIL}, please",
        f'{{"password": "{SECRET}"}}',
        f'{{"a": "x", "a": 1, "mail": "{MAIL}"}}',
        json.dumps({"a": json.dumps({"b": json.dumps({"password": SECRET})})}),
        f"a=1&password={SECRET}",
        f"/next?to={quote_plus(f'/a?token={SECRET}')}",
        f"#access_token={SECRET}",
        f"password: {SECRET}",
        f"userPassword='{SECRET} {SECRET}'",
        f"postgres://ada:{SECRET}@db:5432/shop",
        f"https://ada:p@{SECRET}@host/",
        quote(MAIL),
        "Bearer abcdefgh1hunter2",
        f"<input name=password value={SECRET}>",
        f"<password>{SECRET}</password>",
    ],
)
def test_a_secret_is_found_in_any_text_of_a_document(value: str) -> None:
    for text, content_type in (
        (json.dumps({"note": value}), JSON),
        (json.dumps({value: 1}), JSON),
        (json.dumps([[value]]), "text/plain"),
        (f"note={quote_plus(value)}", FORM),
        (f"{quote_plus(value)}=1", FORM),
    ):
        shown = body(text, content_type)
        assert MARK.search(shown), text
        for secret in (SECRET, MAIL, quote(MAIL), CARD, quote_plus(MAIL), quote_plus(CARD)):
            assert secret not in shown


def test_equal_secrets_have_equal_masks_in_every_sort_of_body() -> None:
    shown = {
        json.loads(body(json.dumps({"note": MAIL}), JSON))["note"],
        json.loads(body(json.dumps({"password": MAIL}), JSON))["password"],
        body(f"note={quote_plus(MAIL)}", FORM).removeprefix("note="),
        body(MAIL, "text/plain"),
    }
    assert len(shown) == 1


@pytest.mark.parametrize("name", ["name", "key"])
def test_a_value_is_hidden_by_the_name_beside_it(name: str) -> None:
    sent = [{name: "Authorization", "value": SECRET}, {name: "colour", "value": "red"}, {name: 1}]
    shown = json.loads(body(json.dumps(sent), JSON))
    assert shown == [{name: "Authorization", "value": HIDDEN}, *sent[1:]]


@pytest.mark.parametrize("blanks", [0, 3, 9])
def test_a_value_is_found_behind_blanks(blanks: int) -> None:
    text = json.dumps({"m": f"password{' ' * blanks}={' ' * blanks}{SECRET}"})
    assert SECRET not in body(text, JSON)


def test_blanks_in_the_head_of_a_part_take_no_time() -> None:
    sent = f"--xx\r\nContent-Type: x{' ' * 200_000}y\r\n\r\nx\r\n--xx--\r\n"
    started = time.perf_counter()
    assert body(sent, PARTS).endswith("x\r\n--xx--\r\n")
    assert time.perf_counter() - started < 1.0


def test_a_card_is_found_as_a_number_too() -> None:
    shown = json.loads(
        body('{"a": 4111111111111111, "b": 4111111111111111.0, "c": 4111111111111112}', JSON)
    )
    assert MARK.fullmatch(shown["a"])
    assert shown["b"] == shown["a"]
    assert shown["c"] == 4111111111111112


def test_paths_hide_what_is_at_and_below_them() -> None:
    given = Redaction(
        key=b"k", paths=(compile_pattern("/user/birthday"), compile_pattern("/**/home"))
    )
    sent = '{"user": {"birthday": {"y": 1815}, "name": "Ada"}, "a": [{"home": ["x"]}]}'
    shown = json.loads(body(sent, JSON, given))
    assert MARK.fullmatch(shown["user"]["birthday"])
    assert shown["user"]["name"] == "Ada"
    assert MARK.fullmatch(shown["a"][0]["home"])
    assert MARK.search(body("home=x", FORM, given))
    assert MARK.search(body(part('name="home"', "x") + "--xx--", PARTS, given))


def test_a_path_may_name_the_whole_document() -> None:
    given = Redaction(key=b"k", paths=(compile_pattern(""),))
    assert MARK.fullmatch(json.loads(body('{"a": 1}', JSON, given)))


def test_compressed_bytes_are_only_measured() -> None:
    packed = gzip.compress(b"x")
    assert redact_body(packed, JSON, REDACTION).startswith(b"<%d bytes, digest " % len(packed))


def test_a_body_beyond_the_limit_is_only_measured_and_at_once() -> None:
    long = b"ada@example.com " * 65536
    started = time.perf_counter()
    assert redact_body(long, "text/plain", REDACTION).startswith(b"<1048576 bytes, digest ")
    assert time.perf_counter() - started < 0.5
    assert len(long[:SEARCHED_MAX]) == SEARCHED_MAX
    assert b"redacted:" in redact_body(long[:SEARCHED_MAX], "text/plain", REDACTION)


@pytest.mark.parametrize("rows", [400, 4000])
def test_of_a_long_body_the_start_is_masked_and_the_rest_goes(rows: int) -> None:
    document = [
        {"id": number, "mail": f"u{number}@example.com", "n": {"a": "é"}} for number in range(rows)
    ]
    text = json.dumps(document, ensure_ascii=False)
    whole = [{**row, "mail": Masker(REDACTION).text(str(row["mail"]))} for row in document]
    shown = body(text, JSON)
    assert shown[:READ_MAX] == json.dumps(whole, ensure_ascii=False)[:READ_MAX]
    assert "@" not in shown
    assert body(json.dumps({"a": text}), JSON)[: READ_MAX // 2].count("@") == 0


def test_a_name_at_the_end_of_a_long_text_counts_too() -> None:
    assert body("word " * 10000 + "password", "text/plain").startswith("<50008 bytes, digest ")


HOSTILE = [
    *("4", "4 ", "4444 ", "4111 1111 1111 1111 ", "@", "a@", "a@b.c", "eyJ", "eyJ.", "AA11 "),
    *("Bearer ", "-----BEGIN ", "://", "?a=", "&=", "%41", "%", "a=", '"a":', "token", "aB"),
    *('{"', "[1,", "\\u0040", "Pass", "_-", " ", ": ", "=" * 3),
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("frame", ["%s", '{"a": "%s"}', "a=%s"], ids=["text", "json", "form"])
def test_the_time_grows_with_the_length_whatever_a_body_holds(piece: str, frame: str) -> None:
    if frame.startswith("{"):
        piece = json.dumps(piece)[1:-1]
    long = (frame % (piece * (200_000 // len(piece)))).encode()
    started = time.perf_counter()
    redact_body(long, FORM if frame.startswith("a") else "", REDACTION)
    assert time.perf_counter() - started < 3.0


SHAPED = st.sampled_from(
    [MAIL, CARD, "378282246310005", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19",
     "AKIAIOSFODNN7EXAMPLE", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "ghp_" + "a1" * 18,
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"]
)  # fmt: skip
NAMES = st.sampled_from(["password", "a", "userToken", "b", "API-Key", "x.pin"])
AROUND = st.text(" ,.;!?()\n\"'é\ud800ab", max_size=6)
LEAVES = (
    st.integers()
    | st.floats()
    | st.none()
    | st.text("ab?&=%:/{\\\"'\ud800é@. 4", max_size=12)
    | st.tuples(AROUND, SHAPED, AROUND).map(lambda it: f"{it[0]} {it[1]} {it[2]}")
    | SHAPED
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | SHAPED, inner, max_size=4)
        | inner.map(json.dumps)
    ),
    max_leaves=8,
)
KNOWN = (
    MAIL, CARD, "378282246310005", "DE89370400440532013000", "NWBK", "AKIAIOSFODNN7EXAMPLE",
    "sk_live_4eC", "ghp_a1", "eyJhbGci", SECRET,
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(document=DOCUMENTS, name=st.sampled_from(["password", "newToken", "x[pin]"]))
def test_no_planted_secret_is_left_and_a_second_pass_changes_nothing(
    document: object, name: str
) -> None:
    planted = {"x": [document, {name: [document, f"{SECRET}-"]}], "y": f"a {SECRET}@example.com"}
    for text, content_type in (
        (json.dumps(planted), JSON),
        (f"x={quote_plus(json.dumps(planted))}&{quote_plus(name)}={SECRET}", FORM),
    ):
        shown = body(text, content_type)
        assert not [secret for secret in KNOWN if secret in shown or quote_plus(secret) in shown]
        assert body(shown, content_type) == shown
        assert len(shown) <= 40 * len(text) + 100


@settings(max_examples=300, deadline=None, database=None)
@given(
    content=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda it: it.encode("utf-8", "ignore")),
    content_type=st.sampled_from(
        [JSON, FORM, PARTS, "", "text/html", "application/msgpack", "application/jsonl"]
    ),
)
def test_any_bytes_are_taken_and_the_result_is_bounded_text(
    content: bytes, content_type: str
) -> None:
    shown = redact_body(content, content_type, REDACTION)
    shown.decode()
    assert len(shown) <= 40 * len(content) + 100
