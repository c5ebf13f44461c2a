"""A real client of each family sees through the sidecar what it sees directly, case by case.

What is written arrives on both sides. A family is left out of a case only where it cannot do it.
"""

import socket
from collections.abc import Iterator
from itertools import count

import pytest

from tests.clients.bed import Bed, made_bed
from tests.clients.cases import CASES, Case, Family, Step
from tests.clients.libraries import by_aiohttp, by_httpx, by_requests
from tests.clients.programs import Node, by_curl
from tests.clients.raw import by_raw_bytes

pytestmark = pytest.mark.system

FAMILIES: dict[str, Family] = {
    "curl": by_curl,
    "requests": by_requests,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
    "raw": by_raw_bytes,
}
NAMES = (*FAMILIES, "node")
MUTATING = ("POST", "PUT", "PATCH", "DELETE")
WHOLE = [
    (family, case)
    for family in FAMILIES
    for case in CASES
    if case.only is None or family in case.only
]

RELEASE = Case(name="release", steps=(Step(path="/release"),))

_numbers = count()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made_bed(tmp_path_factory.mktemp("bed")) as made:
        yield made


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    started = Node()
    yield started
    started.close()


@pytest.fixture
def ask(family: str, request: pytest.FixtureRequest) -> Family:
    found: Family = FAMILIES.get(family) or request.getfixturevalue(family)
    return found


@pytest.mark.parametrize(
    ("family", "case"), WHOLE, ids=[f"{family}: {case}" for family, case in WHOLE]
)
def test_a_client_sees_through_the_sidecar_what_it_sees_directly(
    bed: Bed, ask: Family, case: Case
) -> None:
    number = next(_numbers)
    names = f"{number}-direct", f"{number}-through"
    before = bed.direct.connections, bed.through.connections
    direct = ask(bed.direct.url, case, names[0])
    through = ask(bed.through.url, case, names[1])

    assert [each.status for each in direct] == list(case.statuses or [200] * len(case.steps))
    assert through == direct
    assert 1 <= bed.through.connections - before[1] <= bed.direct.connections - before[0]
    bed.call(bed.sidecar.settled())
    asked, got = bed.legacy.got[names[0]], bed.legacy.got[names[1]]
    if not any(step.form for step in case.steps):  # its boundary is another one each time
        assert got == asked
    answers = {step.method: reply.status for step, reply in zip(case.steps, direct, strict=True)}
    applied = [seen for seen in got if seen[0] in MUTATING and answers.get(seen[0], 500) < 400]
    assert bed.new.got.get(names[1], []) == applied


def test_connections_are_counted_at_both_ways_in(bed: Bed) -> None:
    kept = next(case for case in CASES if case.name == "keep-alive")
    for way in (bed.direct, bed.through):
        before = way.connections
        by_raw_bytes(way.url, kept, "counted")
        assert way.connections == before + 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_event_arrives_before_the_next_one_is_sent(bed: Bed, method: str) -> None:
    where = bed.sidecar.host, bed.sidecar.port
    with socket.create_connection(where, timeout=10) as line, line.makefile("rb") as reader:
        line.sendall(
            f"{method} /events?hold HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
        )
        while reader.readline() != b"data: event 0\n":
            pass
        by_raw_bytes(bed.through.url, RELEASE, "release")
        while reader.readline() != b"data: event 2\n":
            pass
    bed.call(bed.sidecar.settled())


def test_trailers_are_among_what_is_compared(bed: Bed) -> None:
    trailers = next(case for case in CASES if case.name == "trailers")
    (seen,) = by_curl(bed.through.url, trailers, "trailers")
    assert ("x-sum", "5") in seen.headers
