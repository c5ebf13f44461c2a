"""Whoever serves a request takes it in the same way."""

from inspect import signature

import pytest

from proxy.flow.relay import Relay
from proxy.flow.write import Write
from proxy.wire.sink import Sink
from tests.proxy.wire.raw import Guest


@pytest.mark.parametrize("served", [Relay, Write, Guest])
@pytest.mark.parametrize("method", ["data", "gone", "writable"])
def test_every_sink_has_the_methods_of_one(served: type[Sink], method: str) -> None:
    found = list(signature(getattr(served, method)).parameters)
    assert found == list(signature(getattr(Sink, method)).parameters)
