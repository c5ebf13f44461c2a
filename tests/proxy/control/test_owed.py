"""The keys of what is owed: their defaults keep what is promised."""

from proxy.control.owed import Confirm, Delivery, Journal, OnJournalError


def test_by_default_an_answered_write_is_one_whose_outcome_is_durable() -> None:
    assert Journal().confirm is Confirm.BEFORE_REPLY
    assert Journal().on_journal_error is OnJournalError.REJECT


def test_by_default_a_retry_waits_no_longer_than_half_a_minute() -> None:
    assert Delivery().backoff_first_ms < Delivery().backoff_max_ms == 30_000
