"""wrk as load generator: the script it needs, and what its numbers are.

Law: the same bytes as `bench.load` sends. wrk 4 corrects its latencies at the end for coordinated
omission (each one beyond twice the mean adds shorter ones), so its p99 is a little above that of
`bench.load`; compare generators never, contestants always.
"""

import json
import math
from pathlib import Path

from bench import sample, tools
from bench.load import Load, Requests

SECONDS_SPARE = 20.0
"""wrk that takes so much longer than it was told hangs."""

_SCRIPT = """
local requests = {{
{requests}
}}
local at = 0
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "p999": %d, ' ..
    '"errors": {{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect, e.read, e.write, e.status, e.timeout))
end
"""


def script(requests: Requests) -> str:
    """The Lua script that sends the sample's requests."""
    made = sample.requests(requests.address, requests.body_bytes)
    quoted = (json.dumps(each.decode()) for each in made)
    return _SCRIPT.format(requests=",\n".join(quoted))


async def run(requests: Requests, connections: int, seconds: float, directory: Path) -> Load:
    """Closed loop with one thread. wrk knows whole seconds only: `seconds` is rounded up."""
    path = directory / "wrk.lua"
    path.write_text(script(requests))
    whole = math.ceil(seconds)
    command = (
        *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{whole}s"),
        *("--timeout", "10s", "--script", str(path), f"http://{requests.address}/"),
    )
    out = await tools.run(command, whole + SECONDS_SPARE)
    return parsed(out)


def parsed(out: str) -> Load:
    """The line that the script printed; raises ToolError."""
    lines = [line for line in out.splitlines() if line.startswith("BENCH ")]
    if not lines:
        raise tools.ToolError(f"wrk told no result: {out}")
    found = json.loads(lines[-1].removeprefix("BENCH "))
    return Load(
        requests=found["requests"],
        seconds=found["microseconds"] / 1e6,
        p50_us=found["p50"],
        p99_us=found["p99"],
        p999_us=found["p999"],
        errors={kind: count for kind, count in found["errors"].items() if count},
    )
