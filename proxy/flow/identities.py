"""The identity map of this sidecar: the journal's table behind a bounded cache, and who waits for what.

Law: what is not in the map is not guessed: its intents wait (parked) until it is learned.
"""

from collections import OrderedDict

from proxy.control.tally import Tally
from proxy.store.batch import storable
from proxy.store.intent import Identity, Intent
from proxy.store.pairs import Pairs
from rules.identity import Key, Pair
from rules.message import Side

CACHE_MAX = 100_000
"""Identities kept in memory; the rest is one look-up in SQLite (tens of microseconds) away."""


class Identities:
    """Look-ups both ways, new pairs, and the intents that wait for one."""

    def __init__(self, pairs: Pairs, tally: Tally) -> None:
        self._pairs = pairs
        self._tally = tally
        self._cache: OrderedDict[tuple[Side, Key], str] = OrderedDict()
        self._waiting: dict[tuple[Side, Key], list[Intent]] = {}

    async def find(self, side: Side, keys: tuple[Key, ...]) -> dict[Key, str]:
        """The values on the other side for these (kind, value on `side`); what is unknown is left out."""
        found: dict[Key, str] = {}
        for key in keys:
            value = self._cache.get((side, key))
            if value is None:
                identity = await self._pairs.find(key[0], side, key[1])
                if identity is not None:
                    self._remember(identity)
                value = self._cache.get((side, key))  # learned meanwhile, too
            if value is not None:
                found[key] = value
        return found

    async def recall(self, pairs: tuple[Pair, ...], primary: Side) -> None:
        """Bring what is known of these values to memory, so that `learn` sees what they contradict."""
        wanted = [
            each for each in (_identity(pair, primary) for pair in pairs) if self._is_new(each)
        ]
        if wanted:
            for known in await self._pairs.contradicted(wanted):
                self._remember(known)

    def wait(self, intent: Intent, side: Side, key: Key) -> bool:
        """The intent waits for this identity; False when it is known by now."""
        if (side, key) in self._cache:
            return False
        self._waiting.setdefault((side, key), []).append(intent)
        return True

    def learn(self, pair: Pair, primary: Side) -> list[Intent]:
        """A pair from two replies, after `recall`: kept unless it contradicts one that is known.

        Who waited for it comes back.
        """
        identity = _identity(pair, primary)
        if not self._agrees(identity):
            self._tally.identity_conflicts += 1
            return []
        if self._is_new(identity):
            self._pairs.learn(identity, "reply")
            self._remember(identity)
        freed: list[Intent] = []
        for side in Side:
            freed += self._waiting.pop((side, (pair.kind, identity.on(side))), [])
        return freed

    def forget(self, intent: Intent, side: Side, key: Key) -> None:
        """The intent does not wait for this identity any more."""
        waiting = self._waiting[side, key]
        waiting.remove(intent)
        if not waiting:
            del self._waiting[side, key]

    def _is_new(self, identity: Identity) -> bool:
        return any(self._known(side, identity) is None for side in Side)

    def _agrees(self, identity: Identity) -> bool:
        if any(storable(identity.on(side)) != identity.on(side) for side in Side):
            return False  # no Unicode: it cannot be kept, and no request could carry it
        return all(self._known(side, identity) in (None, identity.on(side.other)) for side in Side)

    def _known(self, side: Side, identity: Identity) -> str | None:
        return self._cache.get((side, (identity.kind, identity.on(side))))

    def _remember(self, identity: Identity) -> None:
        self._cache[Side.LEGACY, (identity.kind, identity.legacy)] = identity.new
        self._cache[Side.NEW, (identity.kind, identity.new)] = identity.legacy
        while len(self._cache) > 2 * CACHE_MAX:
            self._cache.popitem(last=False)


def _identity(pair: Pair, primary: Side) -> Identity:
    legacy, new = pair.primary, pair.secondary
    if primary is Side.NEW:
        legacy, new = new, legacy
    return Identity(pair.kind, legacy, new)
