"""Rows for tests, with every field given."""

import dataclasses
from typing import Any

from bench.rounds import Idle, Row
from bench.scenes import Setting
from bench.tools import Pin

SETTING = Setting(scene="mirror", pin=Pin.ONE, connections=2)


def row(contestant: str, number: int, **fields: Any) -> Row:  # noqa: ANN401 - any field of Row
    """A row of nothing remarkable, but for the fields given."""
    plain = Row(
        round=number, contestant=contestant, setting=SETTING, rate=0.0, requests=100, seconds=1.0,
        requests_per_second=100.0, cpu_us=10.0, user_us=6.0, system_us=4.0, p50_us=100.0, p99_us=200.0,
        p999_us=300.0, late_p99_us=0.0, errors={}, owed=0, breaker="", memory_mib=40.0, passed_on=1.0,
        mirrored=True, settled=True, clocks_agree=True, elsewhere=0.0, stolen=0.0,
    )  # fmt: skip
    return dataclasses.replace(plain, **fields)


def idle(contestant: str, number: int, memory_mib: float) -> Idle:
    """A contestant that has just been started."""
    return Idle(
        round=number, scene="mirror", contestant=contestant, memory_mib=memory_mib, cpu_ms=0.5
    )
