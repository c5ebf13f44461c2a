"""What a client's connection needs to know of those who serve its requests."""

from typing import Protocol


class Sink(Protocol):
    """Who takes one request's body. After `ended`, or `gone`, nothing more comes."""

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of the framed body; the first call comes with the head, even if it is empty."""

    def gone(self) -> None:
        """The client went away before its reply was complete."""

    def writable(self, ready: bool) -> None:
        """Whether the client takes more of the reply."""
