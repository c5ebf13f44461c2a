"""What a client's connection needs to know of those who serve its requests, and of who keeps it."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from proxy.control.ports import Listen
from rules.framing import Refusal, RequestHead


class Sink(Protocol):
    """Who takes one request's body. After `ended`, or `gone`, nothing more comes."""

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of the framed body; the first call comes with the head, even if it is empty."""

    def gone(self) -> None:
        """The client went away before its reply was complete."""

    def writable(self, ready: bool) -> None:
        """Whether the client takes more of the reply."""


class Keeper(Protocol):
    """Who has every client's connection of a listener (`Clients`): their limits, door and counts."""

    listen: Listen
    door: Callable[[Any, RequestHead], Sink | Refusal]
    open: set[Any]
    surplus: set[Any]
    requests: int
    refused: int
    draining: bool
    loop: asyncio.AbstractEventLoop
    idle_timeout_s: float
    head_timeout_s: float
    body_timeout_s: float
    body_byte_s: float
    linger_s: float

    def now(self) -> float:
        """Monotonic seconds."""
