"""The overview: it says what the metrics say."""

import json

from proxy.control.overview import overview
from proxy.control.tally import Tally
from rules.fate import State
from rules.route import Policy
from tests.proxy.control.test_metrics import READING
from tests.rules.test_route import a_policy


def test_it_is_one_json_document_with_the_words_of_the_metrics() -> None:
    tally = Tally(accepted=3)
    tally.states[State.DONE] = 3
    snapshot: Policy = a_policy()
    found = json.loads(json.dumps(overview(READING, tally, snapshot)))
    assert found["intents"]["done"] == found["accepted"] == 3
    assert found["backlog"]["rows"] == READING.backlog_rows
    assert found["level"] == READING.level
    assert found["breakers"] == {"default": {"state": "open", "reason": "too slow"}}
    assert found["stage"] == snapshot.stage
