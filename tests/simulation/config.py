"""The configurations of the runs: routes of every kind of lane, and settings that make things happen soon."""

from dataclasses import replace
from functools import cache

from proxy.control.config import Config, parse
from rules.route import Kill
from rules.stage import Stage

ROUTES = """
[[routes]]
name = "put"
methods = ["PUT"]
path = "/k/{id}"
entity = "k"
entity_key = ["path:id"]

[[routes]]
name = "key"
path = "/k/{id}"
entity = "k"
entity_key = ["path:id"]

[[routes]]
name = "move"
path = "/move/{from}/{to}"
entity = "k"
entity_key = ["path:from", "path:to"]

[[routes]]
name = "batch"
path = "/batch"
entity = "k"
entity_key = ["json:/a", "json:/b"]

[[routes]]
name = "many"
path = "/many"
entity = "k"
entity_key = ["json:/items/*"]

[[routes]]
name = "file"
methods = ["PUT", "PATCH"]
path = "/d/{path...}"
entity = "d"
entity_key = ["path:path"]

[[routes]]
name = "folder"
path = "/d/{path...}"
entity = "d"
entity_key = ["path:path"]
entity_scope = "below"

[[routes]]
name = "all"
path = "/all"
entity = "d"
entity_scope = "all"

[[routes]]
name = "make"
path = "/things"
category = "critical"
harvest = [{ kind = "thing", from = "json:/id" }]

[[routes]]
name = "thing"
path = "/things/{id}"
category = "critical"
entity_key = ["path:id"]
translate = { "path:id" = "thing" }

[[routes]]
name = "completion"
path = "/c/{id}"
entity_key = ["path:id"]
ordering = "completion"

[[routes]]
name = "loose"
path = "/n/{id}"
ordering = "none"
"""

SETTINGS = {
    "DELIVERY_PROBE_QUIET_SECONDS": "2",
    "JOURNAL_DIRECTORY": "simulated", "BACKENDS_LEGACY_URL": "http://127.0.0.1:1",
    "BACKENDS_NEW_URL": "http://127.0.0.1:2", "JOURNAL_DONE_HOLD_SECONDS": "3",
    "DELIVERY_BACKOFF_FIRST_MS": "50", "DELIVERY_BACKOFF_MAX_MS": "1000",
    "DELIVERY_PARKED_SECONDS_MAX": "5", "BREAKER_WINDOW_SECONDS": "3", "BREAKER_CALLS_MIN": "6",
    "BREAKER_OPEN_SECONDS": "1.5", "BREAKER_HALF_OPEN_CALLS": "2", "BREAKER_RAMP_SECONDS": "1",
    "BREAKER_FAILURE_RATE": "0.5", "DELIVERY_CONCURRENCY_MAX": "8",
}  # fmt: skip


Given = tuple[tuple[str, str, object], ...]
"""Settings of a run: table ("": none), key, value. The table `put` is the route of that name."""


@cache
def parsed_config(lines: str) -> Config:
    """The configuration, with these lines in the route `put`."""
    wanted = {f"TWINWRITE_{name}": text for name, text in SETTINGS.items()}
    return parse(ROUTES.replace('name = "put"\n', f'name = "put"\n{lines}'), "simulation", wanted)


@cache
def configured(stage: str, kill: bool, given: Given) -> Config:
    """A configuration at a stage: what is not `put` is set without parsing, which would take 60 ms."""
    lines = "".join(f"{name} = {value}\n" for table, name, value in given if table == "put")
    config = parsed_config(lines)
    for table, name, value in given:
        if table not in ("", "put"):
            changed = {table: replace(getattr(config, table), **{name: value})}
            config = replace(config, **changed)
    drop = Kill.DROP if ("", "kill", "drop") in given else Kill.JOURNAL
    policy = replace(config.policy, stage=Stage(stage), kill_switch=kill, kill=drop)
    return replace(config, stage=Stage(stage), kill_switch=kill, kill=drop, policy=policy)
