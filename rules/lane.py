"""In which lanes a write goes: the names of its entities, and of what stands above them.

Law: a lane may be wider than what a write concerns, never narrower. A name that begins with `^` is held
shared, any other alone (multi-granularity locking, Gray et al. 1976): a write holds what its keys name,
and shares what stands above it with its neighbours.
"""

from dataclasses import dataclass

from rules.coding import Unreadable
from rules.route import Ordering, Plan, Policy, Route, Scope, Sharing
from rules.sample import in_sample
from rules.source import Parts, decoded_path, read_all

KEYS_MAX = 1000
"""A body that names more concerns its whole entity: 1,000 take 2 ms to find, to enter and to leave (measured)."""

CHARACTERS_MAX = 131_072
"""The keys of a request in all, as 128 for each of KEYS_MAX: they stay in memory for as long as it is owed."""

LEVELS_MAX = 32
"""Deeper keys hold the level above them: a path of 32 KiB may have 16,000 levels."""

_UNORDERED, _UNSHARED = Ordering.NONE, Sharing.NOTHING


def lanes(plan_: Plan, parts: Parts) -> tuple[str, ...]:
    """The lanes of a write, sorted: one per entity key, and the route's own lane where a key is missing.

    In an entity that is shared also what stands above, each with `^`; a write whose keys are too many or cannot be
    told then holds the whole entity.
    """
    route = plan_.route
    if route.ordering is _UNORDERED:
        return ()
    if not route.entity_keys and route.sharing is _UNSHARED:
        return (route.name,)
    found = _keys(route, parts)
    if route.sharing is not _UNSHARED:
        return _shared_lanes(route, found)
    entity = route.entity or route.name
    names = {f"{entity}:{key}" for key in found.values}
    if found.lacking or found.unclear:
        names.add(route.name)
    return tuple(sorted(names))


def path_lanes(plan_: Plan) -> tuple[str, ...] | None:
    """What `lanes` would say, where the head alone tells it and every entity is mirrored; else None."""
    route = plan_.route
    if not route.path_key or plan_.found is None or plan_.category.percent < 100.0:
        return None
    return (f"{route.entity or route.name}:{decoded_path(plan_.found[route.path_key])}",)


def is_sampled(plan_: Plan, policy: Policy, parts: Parts) -> bool:
    """Whether an entity of a write is within its category's percent: sticky, the same in every sidecar.

    A tree is within it or not as a whole.
    """
    percent = plan_.category.percent
    if percent >= 100.0:
        return True
    keys = _keys(plan_.route, parts).values
    if plan_.route.sharing is Sharing.LEVELS:
        keys = dict.fromkeys("/".join(_levels(key)[:1]) for key in keys)
    return any(in_sample(key or parts.target, percent, policy.salt) for key in keys or ("",))


@dataclass(slots=True)
class _Keys:
    """The entity keys of a request, in order and without repeats: a dict for its order."""

    values: dict[str, None]
    lacking: bool = False
    """Some are not there, or there are none."""
    unclear: bool = False
    """Some cannot be told, or there are too many."""


def _keys(route: Route, parts: Parts) -> _Keys:
    found, left = _Keys({}), CHARACTERS_MAX
    most = (
        CHARACTERS_MAX if route.sharing is _UNSHARED else KEYS_MAX
    )  # all in the head: it bounds them
    for source in route.entity_keys:
        try:
            for key in read_all(source, parts):
                if key is None:
                    found.lacking = True
                elif key not in found.values:
                    left -= len(key)
                    if left < 0 or len(found.values) == most:
                        found.unclear = True
                        break
                    found.values[key] = None
        except Unreadable:
            found.unclear = True
    found.lacking = found.lacking or not found.values
    return found


def _shared_lanes(route: Route, found: _Keys) -> tuple[str, ...]:
    whole = f"{route.entity or route.name}:"
    if route.scope is Scope.ALL or found.unclear:
        return (whole,)
    alone, shared = set(), {whole}
    for key in found.values:
        levels = _levels(key) if route.sharing is Sharing.LEVELS else (key,)
        names = [whole + "/".join(levels[:depth]) for depth in range(len(levels) + 1)]
        alone.add(names.pop())
        shared.update(names)
    if found.lacking:
        alone.add(route.name)
    shared -= alone
    if len(alone) + len(shared) > KEYS_MAX or sum(map(len, alone | shared)) > CHARACTERS_MAX:
        return (whole,)
    return tuple(sorted([*alone, *("^" + name for name in shared)]))


def _levels(key: str) -> tuple[str, ...]:
    """The levels of a key that is a path, from the top.

    Servers differ in how they take empty levels and `.`, so these count for nothing; and in whether `..` goes up, so
    such a key holds the lowest level that is above both readings.
    """
    levels: list[str] = []
    sure: int | None = None
    for level in key.split("/"):
        if level == "..":
            del levels[-1:]
            sure = len(levels) if sure is None else min(sure, len(levels))
        elif level not in ("", "."):
            levels.append(level)
    return tuple(levels[:sure][:LEVELS_MAX])
