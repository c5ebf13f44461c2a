"""What every client does, and what it may see of it: the same directly and through the sidecar."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MIB = 1 << 20
DOCUMENT = {"a": 1, "b": ["x", None, "\u00e4"]}
BIG = bytes(range(256)) * (MIB // 256)
LARGE = "l" * 4000

UNSEEN = frozenset(("date", "connection", "keep-alive"))
"""Fields that are not compared: the time, and what belongs to one connection (RFC 9110 7.6.1)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request. Of `body`, `json` and `form` at the most one; `form` goes out as multipart with `file`."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    json: object | None = None
    form: Mapping[str, str] | None = None
    file: tuple[str, bytes] | None = None
    chunked: bool = False
    expect: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests that one client makes one after the other, in one session."""

    name: str
    steps: tuple[Step, ...]
    statuses: tuple[int, ...] = ()  # what they are answered; where it says nothing: 200
    follow: bool = False
    old: bool = False  # HTTP/1.0
    only: frozenset[str] | None = None  # the families that can do it

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Reply:
    """What a client saw of one step: headers lower-case and sorted, without UNSEEN."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    redirects: int = 0


def reply(status: int, headers: list[tuple[str, str]], body: bytes, redirects: int = 0) -> Reply:
    """A Reply of headers in any case and order."""
    named = sorted((name.lower(), value) for name, value in headers)
    return Reply(status, tuple(pair for pair in named if pair[0] not in UNSEEN), body, redirects)


Family = Callable[[str, Case, str], list[Reply]]
"""A kind of client: makes the requests of a case at a URL, each with `X-Case: NAME`."""

CASES = (
    Case(name="get", steps=(Step(path="/hello?a=1&b=%20+%C3%A4&b="),)),
    Case(name="head", steps=(Step(path="/hello", method="HEAD"),)),
    Case(name="options", steps=(Step(path="/echo", method="OPTIONS"),)),
    Case(name="post json", steps=(Step(path="/echo", method="POST", json=DOCUMENT),)),
    Case(name="patch", steps=(Step(path="/echo", method="PATCH", body=b'{"a": 2}'),)),
    Case(name="put 1 MiB", statuses=(201,), steps=(Step(path="/echo", method="PUT", body=BIG),)),
    Case(name="empty post", steps=(Step(path="/echo", method="POST", body=b""),)),
    Case(name="delete", statuses=(204,), steps=(Step(path="/empty", method="DELETE"),)),
    Case(name="chunked upload", steps=(Step(path="/echo", method="POST", body=BIG, chunked=True),)),
    Case(
        name="multipart",
        steps=(
            Step(path="/form", method="POST", form={"a": "1", "b": "\u00e4"}, file=("f.bin", BIG[:70000])),
        ),
    ),
    Case(name="204", statuses=(204, 200), steps=(Step(path="/empty"), Step(path="/hello"))),
    Case(
        name="304", statuses=(200, 304, 200),
        steps=(Step(path="/tagged"), Step(path="/tagged", headers={"If-None-Match": '"v1"'}), Step(path="/hello")),
    ),
    Case(name="gzip", steps=(Step(path="/zipped", headers={"Accept-Encoding": "gzip"}),)),
    Case(name="chunked reply", steps=(Step(path="/chunky"), Step(path="/hello"))),
    Case(
        name="redirect",
        steps=(Step(path="/moved"), Step(path="/moved", method="POST", body=b"x=1")),
        follow=True,
        only=frozenset(("curl", "requests", "httpx", "aiohttp", "node")),
    ),
    Case(
        name="cookies",
        steps=(Step(path="/cookies"), Step(path="/cookies"), Step(path="/cookies", method="POST", body=b"x")),
        only=frozenset(("curl", "requests", "httpx", "aiohttp")),
    ),
    Case(
        name="large headers",
        steps=(Step(path="/large", headers={f"X-Large-{n}": LARGE for n in range(3)}),),
    ),
    Case(
        name="expect",
        steps=(Step(path="/echo", method="POST", body=BIG * 2, expect=True), Step(path="/hello")),
        only=frozenset(("curl", "aiohttp", "node", "raw")),
    ),
    Case(name="keep-alive", steps=tuple(Step(path=f"/hello?n={n}") for n in range(5))),
    Case(
        name="keep-alive of writes",
        steps=tuple(Step(path="/echo", method="POST", body=b"%d" % n) for n in range(5)),
    ),
    Case(name="events", steps=(Step(path="/events", headers={"Accept": "text/event-stream"}),)),
    Case(name="trailers", steps=(Step(path="/trailers"),), only=frozenset(("curl", "node", "raw"))),
    Case(
        name="404",
        statuses=(404, 404),
        steps=(Step(path="/missing"), Step(path="/missing", method="POST", body=b"x")),
    ),
    Case(name="500", statuses=(500, 200), steps=(Step(path="/broken"), Step(path="/hello"))),
    Case(name="close", steps=(Step(path="/close"), Step(path="/close", method="POST", body=b"x"), Step(path="/hello"))),
    Case(
        name="client closes",
        steps=(Step(path="/hello", headers={"Connection": "close"}),),
        only=frozenset(("curl", "requests", "httpx", "aiohttp", "raw")),
    ),
    Case(
        name="HTTP/1.0",
        steps=(Step(path="/hello"), Step(path="/echo", method="POST", body=b"old")),
        old=True,
        only=frozenset(("curl", "raw")),
    ),
)  # fmt: skip
