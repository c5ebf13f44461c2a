"""Every key of the TOML file, declared once: its name, default, limits, and what it is for.

Law: the fields are the keys, their class says what may stand there, and nothing else lists them.
`config.example.toml` repeats each line of these declarations; a test holds it to them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from proxy.control.address import Address, check_socket_path, parse_url
from proxy.control.checks import base_path, path, set_header, settable, variable
from proxy.control.keys import key
from proxy.control.tls import BackendTls, ListenTls
from rules.compare import Checksum
from rules.forwarded import Forwarding
from rules.message import Side
from rules.outbound import Auth, HostPolicy
from rules.pointer import compile_pattern
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS
from rules.route import Kill, Mirrored, Ordering, compile_path
from rules.source import Place, Source, parse_source
from rules.stage import Stage
from rules.trace import Tracing

_TIME = (1, 86_400_000)  # up to a day, in ms
_AGE = (0, 31_536_000)  # up to a year, in seconds
_SIZE = (0, 2**40)  # up to a tebibyte
_COUNT = (1, 1_000_000)
_ROWS = (1, 1_000_000_000)
_PORT = (0, 65535)

_FRAMING = frozenset(("host", "content-length", "transfer-encoding", "connection"))


def _matching(pattern: str, allowed: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(text: str) -> None:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"must be {allowed}")

    return check


_text = _matching(r"[^\x00-\x1f\x7f]+", "a text that is not empty")
_host = _matching(r"[A-Za-z0-9._:%-]+", "a host name or an address")
_mode = _matching("0[0-7]{3}", "an octal mode, as 0660")
_word = _matching(r"[A-Za-z0-9_-]{1,64}", "a name of at most 64 letters, digits, _ and -")
_title = _matching(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_./ -]{0,62}[A-Za-z0-9_])?",
    "a name of at most 64 letters, digits, spaces and _ . / -",
)
_method = _matching(r"[A-Z][A-Z0-9_-]*", "a method in capitals, as POST")
_header = _matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of a header")
_wire_path = _matching(
    r"/[\x21\x22\x24-\x3e\x40-\x7e]*",
    "a path as it is on the wire: it begins with /, is percent-encoded, and has no query",
)


def _optional(check: Callable[[str], object]) -> Callable[[str], None]:
    return lambda text: None if text == "" else (check(text), None)[1]


_socket = _optional(check_socket_path)


def _path(text: str) -> None:
    _wire_path(text)
    compile_path(text)


def _header_pattern(name: str, pattern: str) -> None:
    _header(name)
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None


def _source(text: str) -> Source:
    source = parse_source(text)
    if source.place is Place.HEADER:
        _header(source.name)
    return source


def _translated(text: str, kind: str) -> None:
    source = _source(text)
    if source.place is Place.HEADER and source.name.lower() in _FRAMING:
        raise ValueError("must be a header that is not about framing or the host")
    _word(kind)


def _replied(text: str) -> None:
    if text.partition(":")[0] not in (Place.JSON, Place.HEADER):
        raise ValueError("must be json:/pointer or header:Name")
    _source(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """`[listen]`: where clients connect, and what they may use."""

    host: str = key("127.0.0.1", "The address to listen on.", check=_host)
    port: int = key(8080, "The port to listen on; 0 lets the system pick a free one.", within=_PORT)
    unix: str = key("", 'A socket file to listen on, not a port; "" is none.', check=_socket)
    unix_mode: str = key("0660", "The mode of the socket file.", check=_mode)
    connections_max: int = key(
        4096, "Client connections at once; a further one gets 503.", "", _COUNT
    )
    in_flight_max: int = key(1024, "Mirrored writes at once; a further one gets 503.", "", _COUNT)
    head_bytes_max: int = key(32768, "The longest request head.", "bytes", (256, 2**20))
    tls_timeout_ms: int = key(10000, "How long a TLS handshake may take.", "ms", _TIME)
    head_timeout_ms: int = key(10000, "How long a request head may take to arrive.", "ms", _TIME)
    body_timeout_ms: int = key(30000, "How long a body may pause without a byte.", "ms", _TIME)
    body_bytes_per_second_min: int = key(
        240, "What of a body must come in a second, in the long run; 0 is any.", "bytes", _SIZE
    )
    idle_timeout_ms: int = key(
        75000, "How long a client may keep an unused connection.", "ms", _TIME
    )
    tunnel_idle_timeout_ms: int = key(
        3600000, "How long a tunnel (WebSocket, CONNECT) may be silent.", "ms", _TIME
    )
    connect: bool = key(False, "Whether CONNECT is passed on, and tunnelled to the primary.")
    body_bytes_max: int = key(104857600, "The longest body of a mirrored write.", "bytes", _SIZE)
    spool_memory_bytes_max: int = key(
        262144, "The part of a mirrored body that is kept in memory, not in a file.", "bytes", _SIZE
    )
    drain_timeout_ms: int = key(10000, "How long SIGTERM waits for requests to end.", "ms", _TIME)
    forwarded: Forwarding = key(Forwarding.PRESERVE, "What becomes of X-Forwarded-* headers.")
    trace: Tracing = key(Tracing.BEGIN, "What a request without a valid traceparent gets.")
    tls: ListenTls = key(ListenTls(), "TLS for clients.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """`[admin]`: health, metrics and status."""

    host: str = key("127.0.0.1", "The address of the admin port.", check=_host)
    port: int = key(9090, "The admin port; 0 lets the system pick a free one.", within=_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """`[backends.legacy]` and `[backends.new]`: one side, and how it is reached."""

    url: str = key("", "Where it is: http://host:port, https or unix:/path.", check=parse_url)
    connections_max: int = key(128, "Connections to it at once.", "", _COUNT)
    pool_timeout_ms: int = key(5000, "How long a request waits for a free connection.", "ms", _TIME)
    name_timeout_ms: int = key(2000, "How long its name may take to resolve.", "ms", _TIME)
    connect_timeout_ms: int = key(2000, "How long a connection may take to open.", "ms", _TIME)
    tls_timeout_ms: int = key(5000, "How long a TLS handshake may take.", "ms", _TIME)
    first_byte_timeout_ms: int = key(30000, "How long the reply may take to begin.", "ms", _TIME)
    total_timeout_ms: int = key(
        60000, "How long the exchange may take, or a relayed stream may pause.", "ms", _TIME
    )
    idle_timeout_ms: int = key(4000, "How long an unused connection is kept.", "ms", _TIME)
    lifetime_seconds: float = key(
        300.0, "The age at which a connection is not used again; 0 is any.", "seconds", _AGE
    )
    base_path: str = key("", "Put before the path of each request.", check=base_path)
    host_: HostPolicy = key(HostPolicy.PRESERVE, "Whose Host it gets: the client's, or its own.")
    remove_headers: tuple[str, ...] = key((), "Request headers it does not get.", check=settable)
    set_headers: Mapping[str, str] = key(
        MappingProxyType({}), "Request headers it gets: name = value.", check=set_header
    )
    auth: Auth = key(Auth.FORWARD, "Whose credential it gets.")
    auth_header: str = key("Authorization", "The header of the credential.", check=settable)
    auth_env: str = key("", "The variable that holds the static value.", check=variable)
    auth_file: str = key("", "The file of the static value, or of the map.", check=path)
    tls: BackendTls = key(BackendTls(), "How an https backend is met.")

    @property
    def address(self) -> Address:
        """Where `url` says it is; nowhere, if it is not valid."""
        try:
            return parse_url(self.url)
        except ValueError:
            return Address()


class Confirm(StrEnum):
    """When the primary's outcome is durable."""

    BEFORE_REPLY = "before_reply"
    BEHIND = "behind"


class OnJournalError(StrEnum):
    """What becomes of a write that cannot be journaled."""

    REJECT = "reject"
    PRIMARY_ONLY = "pass_through"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """`[journal]`: the file of owed writes."""

    directory: str = key("twinwrite-data", "The directory of journal and ledger.", check=_text)
    confirm: Confirm = key(
        Confirm.BEFORE_REPLY, "Whether the primary's outcome is durable before the client gets it."
    )
    on_journal_error: OnJournalError = key(
        OnJournalError.REJECT, "What becomes of a write that cannot be journaled."
    )
    backlog_rows_max: int = key(1000000, "Owed writes; at this many a new one gets 503.", "", _ROWS)
    backlog_bytes_max: int = key(
        1073741824, "Size of all owed writes; above it a new one gets 503.", "bytes", _SIZE
    )
    reply_bytes_max: int = key(
        65536, "How much of the primary's reply is kept for the comparison.", "bytes", _SIZE
    )
    done_hold_seconds: float = key(60.0, "How long a finished write is kept.", "seconds", _AGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`[delivery]`: how owed writes get to the secondary."""

    concurrency_max: int = key(32, "Writes to the secondary at once.", "", _COUNT)
    attempts_max: int = key(100000, "Tries before a write is a dead letter.", "", _COUNT)
    age_max_seconds: float = key(
        604800.0, "Age at which a failing write is a dead letter.", "seconds", _AGE
    )
    backoff_first_ms: int = key(200, "The longest wait before the second try.", "ms", _TIME)
    backoff_max_ms: int = key(30000, "The longest wait before any try.", "ms", _TIME)
    memory_bytes_max: int = key(
        33554432, "Owed writes in memory; more stay on disk.", "bytes", _SIZE
    )
    parked_seconds_max: float = key(
        3600.0,
        "How long a write waits for an identity before it is a dead letter.",
        "seconds",
        _AGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """`[breaker]`: when the secondary is left alone; the same keys as `rules.breaker.Limits`."""

    enabled: bool = key(True, "Whether a sick secondary is left alone.")
    window_seconds: float = key(30.0, "The sliding window of calls.", "seconds", (0.1, 86400))
    calls_min: int = key(20, "Calls in the window before it may trip.", "", _COUNT)
    failure_rate: float = key(0.05, "The share of failed calls that trips it.", "", (0, 1))
    latency_factor: float = key(
        2.0,
        "It trips when the secondary is this many times slower than the primary.",
        "",
        (1, 1000000),
    )
    latency_floor_ms: float = key(
        150.0, "A mean latency below this never trips it.", "ms", (0, 86400000)
    )
    open_seconds: float = key(
        30.0, "How long it stays open before it probes.", "seconds", (0.01, 86400)
    )
    half_open_calls: int = key(5, "Probes that must succeed before it closes.", "", (1, 1000))
    ramp_seconds: float = key(
        30.0, "How long full delivery takes to return.", "seconds", (0, 86400)
    )
    ramp_first: float = key(0.1, "The share of delivery that the return begins with.", "", (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`[compare]`: how the two replies are compared, on every route."""

    enabled: bool = key(True, "Whether replies are compared at all.")
    body_bytes_max: int = key(65536, "Longer bodies are not looked into.", "bytes", _SIZE)
    headers: tuple[str, ...] = key(
        ("content-type",), "Response headers that must agree.", check=_header
    )
    ignore: tuple[str, ...] = key(
        (), "JSON paths that may differ on every route.", check=compile_pattern
    )
    pending_max: int = key(1000, "Shadow writes at once; more are skipped.", "", _COUNT)
    differences_max: int = key(50, "Differences noted per comparison.", "", (1, 10000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`[ledger]`: the file of evidence."""

    samples_max: int = key(100000, "Mismatches kept; the oldest go first.", "", _ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact:
    """`[redact]`: what never gets into evidence; names in any case."""

    headers: tuple[str, ...] = key(
        tuple(sorted(DEFAULT_HEADERS)), "Headers that are masked.", check=_header
    )
    fields: tuple[str, ...] = key(
        tuple(sorted(DEFAULT_FIELDS)),
        "JSON keys, form and query names that are masked.",
        check=_text,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """`[categories.NAME]`: flags of a group of routes."""

    stage: Stage | None = key(None, 'The stage of its routes; "" is the global one.')
    mirror: bool = key(True, "Whether its writes are mirrored.")
    percent: float = key(100.0, "The share of entities that are mirrored.", "%", (0, 100))
    checksum: Checksum = key(Checksum.XXH3, "The digest that replies are compared by first.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """One entry of a route's `harvest`."""

    kind: str = key("", "The kind of identity.", check=_word)
    from_: str = key("", "Where both replies of a create carry it.", check=_replied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`[[routes]]`: one rule; the first that matches a request wins."""

    name: str = key("", "What logs, metrics and the ledger call it; unique.", check=_title)
    methods: tuple[str, ...] = key((), "Methods that it matches; none is any.", check=_method)
    path: str = key(
        "/{rest...}", "Paths that it matches; {name} is a segment, {name...} the rest.", check=_path
    )
    host: str = key("", 'The Host header that it matches; "" is any.', check=_optional(_host))
    headers: Mapping[str, str] = key(
        MappingProxyType({}),
        "Headers that it asks for: name = regular expression.",
        check=_header_pattern,
    )
    category: str = key("default", "Its category.", check=_word)
    mirror: Mirrored = key(Mirrored.AUTO, "Whether it is mirrored; auto is by method.")
    entity: str = key(
        "", 'What its entities are called; "" is the name of the route.', check=_optional(_title)
    )
    entity_key: tuple[str, ...] = key(
        (), "Where a request names its entities: its lanes.", check=_source
    )
    ordering: Ordering = key(
        Ordering.SERIALIZE, "How writes to one entity are ordered at the primary."
    )
    applied_redirects: bool = key(False, "Whether 301 and 302 say that the write was applied.")
    compare: bool = key(True, "Whether its replies are compared.")
    ignore: tuple[str, ...] = key((), "JSON paths that may differ.", check=compile_pattern)
    unordered: tuple[str, ...] = key(
        (), "JSON paths of arrays in any order.", check=compile_pattern
    )
    harvest: tuple[Harvest, ...] = key((), "Identities that its replies reveal.")
    translate: Mapping[str, str] = key(
        MappingProxyType({}), "Identities that its requests carry: place = kind.", check=_translated
    )


BACKENDS: Mapping[Side, Backend] = MappingProxyType({side: Backend() for side in Side})
"""Both sides, their addresses still missing."""

CATEGORIES: Mapping[str, Category] = MappingProxyType(
    {
        "critical": Category(checksum=Checksum.SHA256),
        "performance": Category(),
        "user_activity": Category(),
        "system": Category(),
        "debug": Category(),
        "default": Category(),
    }
)
"""The categories that are always there (semantics.md section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole file."""

    stage: Stage = key(Stage.LEGACY_ONLY, "Where the migration stands.")
    kill_switch: bool = key(False, "Everything to the primary only, now.")
    kill: Kill = key(Kill.JOURNAL, "What becomes of writes while the kill switch is on.")
    salt: str = key("twinwrite", "Chooses which entities are within a percent.")
    listen: Listen = key(Listen(), "Where clients connect.")
    admin: Admin = key(Admin(), "Health, metrics and status.")
    backends: Mapping[Side, Backend] = key(BACKENDS, "The two sides.")
    journal: Journal = key(Journal(), "The file of owed writes.")
    delivery: Delivery = key(Delivery(), "How owed writes get to the secondary.")
    breaker: Breaker = key(Breaker(), "When the secondary is left alone.")
    compare: Compare = key(Compare(), "How replies are compared.")
    ledger: Ledger = key(Ledger(), "The file of evidence.")
    redact: Redact = key(Redact(), "What never gets into evidence.")
    categories: Mapping[str, Category] = key(CATEGORIES, "Groups of routes.", check=_word)
    routes: tuple[Route, ...] = key((), "The rules, in order.")
