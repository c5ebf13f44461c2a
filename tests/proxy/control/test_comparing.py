"""The keys of rules: from TOML to rules of comparing, their names, and every contradiction."""

import pytest

from proxy.control.comparing import Compare, Rule, contradictions, doubled, tolerances
from proxy.control.config import ConfigError, effective, parse
from rules.compare import Comparison, Match, StatusMatch
from rules.pointer import compile_pattern
from rules.tolerance import RuleKind

BASE = """
[backends.legacy]
url = "http://legacy:8001"
[backends.new]
url = "http://new:8002"
"""
ROUTE = '[[routes]]\nname = "r"\n'


def built(text: str) -> Comparison:
    comparison = parse(BASE + text, "f.toml", {}).policy.routes[0].comparison
    assert comparison is not None
    return comparison


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(BASE + text, "f.toml", {})
    return [str(problem).removeprefix("f.toml: ") for problem in caught.value.problems]


def test_rules_of_every_route_come_before_its_own() -> None:
    rules = tolerances(
        Compare(ignore=("/at",), rules=(Rule(kind=RuleKind.TIME, paths=("/**/at",)),)),
        ("/id", "/at", "/id"),
        ("/tags",),
        (Rule(name="mine", headers=("ETag",)),),
    )
    assert [(rule.name, str(rule.kind), rule.everywhere) for rule in rules] == [
        ("/at", "ignore", True),
        ("time /**/at", "time", True),
        ("/id", "ignore", False),
        ("/tags", "unordered", False),
        ("mine", "ignore", False),
    ]
    assert rules[-1].headers == ("etag",)


def test_a_rule_has_all_that_its_keys_say() -> None:
    comparison = built(
        ROUTE
        + """rules = [
          { name = "a", kind = "regex", paths = ["/t"], regex = "[0-9a-f]{4}" },
          { name = "b", kind = "number", paths = ["/n", "/m"], absolute = 0.01, relative = 0.1 },
          { name = "c", kind = "time", headers = ["Last-Modified"], within_seconds = 2 },
          { name = "d", kind = "unordered", paths = ["/items"], key = "/sku" },
          { name = "e", kind = "rename", paths = ["/user_name"], to = "userName" },
        ]"""
    )
    regex, number, time, unordered, rename = comparison.rules
    assert regex.accepts("00ff", "abcd")
    assert (number.absolute, number.relative) == (0.01, 0.1)
    assert number.paths == (compile_pattern("/n"), compile_pattern("/m"))
    assert (time.headers, time.within_s) == (("last-modified",), 2.0)
    assert unordered.key == ("sku",)
    assert rename.to == "userName"
    assert comparison.chosen == ("content-type", "last-modified")


def test_match_and_status_come_from_the_route_or_from_above() -> None:
    above = '[compare]\nstatus = "class"\n[categories.debug]\nmatch = "presence"\n'
    given = built(above + ROUTE + 'category = "debug"')
    assert (given.match, given.status) == (Match.PRESENCE, StatusMatch.CLASS)
    own = (
        'category = "debug"\nmatch = "exact"\ncompare_status = "exact"\ncompare_headers = ["ETag"]'
    )
    given = built(above + ROUTE + own)
    assert (given.match, given.status) == (Match.EXACT, StatusMatch.EXACT)
    assert given.headers == ("content-type", "etag")


def test_rules_survive_the_effective_text() -> None:
    text = BASE + '[compare]\nrules = [{ kind = "time", paths = ["/at"], within_seconds = 1.5 }]\n'
    config = parse(text, "f.toml", {})
    assert parse(effective(config), "f.toml", {}).policy == config.policy


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "paths = []: must name a path, or headers a header"),
        ('kind = "regex", paths = ["/a"]', 'regex = "": is required by kind = "regex"'),
        ('kind = "rename", paths = ["/a"]', 'to = "": is required by kind = "rename"'),
        ('paths = ["/a"], regex = "x"', 'regex = "x": is for kind = "regex"'),
        ('paths = ["/a"], absolute = 1', 'absolute = 1: is for kind = "number"'),
        ('paths = ["/a"], within_seconds = 1', 'within_seconds = 1: is for kind = "time"'),
        ('paths = ["/a"], key = "/b"', 'key = "/b": is for kind = "unordered"'),
        (
            'kind = "unordered", headers = ["a"]',
            'headers = ["a"]: have no kind = "unordered"',
        ),
        (
            'kind = "rename", paths = ["/a/*"], to = "b"',
            'paths = "/a/*": must end in the name of a member',
        ),
        (
            'kind = "regex", paths = ["/a"], regex = "(a+)+"',
            'regex = "(a+)+": must not repeat a group that has a repeat or a choice in it',
        ),
        (
            'kind = "nothing", paths = ["/a"]',
            'kind = "nothing": must be one of ignore, presence, regex, number, time, type, unordered,'
            " rename",
        ),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(rule: str, problem: str) -> None:
    assert problems(f"{ROUTE}rules = [{{ {rule} }}]") == [f"routes[0].rules[0].{problem}"]
    assert problems(f"[compare]\nrules = [{{ {rule} }}]") == [f"compare.rules[0].{problem}"]


def test_a_name_is_given_once() -> None:
    rules = 'rules = [{ name = "a", paths = ["/a"] }, { paths = ["/b"] }, { paths = ["/b"] }]\n'
    again = 'rules = [{ name = "a", paths = ["/c"] }]\n'
    assert problems(f"[compare]\n{rules}{ROUTE}{again}") == [
        'routes[0].rules[0].name = "a": must be unique'
    ]


def test_what_is_right_contradicts_nothing() -> None:
    rule = Rule(paths=("/a",))
    assert list(contradictions(rule)) == []
    assert list(doubled((rule,), (rule, rule))) == []
    named = Rule(name="n", paths=("/a",))
    assert list(doubled((), (named, named))) == [1]
