"""The way out to one side: the last change to a head before its bytes are sent.

Law: what it puts in is never journaled, so a replay gets what is right when it is sent. A side that
gets just what the client sent costs one concatenation.
"""

from collections.abc import Mapping
from pathlib import Path

from proxy.control.log import Log
from proxy.control.outbound import CredentialError, outbound_of
from proxy.control.sides import Backend
from rules.message import Side
from rules.outbound import dressed, is_known

_Stamp = tuple[int, int, int] | None


class Exit:
    """Makes the heads of one side, and notices when its credential file changes.

    `hop` is the loop guard's line. Raises CredentialError when a credential cannot be read at first.
    """

    def __init__(
        self, side: Side, backend: Backend, hop: bytes, environment: Mapping[str, str], log: Log
    ) -> None:
        self._backend = backend
        self._environment = environment
        self._hop = hop + b"\r\n\r\n"
        self._log = log
        self._side = side
        self._stamp = self._stamped()
        self._outbound = outbound_of(backend, environment)
        self.maps = self._outbound is not None and self._outbound.credentials is not None
        """Whether each client's credential needs one of the side: ask `knows` before sending."""

    def head(self, head: bytes) -> bytes:
        """The head as the side gets it."""
        if self._outbound is not None:
            head = dressed(head, self._outbound)
        return head[:-2] + self._hop

    def knows(self, head: bytes) -> bool:
        """Whether the side has a credential for the client's, if it needs one."""
        return not self.maps or (self._outbound is not None and is_known(head, self._outbound))

    def sweep(self) -> None:
        """Once per tick: read a credential file that has changed. What cannot be used changes nothing."""
        if not self._backend.auth_file:
            return
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._outbound = outbound_of(self._backend, self._environment)
        except CredentialError as error:
            self._log.error("credential_failed", side=self._side, error=str(error))
        else:
            self._log.info("credential_read", side=self._side)

    def _stamped(self) -> _Stamp:
        """What tells two contents of the file apart; a mounted secret is a link to another file."""
        if not self._backend.auth_file:
            return None
        try:
            found = Path(self._backend.auth_file).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
