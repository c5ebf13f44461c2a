"""The network and what is behind it: two keyed stores, and between them and a sidecar everything that can go wrong."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from proxy.wire.connection import Receiver
from proxy.wire.pool import Exchange, Hearer
from rules.framing import ReplyHead
from rules.message import Cause, Failure, Framing, Outcome, Reply, Request, Side
from tests.simulation.universe import Universe

ARRIVAL_S = 0.1
"""A request is at its side after this at the latest, or it is lost (or late, where a side can tell repetitions)."""

TIMEOUT_S = 0.4
"""How long a sidecar waits for a reply."""

FILES = ("d/a/x", "d/a/y", "d/b/x", "d/b/y")
"""Every file there may be below `/d`."""

_HEAD = re.compile(rb"([A-Z]+) (\S+) ")
_FIELDS = re.compile(rb"\r\n(?i:(attempt|idempotency-key)):[ ]*([^\r]*)")
_REASONS = {200: "OK", 201: "Created", 204: "No Content"}


class Applied(NamedTuple):
    """One application of an attempt at a side. `keys` are its entities, `life` the sidecar's that sent it."""

    at: float
    life: int
    attempt: str
    keys: tuple[str, ...]
    primary: bool
    method: str
    target: str


class Mortal(Protocol):
    """The life of a sidecar, as far as the network is concerned."""

    dead: bool
    number: int

    @property
    def primary(self) -> Side:
        """The side that has authority."""

    def sends(self, *, after: bool) -> bool:
        """A request is about to leave, or has just left; True: this is where the life ends."""


@dataclass(slots=True)
class Faults:
    """The chances of each fault, each for one request, and how long a healthy reply takes at the most.

    `refusal`: of a 4xx, by attempt: a side that refuses one refuses it always.
    """

    chances: dict[str, float] = field(default_factory=dict)
    refusal: float = 0.0
    latency_s: float = 0.02


class Model:
    """What a side keeps: the operations that made each key what it is. `made`: by which attempt a thing was."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[str, ...]] = {}

    def apply(self, method: str, keys: tuple[str, ...], op: str) -> int:
        """The status; nothing is changed unless it is 2xx."""
        held = self.contents
        if method in ("MOVE", "PATCH", "DELETE") and keys[0] not in held:
            return 404
        if method in ("PUT", "CREATE"):
            held[keys[0]] = (op,)
        elif method == "PATCH":
            held[keys[0]] += (op,)
        elif method == "MOVE":
            held[keys[1]] = (*held.pop(keys[0]), op)
        elif method == "BATCH":
            held.update({key: (*held.get(key, ()), op) for key in keys})
        elif method == "TOUCH":
            held.update({key: (*held[key], op) for key in keys if key in held})
        else:  # DELETE, CLEAR
            for key in keys:
                held.pop(key, None)
        return 201 if method == "CREATE" else 200


class Backend:
    """One side: it outlives every sidecar. `honours`: it knows repetitions by their Idempotency-Key."""

    def __init__(self, side: Side, universe: Universe, *, honours: bool) -> None:
        self.side = side
        self.honours = honours
        self.model = Model()
        self.log: list[Applied] = []
        self.faults = Faults()
        self.told: list[str] = []  # attempts, as the sidecar heard of them from it as primary
        self.ids: dict[str, str] = {}  # of things: the key that both sides' ids stand for
        self.down = False
        self.timeout_s = TIMEOUT_S
        self.late_is_safe = True  # as primary: nothing is sent to it a second time
        self._keyed: dict[str, tuple[int, bytes]] = {}
        self._universe = universe

    def take(self, life: int, data: tuple[bytes, bytes], *, primary: bool) -> tuple[int, bytes]:
        """Carry a request out: status and body of the reply."""
        head, body = data
        method, target, fields = parsed(head)
        attempt, key = fields.get("attempt", ""), fields.get("idempotency-key", "")
        if method == "GET":
            held = self.model.contents.get(target.partition("?")[0][1:])
            return (404, b"{}") if held is None else (200, b'{"op": %s}' % held[-1].encode())
        if self.honours and key in self._keyed:
            self._universe.note(self.side, "knows", attempt, key)
            return self._keyed[key]
        op = attempt.partition(".")[0]
        kind, keys, made = self._meaning(method, target, body, op)
        if keys is None:
            status = 404
        elif self._refuses(op):
            status = 422
        else:
            status = self.model.apply(kind, keys, op)
        answer = json.dumps({"id": made} if made else {"op": op}).encode()
        gone = kind == "DELETE" and status == 404
        self._universe.note(self.side, "applies", attempt, kind, *(keys or ()), status)
        if keys is not None and (status < 300 or gone):
            entry = Applied(self._universe.now, life, attempt, keys, primary, kind, target)
            self.log.append(entry)
        if status < 300 and key:
            self._keyed[key] = status, answer
        return status, answer

    def _refuses(self, op: str) -> bool:
        """A verdict that does not depend on when it is asked."""
        return (int(op) * 7919 + len(self.side)) % 1000 < self.faults.refusal * 1000

    def _meaning(
        self, method: str, target: str, body: bytes, op: str
    ) -> tuple[str, tuple[str, ...] | None, str]:
        """What it does, to which keys (None: there is no such thing), and the id that it makes."""
        _, room, *names = target.partition("?")[0].split("/")
        if room == "move":
            return "MOVE", (f"k/{names[0]}", f"k/{names[1]}"), ""
        if room == "batch":
            wanted = json.loads(body)
            return "BATCH", tuple(dict.fromkeys((f"k/{wanted['a']}", f"k/{wanted['b']}"))), ""
        if room == "many":
            return (
                "BATCH",
                tuple(dict.fromkeys(f"k/{each}" for each in json.loads(body)["items"])),
                "",
            )
        if room == "all":
            return "TOUCH", FILES, ""
        if room == "d":
            path = "/".join((room, *names))
            below = tuple(each for each in FILES if each.startswith(f"{path}/"))
            return ("CLEAR", below, "") if below else (method, (path,), "")
        if room == "things" and not names:
            made = f"{self.side[0].upper()}{len(self.ids) + 1}"
            self.ids[made] = f"t/{op}"
            return "CREATE", (f"t/{op}",), made
        if room == "things":
            key = self.ids.get(names[0])
            return method, None if key is None else (key,), ""
        return method, (f"{room}/{names[0]}",), ""


def parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, target, and the fields that matter here."""
    found = _HEAD.match(head)
    assert found is not None
    fields = {name.decode().lower(): value.decode() for name, value in _FIELDS.findall(head)}
    return found[1].decode(), found[2].decode(), fields


class Network:
    """In the place of the `Pool` of one side, for one life."""

    def __init__(self, backend: Backend, life: Mortal, universe: Universe) -> None:
        self._backend = backend
        self._life = life
        self._universe = universe

    def ask(
        self, request: Request, head: bytes, limit: int, hearer: Hearer | None = None
    ) -> Exchange:
        """As `Pool.ask`."""
        exchange = Exchange(limit, hearer)
        body = request.body if request.spool is None else Path(request.spool).read_bytes()
        self._send((head, body), exchange.resolve)
        return exchange

    def idle(self) -> "Link":
        """As `Pool.idle`: there is always a connection."""
        return Link(self._send)

    def _send(self, data: tuple[bytes, bytes], told: Callable[[Outcome], None]) -> None:
        life = self._life
        primary = self._backend.side is life.primary
        if life.dead or life.sends(after=False):
            return
        chance, faults = self._universe.chance, self._backend.faults
        fault = "refused" if self._backend.down else ""
        if not fault:
            for name, likely in faults.chances.items():
                if chance.random() < likely:
                    fault = name
                    break
        there, back = self._pair(faults.latency_s)
        if fault == "slow":
            back += self._backend.timeout_s * 0.7
        self._universe.note("send", self._backend.side, parsed(data[0])[2].get("attempt"), fault)
        self._way(fault, there, back, Sent(self, data, told, primary))
        life.sends(after=True)

    def _pair(self, latency_s: float) -> tuple[float, float]:
        chance = self._universe.chance
        return min(chance.random() * latency_s, ARRIVAL_S), chance.random() * latency_s

    def _way(self, fault: str, there: float, back: float, sent: "Sent") -> None:
        later, timeout_s = self._universe.later, self._backend.timeout_s
        if fault in ("refused", "pool_full"):
            failure = Failure(cause=Cause(fault), sent=False, detail="simulated", latency_s=there)
            later(there, sent.tell, failure)
        elif fault == "lost":
            later(timeout_s, sent.tell, _lost(Cause.TIMEOUT))
        elif fault == "lost_reply":
            later(there, sent.arrive, None)
            later(timeout_s, sent.tell, _lost(Cause.TIMEOUT))
        elif fault == "late":
            if self._backend.late_is_safe if sent.primary else self._backend.honours:
                later(timeout_s * (1 + 2 * self._universe.chance.random()), sent.arrive, None)
            later(timeout_s, sent.tell, _lost(Cause.TIMEOUT))
        elif fault == "reset":
            later(there, sent.tell, _lost(Cause.RESET))
        elif fault == "reset_after":
            later(there, sent.arrive, None)
            later(there + back, sent.tell, _lost(Cause.RESET))
        elif fault.startswith("applied_"):
            later(there, sent.arrive, None)
            later(there + back, sent.answer, int(fault.removeprefix("applied_")))
        elif fault.startswith("status_"):
            later(there + back, sent.answer, int(fault.removeprefix("status_")))
        else:
            later(there, sent.arrive, back)

    def arrived(self, sent: "Sent", back: float | None) -> None:
        """The request is at its side."""
        if self._backend.down:
            if back is not None:
                sent.tell(_lost(Cause.RESET))
            return
        status, body = self._backend.take(self._life.number, sent.data, primary=sent.primary)
        if back is not None:
            self._universe.later(back, sent.tell, reply(status, body, back))

    def told(self, sent: "Sent", outcome: Outcome) -> None:
        """The outcome is at the sidecar, if it still lives."""
        if self._life.dead:
            return
        self._universe.note("told", self._backend.side, sent.attempt, _word(outcome))
        if sent.primary:
            self._backend.told.append(sent.attempt or "")
        sent.told_to(outcome)

    def sweep(self) -> None:
        """As `Pool.sweep`."""


class Sent:
    """One request on its way."""

    __slots__ = ("data", "network", "primary", "told_to")

    def __init__(
        self,
        network: Network,
        data: tuple[bytes, bytes],
        told: Callable[[Outcome], None],
        primary: bool,
    ) -> None:
        self.network = network
        self.data = data
        self.told_to = told
        self.primary = primary

    @property
    def attempt(self) -> str | None:
        """Which of the clients' attempts it belongs to."""
        return parsed(self.data[0])[2].get("attempt")

    def arrive(self, back: float | None) -> None:
        """It is at its side; the reply takes so long, or nobody hears it."""
        self.network.arrived(self, back)

    def answer(self, status: int) -> None:
        """A reply that the side's logic has no part in."""
        self.tell(reply(status, b"{}", 0.001, "Retry-After: 1\r\n" if status == 429 else ""))

    def tell(self, outcome: Outcome) -> None:
        """It comes back."""
        self.network.told(self, outcome)


class Link:
    """In the place of a `Connection`, for what is relayed."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._data = b""
        self._receiver: Receiver

    def start(
        self, receiver: Receiver, _method: str, head: bytes, body: bytes = b"", *, ended: bool
    ) -> float:
        """As `Connection.start`."""
        self._receiver = receiver
        self.write(head + body, ended=ended)
        return 0.0

    def write(self, data: bytes, *, ended: bool) -> None:
        """As `Connection.write`: what is cut short never arrives."""
        self._data += data
        if not ended:
            return
        head, _, body = self._data.partition(b"\r\n\r\n")
        receiver = self._receiver

        def told(outcome: Outcome) -> None:
            if isinstance(outcome, Failure):
                receiver.failed(outcome)
            else:
                length = len(outcome.body)
                came = ReplyHead(outcome.status, outcome.head, outcome.framing, length, True)
                receiver.reply(came, outcome.body, True)

        self._send((head + b"\r\n\r\n", body), told)

    def serves(self, _receiver: object) -> bool:
        """As `Connection.serves`: the reply comes in one piece."""
        return False


def reply(status: int, body: bytes, latency_s: float, fields: str = "") -> Reply:
    """A reply as the sidecar gets it."""
    reason = _REASONS.get(status, "Other")
    head = f"HTTP/1.1 {status} {reason}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    return Reply(status, head, body, Framing.LENGTH, False, latency_s)


def _lost(cause: Cause) -> Failure:
    return Failure(cause=cause, sent=True, detail="simulated", latency_s=TIMEOUT_S)


def _word(outcome: Outcome) -> str:
    return outcome.cause if isinstance(outcome, Failure) else str(outcome.status)
