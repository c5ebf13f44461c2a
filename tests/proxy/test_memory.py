"""Memory is tuned once all that stays is there."""

import gc

from proxy.memory import COLLECT_AT, tune


def test_what_is_there_is_not_looked_at_again_and_collections_are_rare() -> None:
    before = gc.get_threshold()
    try:
        tune()

        assert gc.get_threshold() == COLLECT_AT
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
