"""How routes let unknown outcomes be settled; what contradicts itself is in test_config."""

from proxy.control.settings import Route
from proxy.control.ways import contradictions, ways_of
from rules.probe import Ways
from rules.route import Ordering


def test_the_ways_of_a_route_are_those_of_its_keys() -> None:
    routes = [Route(name="a", probe="/a", probe_equals=("/b/0",)), Route(name="b", reask=True)]

    assert ways_of(routes) == {
        "a": Ways(probe="/a", equals=(("b", "0"),)),
        "b": Ways(reask=True),
    }


def test_a_probe_needs_nothing_to_agree_where_it_is_for_deletes_only() -> None:
    route = Route(name="a", methods=("DELETE",), path="/a/{id}", probe="/a/{id}")

    assert not list(contradictions(route, [route]))


def test_routes_of_another_entity_may_overlap() -> None:
    route = Route(name="a", reask=True)
    other = Route(name="b", ordering=Ordering.COMPLETION)

    assert not list(contradictions(route, [route, other]))
    assert list(
        contradictions(route, [route, Route(name="b", entity="a", ordering=Ordering.COMPLETION)])
    )
