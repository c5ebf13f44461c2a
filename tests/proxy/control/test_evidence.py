"""The keys of evidence: what is masked by default."""

from proxy.control.evidence import Redact
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS


def test_by_default_credentials_are_masked() -> None:
    assert set(Redact().headers) == DEFAULT_HEADERS
    assert set(Redact().fields) == DEFAULT_FIELDS
    assert "authorization" in DEFAULT_HEADERS
