"""Clients: each attempt of an operation is one request on a connection of its own."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from proxy.wire.sink import Sink
from rules.framing import Refusal, RequestHead, parse_request
from rules.message import Framing
from tests.simulation.universe import Universe

Door = Callable[[Any, RequestHead], Sink | Refusal]


class Mortal(Protocol):
    """The life of a sidecar, as far as clients are concerned."""

    dead: bool
    came: int

    def answers(self, *, after: bool) -> bool:
        """A client is about to be answered, or has just been; True: this is where the life ends."""


@dataclass(slots=True, kw_only=True)
class Operation:
    """What a client wants: its number, the request, and the key under which it repeats it ("": none)."""

    number: int
    method: str
    target: str
    body: bytes = b""
    key: str = ""
    attempts: "list[Attempt]" = field(default_factory=list)

    @property
    def makes(self) -> bool:
        """Whether it makes a thing, whose id is in the reply."""
        return self.target.startswith("/things?")


class Attempt:
    """One request: what `Write`, `Relay` and `Door` ask of a client's connection (`Downstream`).

    `status` is None until it is answered; `refused` is the sidecar's own reason. `piecewise`: the body
    comes in two pieces, the second after so many seconds.
    """

    def __init__(self, operation: Operation, universe: Universe, piecewise: float = 0.0) -> None:
        self.operation = operation
        self.name = f"{operation.number}.{len(operation.attempts)}"
        self.status: int | None = None
        self.refused = ""
        self.stage = ""
        self.at = 0.0
        self.gone = False
        self.lost = False  # the sidecar died
        self.body = b""
        self.sent_head = b""
        self.peer = ("127.0.0.1", "http")
        self.transport = None
        self.over: Callable[[Attempt], None] = lambda _: None
        self._life: Mortal
        self._piecewise = piecewise
        self._sink: Sink | None = None
        self._universe = universe
        operation.attempts.append(self)

    @property
    def open(self) -> bool:
        """Whether it still waits for its reply."""
        return self.status is None and not self.lost and not self.gone

    def send(self, door: Door, life: Mortal) -> None:
        """Come in."""
        wish = self.operation
        key = f"Idempotency-Key: {wish.key}\r\n" if wish.key else ""
        length = f"Content-Length: {len(wish.body)}\r\n" if wish.body else ""
        head = parse_request(
            f"{wish.method} {wish.target} HTTP/1.1\r\nHost: shop\r\n"
            f"Attempt: {self.name}\r\n{key}{length}\r\n".encode()
        )
        assert isinstance(head, RequestHead), head
        self._life = life
        self.sent_head = head.head
        self._universe.note("client", self.name, wish.method, wish.target, wish.key)
        sink = door(self, head)
        if isinstance(sink, Refusal):
            self.refuse(sink)
            return
        self._sink = sink if self.status is None else None
        life.came += 1
        if wish.body and self._piecewise:
            sink.data(wish.body[:5], False)
            self._universe.later(self._piecewise, self._rest)
        else:
            sink.data(wish.body, True)

    def _rest(self) -> None:
        if self._sink is not None and not self._life.dead and not self.gone:
            self._sink.data(self.operation.body[5:], True)

    def leave(self) -> None:
        """Go away, without waiting any longer."""
        if self.open and not self._life.dead:
            self._universe.note("client", self.name, "goes away")
            self.gone = True
            if self._sink is not None:
                self._sink.gone()
            self._sink = None
            self.over(self)

    def lose(self) -> None:
        """The sidecar died."""
        if self.open:
            self.lost = True
            self._sink = None
            self.over(self)

    # what the sidecar calls

    def reply(self, head: bytes, body: bytes, framing: Framing, *, ended: bool) -> None:
        """As `Downstream.reply`."""
        assert ended, framing
        self._answered(int(head[9:12]), body, "")

    def refuse(self, refusal: Refusal, **_members: str) -> None:
        """As `Downstream.refuse`."""
        self._answered(refusal.status, b"", refusal.detail)

    def _answered(self, status: int, body: bytes, refused: str) -> None:
        if self.gone or self._life.dead or self._life.answers(after=False):
            return
        assert self.status is None, f"{self.name} is answered twice: {self.status}, {status}"
        self._universe.note("client", self.name, "gets", status, refused)
        self.status, self.body, self.refused = status, body, refused
        self._sink = None
        self._life.answers(after=True)
        self.over(self)

    def go_on(self) -> None:
        """As `Downstream.go_on`."""

    def interim(self, status: int, head: bytes) -> None:
        """As `Downstream.interim`."""

    def cut(self) -> None:
        """As `Downstream.cut`."""
        self.lose()

    def pause(self) -> None:
        """As `Downstream.pause`."""

    def resume(self) -> None:
        """As `Downstream.resume`."""

    @property
    def made(self) -> str:
        """The id of the thing that it made."""
        return cast("str", json.loads(self.body)["id"])
