"""The keys of `[journal]`, `[delivery]` and `[breaker]`: what is owed, and how it gets to the secondary."""

from dataclasses import dataclass
from enum import StrEnum

from proxy.control import checks
from proxy.control.keys import key


class Confirm(StrEnum):
    """When the primary's outcome is durable."""

    BEFORE_REPLY = "before_reply"
    BEHIND = "behind"


class OnJournalError(StrEnum):
    """What becomes of a write that cannot be journaled."""

    REJECT = "reject"
    PRIMARY_ONLY = "pass_through"


class OnBacklogFull(StrEnum):
    """What becomes of a write while the backlog is at its limit."""

    REJECT = "reject"  # 503, nothing is sent
    PAUSE_MIRRORING = "pause_mirroring"  # to the primary only: a gap
    BLOCK = "block"  # it waits for room, a while


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """`[journal]`: the file of owed writes."""

    directory: str = key(
        "twinwrite-data", "The directory of journal and ledger.", check=checks.text
    )
    confirm: Confirm = key(
        Confirm.BEFORE_REPLY, "Whether the primary's outcome is durable before the client gets it."
    )
    on_journal_error: OnJournalError = key(
        OnJournalError.REJECT, "What becomes of a write that cannot be journaled."
    )
    commit_timeout_ms: int = key(
        5000,
        "How long the disk may take before a write counts as not journaled.",
        "ms",
        checks.TIME,
    )
    backlog_rows_max: int = key(1000000, "Owed writes, at the most.", "", checks.ROWS)
    backlog_bytes_max: int = key(
        1073741824, "Size of all owed writes, at the most.", "bytes", checks.SIZE
    )
    backlog_age_max_seconds: float = key(
        0.0, "Age of the oldest owed write, at the most; 0 is any.", "seconds", checks.AGE
    )
    backlog_soft_percent: float = key(
        80.0, "The share of these limits at which the log tells it.", "%", (0, 100)
    )
    on_backlog_full: OnBacklogFull = key(
        OnBacklogFull.REJECT, "What becomes of a write while the backlog is at its limit."
    )
    backlog_block_ms: int = key(
        2000, "How long a write waits for room, where it is to block.", "ms", checks.TIME
    )
    reply_bytes_max: int = key(
        65536, "How much of the primary's reply is kept for the comparison.", "bytes", checks.SIZE
    )
    done_hold_seconds: float = key(
        60.0, "How long a finished write is kept.", "seconds", checks.AGE
    )
    encryption_key_env: str = key(
        "", "The variable that holds the key of the replay payloads.", check=checks.variable
    )
    encryption_key_file: str = key("", "The file of that key.", check=checks.path)


class OnDead(StrEnum):
    """What the later writes of a lane do when one becomes a dead letter."""

    BLOCK = "block"  # they wait until a person has retried or waived it
    SKIP = "skip"  # they go on without it


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`[delivery]`: how owed writes get to the secondary."""

    concurrency_max: int = key(32, "Writes to the secondary at once.", "", checks.COUNT)
    attempts_max: int = key(100000, "Tries before a write is a dead letter.", "", checks.COUNT)
    age_max_seconds: float = key(
        604800.0, "Age at which a failing write is a dead letter.", "seconds", checks.AGE
    )
    backoff_first_ms: int = key(200, "The longest wait before the second try.", "ms", checks.TIME)
    backoff_max_ms: int = key(30000, "The longest wait before any try.", "ms", checks.TIME)
    on_dead: OnDead = key(OnDead.BLOCK, "What later writes do behind a dead letter of their lanes.")
    catch_up_per_second_max: float = key(
        0.0, "Owed writes of the backlog sent in a second; 0 is any.", "", (0, 1000000)
    )
    memory_bytes_max: int = key(
        33554432, "Owed writes in memory; more stay on disk.", "bytes", checks.SIZE
    )
    probe_quiet_seconds: float = key(
        30.0,
        "How long after its last try a write may be probed as not applied.",
        "seconds",
        checks.AGE,
    )
    parked_seconds_max: float = key(
        3600.0,
        "How long a write waits for an identity before it is a dead letter.",
        "seconds",
        checks.AGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """`[breaker]`: when the secondary is left alone; the same keys as `rules.breaker.Limits`."""

    enabled: bool = key(True, "Whether a sick secondary is left alone.")
    window_seconds: float = key(30.0, "The sliding window of calls.", "seconds", (0.1, 86400))
    calls_min: int = key(20, "Calls in the window before it may trip.", "", checks.COUNT)
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
