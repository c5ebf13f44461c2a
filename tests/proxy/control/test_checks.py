"""The checks of the keys that change a request: what gets through, what does not, and what they never say."""

from collections.abc import Callable

import pytest

from proxy.control.checks import base_path, field_value, path, set_header, settable, variable
from rules.outbound import UNTOUCHABLE

GOOD: list[tuple[Callable[[str], None], list[str]]] = [
    (settable, ["X-Tenant", "accept", "traceparent", "Via", "X-Forwarded-For", "Authorization"]),
    (field_value, ["a", "a b", "Bearer abc", 'a="b", c', "é", "a\tb"]),
    (base_path, ["", "/v2", "/api/v2", "/a%20b", "/~a;b=c:d@e"]),
    (variable, ["", "NEW_TOKEN", "_a1"]),
    (path, ["", "/run/secrets/new", "a b"]),
]
BAD: list[tuple[Callable[[str], None], list[str]]] = [
    (settable, ["", "a b", "a:b", "a\r\n", "é"]),
    (settable, [*UNTOUCHABLE, "Host", "TWINWRITE-HOP", "Content-Length"]),
    (field_value, ["", " ", " a", "a ", "a\r\nb: c", "a\n", "a\0", "\x7f", "€", "\x85"]),
    (base_path, ["/", "/v2/", "v2", "//", "/a//b", "/a b", "/a?b", "/a#b", "/ä", "/v2\n", "*"]),
    (variable, ["a-b", "1a", "a b", "A\n", "$A"]),
    (path, ["a\nb", "a\0"]),
]


@pytest.mark.parametrize(("check", "texts"), GOOD)
def test_a_good_text_is_taken(check: Callable[[str], None], texts: list[str]) -> None:
    for text in texts:
        check(text)


@pytest.mark.parametrize(("check", "texts"), BAD)
def test_a_bad_text_is_refused(check: Callable[[str], None], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match="must be "):
            check(text)


def test_a_value_that_is_wrong_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="must be the value of a header") as caught:
        set_header("X-A", "hunter2\n")
    assert "hunter2" not in str(caught.value)
