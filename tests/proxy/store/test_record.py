"""Records: an intent's life as bytes, and read back; what is damaged is not believed."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.store import schema
from proxy.store.intent import Intent, pack_request
from proxy.store.record import Logged, begun, concluded, replayed, settled
from rules.fate import State
from rules.message import Request
from rules.payload import digest
from tests.proxy.samples import a_request, an_intent


def row(*records: bytes) -> tuple[bytes, bytes]:
    """A row of the log: the records of one transaction."""
    return digest(b"".join(records)), b"".join(records)


def numbered(number: int, *lanes: str, request: Request | None = None, **more: object) -> Intent:
    return an_intent(*lanes, request=request, id=number, seal=b"s" * 16, **more)


def beginning(intent: Intent) -> bytes:
    assert intent.request is not None
    return begun(intent, State.P_SENT, pack_request(intent.request))


def at(intent: Intent, state: State, **more: object) -> Intent:
    intent.state = state
    for name, value in more.items():
        setattr(intent, name, value)
    return intent


def columns(*rows: tuple[bytes, bytes]) -> dict[int, dict[str, object]]:
    found, damaged = replayed(rows)
    assert not damaged
    return {number: each.columns for number, each in found.items()}


def test_a_beginning_tells_every_column_of_a_row() -> None:
    request = a_request("PATCH", "/a?b=%20", b"\x00\xff")
    intent = numbered(7, "a", "b", request=request, spool="spool/3", bytes=99, received_at=5.5)
    (found,) = columns(row(beginning(intent))).values()
    assert set(found) == set(schema.ROW)
    assert (found["id"], found["state"], found["lanes"]) == (7, "p_sent", ("a", "b"))
    assert (found["method"], found["target"]) == ("PATCH", "/a?b=%20")
    assert (found["received_at"], found["changed_at"]) == (5.5, 5.5)
    assert (found["primary_side"], found["stage"]) == ("legacy", "dual_legacy_primary")
    assert (found["bytes"], found["spool"], found["digest"]) == (99, "spool/3", b"s" * 16)
    assert found["payload"] == pack_request(request)
    assert (found["sequence"], found["reply"], found["reason"], found["attempts"]) == (
        0,
        None,
        "",
        0,
    )


def test_a_whole_life_ends_in_its_last_state_with_everything_that_was_told() -> None:
    intent = numbered(1, "a")
    records = [beginning(intent)]
    at(intent, State.S_PENDING, sequence=4, changed_at=6.0, primary_status=201, bytes=120)
    records.append(settled(intent, b"reply"))
    at(intent, State.S_PENDING, attempts=1, due_at=8.0, reason="status_503", secondary_status=503)
    records.append(concluded(intent))
    at(intent, State.DONE, attempts=2, due_at=0.0, reason="", verdict="match", changed_at=9.0,
       secondary_status=200)  # fmt: skip
    records.append(concluded(intent))
    for rows in ([row(*records)], [row(each) for each in records]):
        (found,) = columns(*rows).values()
        assert (found["state"], found["sequence"], found["bytes"]) == ("done", 4, 120)
        assert (found["reply"], found["primary_status"]) == (b"reply", 201)
        assert (found["attempts"], found["verdict"], found["secondary_status"]) == (2, "match", 200)
        assert (found["due_at"], found["changed_at"], found["reason"]) == (0.0, 9.0, "")
        assert Logged(found).state is State.DONE


def test_what_is_told_of_an_intent_that_begins_nowhere_is_passed_over() -> None:
    gone, here = numbered(1), numbered(2)
    at(gone, State.DONE)
    assert set(columns(row(concluded(gone), beginning(here), settled(gone, None)))) == {2}


def test_several_intents_are_kept_apart() -> None:
    one, two = numbered(1), numbered(2)
    first = row(beginning(one), beginning(two))
    second = row(settled(at(two, State.P_REJECTED), None))
    found, _ = replayed([first, second])
    assert {number: each.state for number, each in found.items()} == {
        1: State.P_SENT,
        2: State.P_REJECTED,
    }


def test_a_log_of_nothing_tells_nothing() -> None:
    assert replayed([]) == ({}, 0)


def test_long_payloads_come_back_exactly() -> None:
    request = Request(method="PUT", target="/", head=b"h" * 70_000, body=b"\x00" * 3_000_000)
    (found,) = columns(row(beginning(numbered(1, request=request)))).values()
    assert found["payload"] == pack_request(request)


@settings(max_examples=300, deadline=None)
@given(st.integers(0), st.integers(0, 7), st.sampled_from(["flip", "cut", "swap", "more"]))
def test_of_a_damaged_row_nothing_is_believed(place: int, bit: int, how: str) -> None:
    one, two = numbered(1, "a"), numbered(2, "b")
    sound = row(beginning(one))
    expected, records = row(
        beginning(two), settled(at(one, State.S_PENDING), b"r"), concluded(at(one, State.DONE))
    )
    place %= len(records)
    damaged = {
        "flip": records[:place] + bytes((records[place] ^ 1 << bit,)) + records[place + 1 :],
        "cut": records[:place],
        "swap": records[place + 1 :] + records[: place + 1] + b"\x00",
        "more": records + bytes((bit,)),
    }[how]
    found, count = replayed([sound, (expected, damaged)])
    assert count == 1
    assert {number: each.state for number, each in found.items()} == {1: State.P_SENT}


@pytest.mark.parametrize("expected", [b"", b"\x00" * 16])
def test_a_digest_that_is_damaged_is_as_bad(expected: bytes) -> None:
    assert replayed([(expected, beginning(numbered(1)))]) == ({}, 1)


def test_a_record_is_an_array_that_begins_with_its_kind() -> None:
    """As docs say of the log: others may read it."""
    intent = numbered(7)
    kinds = [
        msgpack.unpackb(each)[:2]
        for each in (beginning(intent), settled(intent, None), concluded(intent))
    ]
    assert kinds == [[1, 7], [2, 7], [3, 7]]
