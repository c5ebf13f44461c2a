"""The keys of `[ledger]` and `[redact]`: what is kept as evidence, and what never is."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from proxy.control import checks
from proxy.control.keys import key
from rules.pointer import compile_pattern
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS, Redaction
from rules.shapes import Shape, custom


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`[ledger]`: the file of evidence."""

    age_max_seconds: int = key(
        2_592_000, "How long evidence is kept.", "seconds", (3600, checks.AGE[1])
    )
    bytes_max: int = key(
        2**30, "Beyond this the oldest samples go; counts stay.", "bytes", (2**20, checks.SIZE[1])
    )
    group_samples: int = key(
        20,
        "Samples that stay of each group of differences, however often it is seen.",
        "",
        (1, 1000),
    )


def _shape(word: str) -> None:
    if word not in list(Shape):
        raise ValueError(f"must be one of {', '.join(Shape)}")


def _custom(name: str, expression: str) -> None:
    checks.word(name)
    custom(expression)


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
    paths: tuple[str, ...] = key(
        (), "JSON paths that are masked, with all below.", check=compile_pattern
    )
    patterns: tuple[str, ...] = key(
        tuple(Shape), "Secrets that are masked wherever they stand.", check=_shape
    )
    custom: Mapping[str, str] = key(
        MappingProxyType({}), "More of them: name = regular expression.", check=_custom
    )

    def redaction(self, key: bytes) -> Redaction:
        """What evidence passes; `key` is the journal's, for its hashes."""
        return Redaction(
            headers=frozenset(self.headers),
            fields=frozenset(self.fields),
            paths=tuple(compile_pattern(each) for each in self.paths),
            shapes=frozenset(Shape(each) for each in self.patterns),
            custom=tuple(custom(each) for each in self.custom.values()),
            key=key,
        )
