"""Noise: what differs nearly always and looks like something known is suggested, with the rule that fits."""

import tomllib
from dataclasses import replace

import pytest

from proxy.control.config import parse
from rules.expression import compile_expression
from rules.noise import PATH_CHARACTERS_MAX, Look, Observed, Suggestion, snippet, suggest
from rules.tolerance import RuleKind

UUIDS = (
    "0f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e",
    "1f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e",
    "2f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e",
    "3f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e",
)


def observed(
    *pairs: tuple[str, str], path: str = "/body/field", kind: str = "value", differed: int = 100
) -> Observed:
    return Observed(
        route="orders", path=path, kind=kind, differed=differed, compared=100, pairs=pairs
    )


def only(seen: Observed) -> Suggestion:
    (found,) = suggest([seen], 95.0, 100)
    return found


def quoted(*values: tuple[str, str]) -> list[tuple[str, str]]:
    return [(f'"{one}"', f'"{other}"') for one, other in values]


CASES: list[tuple[Look, RuleKind | None, list[tuple[str, str]]]] = [
    (
        Look.TIME,
        RuleKind.TIME,
        quoted(
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("2026-01-02T00:00:00Z", "2026-01-02T00:00:02Z"),
            ("2026-01-03T00:00:00Z", "Sat, 03 Jan 2026 00:00:00 GMT"),
        ),
    ),
    (
        Look.TIME,
        RuleKind.TIME,
        [("1767225600", "1767225601"), ("1767225700", "1767225700.5"), ("1767225800", "1767225801")],
    ),
    (
        Look.TIME,
        RuleKind.PRESENCE,
        quoted(
            ("2026-01-01", "2020-01-01"), ("2026-01-02", "2021-01-01"), ("2026-01-03", "2022-01-01")
        ),
    ),
    (
        Look.UUID,
        RuleKind.PRESENCE,
        quoted((UUIDS[0], UUIDS[1]), (UUIDS[1], UUIDS[2]), (UUIDS[2], UUIDS[3])),
    ),
    (Look.COUNTER, RuleKind.PRESENCE, [("1", "7001"), ("2", "7002"), ("5", "7009")]),
    (Look.COUNTER, RuleKind.PRESENCE, quoted(("11", "901"), ("12", "902"), ("14", "903"))),
    (Look.NUMBER, RuleKind.NUMBER, [("100.0", "100.01"), ("50", "50.004"), ("70", "69.999")]),
    (
        Look.ETAG,
        RuleKind.PRESENCE,
        [(r'"\"a1\""', r'"W/\"b2\""'), (r'"\"a2\""', r'"\"b3\""'), (r'"\"a3\""', r'"\"b4\""')],
    ),
    (
        Look.TOKEN,
        RuleKind.REGEX,
        quoted(("0a1b2c3d", "4e5f6071"), ("0a1b2c3e", "4e5f6072"), ("0a1b2c3f", "4e5f6073")),
    ),
    (
        Look.TOKEN,
        RuleKind.REGEX,
        quoted(("Zx9_abcdefgh", "Yx8-abcdefg="), ("Zx7_abcdefgh", "Q1x6abcdefg"), ("Zx5_abcdefgh", "T4x6abcdefg")),
    ),
    (
        Look.MASKED,
        RuleKind.PRESENCE,
        [("redacted:aa", "redacted:bb"), ("redacted:cc", "redacted:dd"), ("redacted:ee", "redacted:ff")],
    ),
    (Look.CONSTANT, None, [('"EUR"', '"USD"')] * 5),
    (Look.UNKNOWN, None, quoted(("Ann", "ANN"), ("Bob", "BOB"), ("Cid", "CID"))),
    (Look.UNKNOWN, None, [("10", "20"), ("30", "90"), ("20", "70")]),
    (Look.UNKNOWN, None, [('"a1b2c3d4', '"x1b2c3d4…'), ("[1]", "{}"), ("null", "1")]),
    (Look.UNKNOWN, None, [("1", "2"), ("2", "3")]),
]  # fmt: skip


@pytest.mark.parametrize(("look", "rule", "pairs"), CASES)
def test_values_of_a_known_make_get_the_rule_that_fits(
    look: Look, rule: RuleKind | None, pairs: list[tuple[str, str]]
) -> None:
    found = only(observed(*pairs))
    assert (found.look, found.rule) == (look, rule)


def test_what_the_primary_does_not_agree_with_itself_in_is_noise() -> None:
    unknown, time = CASES[12], CASES[0]
    for own, rule in ((0, None), (1, None), (2, RuleKind.PRESENCE), (4, RuleKind.PRESENCE)):
        found = only(replace(observed(*unknown[2]), own=own, own_compared=4))
        assert found.rule is rule
        assert (f"differ there in {own} of 4 reads" in found.why) == (own > 0)
    assert only(replace(observed(*unknown[2]), own=2, own_compared=2)).rule is None
    assert only(replace(observed(*time[2]), own=4, own_compared=4)).rule is RuleKind.TIME


def test_an_order_that_differs_gets_its_rule() -> None:
    found = only(observed(path="/body/items", kind="order"))
    assert (found.look, found.rule) == (Look.ORDER, RuleKind.UNORDERED)


def test_a_time_is_given_twice_the_distance_that_was_seen() -> None:
    found = only(observed(*CASES[0][2]))
    assert found.keys == (("within_seconds", 5),)
    assert "2 s apart" in found.why


def test_the_expression_of_a_token_matches_all_its_values() -> None:
    for _, rule, pairs in CASES:
        if rule is RuleKind.REGEX:
            ((name, expression),) = only(observed(*pairs)).keys
            assert name == "regex"
            compiled = compile_expression(str(expression))
            assert all(compiled.matches(value[1:-1]) for pair in pairs for value in pair)


@pytest.mark.parametrize(
    "seen",
    [
        observed(*CASES[0][2], differed=94),
        observed(*CASES[0][2], kind="missing"),
        observed(*CASES[0][2], kind="length"),
        observed(*CASES[0][2], path="/status"),
        observed(*CASES[0][2], path="/**"),
        Observed(route="a", path="/body/a", kind="value", differed=99, compared=99, pairs=()),
        Observed(route="a", path="/body/a", kind="value", differed=9, compared=0, pairs=()),
    ],
)
def test_what_differs_less_or_otherwise_is_not_mentioned(seen: Observed) -> None:
    assert suggest([seen], 95.0, 100) == ()


CONFIG = """
[backends.legacy]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[[routes]]
name = "orders"
path = "/orders"
"""


@pytest.mark.parametrize(("look", "rule", "pairs"), CASES)
@pytest.mark.parametrize("path", ["/body/items/*/at", "/header/x-served-at"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_snippet_is_what_the_config_takes(
    look: Look, rule: RuleKind | None, pairs: list[tuple[str, str]], path: str, everywhere: bool
) -> None:
    suggestion = only(replace(observed(*pairs, path=path), paths=("/body/items/0/at",)))
    assert suggestion.look is look
    text = snippet(suggestion, everywhere=everywhere)
    assert text.startswith(
        f'# route "orders", "{path}": differed in 100 of 100 comparisons (100 %)\n# '
    )
    if rule is None:
        assert tomllib.loads(text) == {}
        return
    config = parse(CONFIG + text, "twinwrite.toml", {})
    (found,) = config.compare.rules if everywhere else config.routes[0].rules
    assert found.kind is rule
    expected = ((), ("x-served-at",)) if "header" in path else (("/items/*/at",), ())
    assert (found.paths, found.headers) == expected


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/body/*", ("/body/2024",)),
        ("/body/*/at", ("/body/0f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e/at",)),
        ("/body/items/*/*", ("/body/items/0/7", "/body/items/1/7")),
        ("/body/**", ("/body/**",)),
        ("/body/a*b", ("/body/a*b",)),
        ("/body/token/redacted:aaaaaaaaaaaaaaaa", ("/body/token/redacted:aaaaaaaaaaaaaaaa",)),
        ("/body/" + "a" * (PATH_CHARACTERS_MAX - 6), ()),
    ],
)
def test_a_path_that_may_name_more_than_was_seen_gets_no_rule(
    path: str, own: tuple[str, ...]
) -> None:
    found = only(replace(observed(*CASES[0][2], path=path), paths=own))
    assert (found.look, found.rule) == (Look.TIME, None)
    assert tomllib.loads(snippet(found, everywhere=True)) == {}


@pytest.mark.parametrize(
    "name",
    ['x\n[[compare.rules]]\nkind = "ignore"\npaths = ["', "\x1b[2J", "\x9b\u202e\u2028\x7f", "😀"],
)
def test_a_name_cannot_leave_its_line_or_reach_the_terminal(name: str) -> None:
    text = snippet(only(observed(*CASES[0][2], path=f"/body/{name}")), everywhere=False)
    (found,) = tomllib.loads(text)["routes"]["rules"]
    assert tomllib.loads(text) == {"routes": {"rules": [found]}}
    assert found["paths"] == [f"/{name}"]
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_strange_name_is_quoted() -> None:
    text = snippet(only(observed(*CASES[0][2], path='/body/a"\\b')), everywhere=False)
    (found,) = tomllib.loads(text)["routes"]["rules"]
    assert found["paths"] == ['/a"\\b']
