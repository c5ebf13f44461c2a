"""The identity map of this sidecar: the journal's table behind a bounded cache, and who waits for what.

Law: what is not in the map is not guessed: its intents wait (parked) until it is learned.
"""

from collections import OrderedDict

from proxy.control.tally import Tally
from proxy.store.intent import Identity, Intent
from proxy.store.journal import Journal
from rules.identity import Key, Pair
from rules.message import Side

CACHE_MAX = 100_000
"""Identities kept in memory; the rest is one look-up in SQLite (tens of microseconds) away."""


class Identities:
    """Look-ups both ways, new pairs, and the intents that wait for one."""

    def __init__(self, journal: Journal, tally: Tally) -> None:
        self._journal = journal
        self._tally = tally
        self._cache: OrderedDict[tuple[Side, Key], str] = OrderedDict()
        self._waiting: dict[tuple[Side, Key], list[Intent]] = {}

    async def find(self, side: Side, keys: tuple[Key, ...]) -> dict[Key, str]:
        """The values on the other side for these (kind, value on `side`); what is unknown is left out."""
        found: dict[Key, str] = {}
        for key in keys:
            value = self._cache.get((side, key))
            if value is None:
                identity = await self._journal.find_identity(key[0], side, key[1])
                if identity is not None:
                    self._remember(identity)
                value = self._cache.get((side, key))  # learned meanwhile, too
            if value is not None:
                found[key] = value
        return found

    def wait(self, intent: Intent, side: Side, key: Key) -> bool:
        """The intent waits for this identity; False when it is known by now."""
        if (side, key) in self._cache:
            return False
        self._waiting.setdefault((side, key), []).append(intent)
        return True

    def learn(self, pair: Pair, primary: Side) -> list[Intent]:
        """A pair from two replies: kept unless it contradicts one that is known. Who waited for it comes back."""
        legacy, new = pair.primary, pair.secondary
        if primary is Side.NEW:
            legacy, new = new, legacy
        identity = Identity(pair.kind, legacy, new)
        known = self._cache.get((Side.LEGACY, (pair.kind, legacy)), new)
        if known != new or self._cache.get((Side.NEW, (pair.kind, new)), legacy) != legacy:
            self._tally.identity_conflicts += 1
            return []
        self._journal.learn(identity, "reply")
        self._remember(identity)
        freed: list[Intent] = []
        for side in Side:
            freed += self._waiting.pop((side, (pair.kind, identity.on(side))), [])
        return freed

    def forget(self, intent: Intent) -> None:
        """The intent does not wait any more."""
        for key, waiting in list(self._waiting.items()):
            if intent in waiting:
                waiting.remove(intent)
                if not waiting:
                    del self._waiting[key]

    def _remember(self, identity: Identity) -> None:
        self._cache[Side.LEGACY, (identity.kind, identity.legacy)] = identity.new
        self._cache[Side.NEW, (identity.kind, identity.new)] = identity.legacy
        while len(self._cache) > 2 * CACHE_MAX:
            self._cache.popitem(last=False)
