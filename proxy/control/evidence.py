"""The keys of `[compare]`, `[ledger]` and `[redact]`: what is judged, kept, and never kept."""

from dataclasses import dataclass

from proxy.control import checks
from proxy.control.keys import key
from rules.pointer import compile_pattern
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`[compare]`: how the two replies are compared, on every route."""

    enabled: bool = key(True, "Whether replies are compared at all.")
    body_bytes_max: int = key(65536, "Longer bodies are not looked into.", "bytes", checks.SIZE)
    headers: tuple[str, ...] = key(
        ("content-type",), "Response headers that must agree.", check=checks.header
    )
    ignore: tuple[str, ...] = key(
        (), "JSON paths that may differ on every route.", check=compile_pattern
    )
    pending_max: int = key(1000, "Shadow writes at once; more are skipped.", "", checks.COUNT)
    differences_max: int = key(50, "Differences noted per comparison.", "", (1, 10000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`[ledger]`: the file of evidence."""

    samples_max: int = key(100000, "Mismatches kept; the oldest go first.", "", checks.ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact:
    """`[redact]`: what never gets into evidence; names in any case."""

    headers: tuple[str, ...] = key(
        tuple(sorted(DEFAULT_HEADERS)), "Headers that are masked.", check=checks.header
    )
    fields: tuple[str, ...] = key(
        tuple(sorted(DEFAULT_FIELDS)),
        "JSON keys, form and query names that are masked.",
        check=checks.text,
    )
