"""The keys of a route that say how unknown outcomes are settled: `reask`, `probe`, `probe_equals`.

Law: what the primary says of an unknown write counts only while no later write of its entity is under way.
"""

from collections.abc import Iterable, Iterator, Mapping

from proxy.control.settings import Route
from rules.pointer import parse
from rules.probe import Ways, unknown_captures
from rules.route import Ordering, compile_path


def ways_of(routes: Iterable[Route]) -> Mapping[str, Ways]:
    """How the routes let unknown outcomes be settled, by their names."""
    return {
        each.name: Ways(
            reask=each.reask, probe=each.probe, equals=tuple(map(parse, each.probe_equals))
        )
        for each in routes
    }


def contradictions(
    route: Route, routes: Iterable[Route]
) -> Iterator[tuple[tuple[str, ...], object, str]]:
    """What contradicts itself: the keys at fault, the value of the first one, and what is allowed there."""
    for name in unknown_captures(route.probe, frozenset(compile_path(route.path).groupindex)):
        allowed = f"{{{name}}} must be a capture of the path {route.path}"
        yield ("probe", "path"), route.probe, allowed
    if route.probe and not route.probe_equals and set(route.methods) != {"DELETE"}:
        yield ("probe_equals", "probe"), route.probe_equals, "must name what has to agree"
    if route.probe_equals and not route.probe:
        yield ("probe", "probe_equals"), route.probe, "must name what is read, for probe_equals"
    overlapping = [
        other.name
        for other in routes
        if (other.entity or other.name) == (route.entity or route.name)
        and other.ordering is Ordering.COMPLETION
    ]
    for key, value in (("reask", route.reask), ("probe", route.probe)):
        if value and overlapping:
            allowed = f'contradicts ordering = "completion" of {overlapping[0]}: writes overlap'
            yield (key, "ordering"), value, allowed
