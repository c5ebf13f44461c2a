"""Pairing: by key, by digest, by trial, and its limits."""

from collections import deque

from rules.canonical import Budget, Digests, Sight
from rules.pairing import Pairing, places
from rules.same import NONE, Spelling
from rules.tolerance import Rulebook


def digests() -> Digests:
    return Digests(Rulebook(()), Spelling(NONE, None), Sight.FULL, Budget(1000), presence=False)


def test_a_key_pairs_what_both_have_once() -> None:
    one: list[object] = [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 3}, {}, {"id": [1]}]
    other: list[object] = [{"id": 3}, {"id": 1.0}, {"id": 2}, {"id": 2}, {}]
    pairing = Pairing(one, other)
    pairing.by_key(("id",), (), digests(), digests())
    assert pairing.taken == {1: 0}
    assert pairing.left() == ([1, 2, 3, 4, 5], [0, 2, 3, 4])


def test_equal_digests_pair_once_each() -> None:
    pairing = Pairing(["a", "a", "b"], ["b", "a"])
    pairing.by_digest(pairing.left(), (["a", "a", "b"], ["b", "a"]))
    assert pairing.taken == {1: 0, 0: 2}
    assert pairing.left() == ([1], [])


def test_a_trial_moves_others_to_make_room() -> None:
    edges = {(0, 0), (0, 1), (1, 0)}
    pairing = Pairing([0, 1], [0, 1])
    candidates = [deque([0, 1]), deque([0, 1])]
    pairing.by_trial([0, 1], candidates, lambda index, counterpart: (index, counterpart) in edges)
    assert pairing.taken == {0: 1, 1: 0}


def test_places_are_by_digest() -> None:
    assert places([3, 5, 7], ["a", "b", "a"]) == {"a": deque([3, 7]), "b": deque([5])}
