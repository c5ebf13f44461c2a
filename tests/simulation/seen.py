"""What became of each write, over all lives: told by a journal that is watched."""

from proxy.store.batch import StoreError
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from rules.fate import OWED, Event, State
from rules.message import Outcome
from tests.simulation.network import parsed
from tests.simulation.universe import Universe


class Seen:
    """What became of each attempt, over all lives: by intent id."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self.attempt: dict[int, str] = {}  # of each intent that is durable, or may be
        self.state: dict[int, State] = {}
        self.was: dict[int, set[State]] = {}
        self.unsettled: set[int] = set()  # the disk refused the primary's outcome at first
        self.durable: set[int] = set()  # `begin` said so
        self.pending = 0  # begins of this life that were not told yet
        self.uncertain = 0  # begins that may be durable without anybody having been told
        self.refused = 0  # in this life
        self.lanes: dict[int, tuple[int, tuple[str, ...]]] = {}  # of what is owed: place, lanes
        self.blocks = True  # a dead letter holds its lanes
        self.deaf = False  # whoever is to be heard died in the middle of something
        self.broken: list[str] = []  # laws that were broken on the way

    def accepted(self, intent: Intent) -> None:
        """A write came in."""
        assert intent.request is not None
        attempt = parsed(intent.request.head)[2].get("attempt", "")
        self._universe.note("write", attempt, "lanes", *intent.lanes)

    def begins(self) -> None:
        """A write is on its way to the disk."""
        self.pending += 1

    def begun(self, intent: Intent, error: StoreError | None) -> None:
        """A write is durable, or is not."""
        if self.deaf:
            return
        self.pending -= 1
        if error is None:
            self.durable.add(intent.id)
        else:
            self.refused += 1

    def moved(self, intent: Intent, before: State, event: Event) -> None:
        """An intent has another state."""
        if self.deaf:
            return
        if event is Event.BEGIN:  # what never was durable leaves its id to another
            assert intent.request is not None
            self.attempt[intent.id] = parsed(intent.request.head)[2].get("attempt", "")
            self.was[intent.id] = set()
        name = self.attempt.get(intent.id, "")
        self._universe.note("intent", intent.id, name, before, event, intent.state)
        if intent.id in self.attempt:
            self.state[intent.id] = intent.state
            self.was.setdefault(intent.id, set()).add(intent.state)
        if event is Event.OWE:
            self.lanes[intent.id] = intent.sequence, intent.lanes
        elif event is Event.SEND:
            self._check_lanes(intent)

    def _name(self, identity: int) -> str:
        return self.attempt.get(identity, f"intent {identity}")

    def _check_lanes(self, sent: Intent) -> None:
        """Nothing is sent while an earlier write of its lanes is owed, or is a dead letter that holds them."""
        place, names = self.lanes[sent.id]
        held = (*OWED, State.DEAD) if self.blocks else tuple(OWED)
        for identity, (earlier, others) in self.lanes.items():
            if earlier < place and self.state[identity] in held and _conflict(names, others):
                if not self.blocks and State.DEAD in self.was[identity] | self.was[sent.id]:
                    continue
                law = f"{self._name(sent.id)} is sent before {self._name(identity)}, which is earlier in its lane"
                self.broken.append(law)

    def dead(self) -> list[int]:
        """The dead letters."""
        return [identity for identity, state in self.state.items() if state is State.DEAD]

    def ended(self, *, doubtful: bool) -> None:
        """A life ended; `doubtful`: what was refused in it may be durable."""
        self.uncertain += self.pending + (self.refused if doubtful else 0)
        self.pending = self.refused = 0
        self.deaf = True


def _conflict(lanes: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether two writes may not be under way at once: `^` is a lane that is shared."""
    return any(
        name.removeprefix("^") == other.removeprefix("^") and not (name[0] == other[0] == "^")
        for name in lanes
        for other in others
    )


class Watched(Journal):
    """The journal, and what it was told: that is what the laws are checked on."""

    seen: Seen
    life: int

    def accept(self, intent: Intent) -> None:
        """As `Journal.accept`."""
        super().accept(intent)
        self.seen.accepted(intent)

    async def begin(self, intent: Intent) -> StoreError | None:
        """As `Journal.begin`."""
        self.seen.begins()
        error = await super().begin(intent)
        self.seen.begun(intent, error)
        return error

    async def settle(self, intent: Intent, event: Event, outcome: Outcome) -> StoreError | None:
        """As `Journal.settle`."""
        error = await super().settle(intent, event, outcome)
        if error is not None:
            self.seen.unsettled.add(intent.id)
        return error

    def _move(self, intent: Intent, event: Event) -> None:
        before = intent.state
        super()._move(intent, event)
        self.seen.moved(intent, before, event)
