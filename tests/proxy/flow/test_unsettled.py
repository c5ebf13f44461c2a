"""What is kept of an unknown write: little, and told apart by identity."""

from proxy.flow.unsettled import Unsettled
from tests.proxy.samples import an_intent


def test_two_of_the_same_intent_are_two() -> None:
    intent = an_intent("a")
    first, second = Unsettled(intent, 1.0), Unsettled(intent, 1.0)
    assert len({first, second}) == 2
    assert (first.tries, first.reached, first.claim) == (0, 0, None)
