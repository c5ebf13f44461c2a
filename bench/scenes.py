"""Under which circumstances contestants are compared: one table of scenes.

A scene is two backends, a load, and who takes part; its contestants live at the same time.
"""

from dataclasses import dataclass

from bench import sample
from bench.tools import Pin

SETTING_NAMES = {Pin.ONE: "one core", Pin.SPLIT: "split", Pin.NONE: "unpinned"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What rows have in common besides the contestant. `is_open`: the load comes at a fixed rate."""

    scene: str
    pin: Pin
    connections: int
    is_open: bool = False

    @property
    def name(self) -> str:
        """How a table or a column is called."""
        load = "open loop" if self.is_open else f"c={self.connections}"
        return f"{self.scene}, {load}, {SETTING_NAMES[self.pin]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of paired ratios: of one field of `Row`, every contestant over one of them."""

    title: str
    under: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One row of the table. `delays_ms`: how late legacy and new answer, without one at once.

    `reads_bodies`: its backends read every body to the end before they answer, which nginx's
    `return 200` does not.
    """

    name: str
    what: str
    contestants: tuple[str, ...]
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]
    body_bytes: int = sample.BODY_BYTES
    delays_ms: tuple[float, float] = (0.0, 0.0)
    reads_bodies: bool = False


CLEAN = Setting(scene="mirror", pin=Pin.ONE, connections=32)
"""The clean figure: everything on one core, whatever else the machine does hits all alike."""

BESIDE = Setting(scene="mirror", pin=Pin.SPLIT, connections=64)
"""Beside it: the proxy has a core to itself."""

SLOW = tuple(Setting(scene="slow", pin=Pin.SPLIT, connections=each) for each in (1, 8))
HUNG = Setting(scene="hung", pin=Pin.SPLIT, connections=64, is_open=True)
UPLOAD = Setting(scene="upload", pin=Pin.SPLIT, connections=8)

SCENES: tuple[Scene, ...] = (
    Scene(
        name="mirror",
        what="512 bytes to backends that answer at once",
        contestants=(
            *("direct", "relay", "shadow", "shadow_plain", "dual"),
            *("nginx_relay", "nginx_mirror", "nginx_mirror_tuned", "nginx_mirror_best"),
            *("envoy_relay", "envoy_mirror"),
        ),
        settings=(Setting(scene="mirror", pin=Pin.ONE, connections=1), CLEAN, BESIDE),
        columns=(
            Column(title="x nginx tuned", under="nginx_mirror_tuned", field="cpu_us"),
            Column(title="x nginx best", under="nginx_mirror_best", field="cpu_us"),
            Column(title="x Envoy mirror", under="envoy_mirror", field="cpu_us"),
            Column(title="x Envoy relay", under="envoy_relay", field="cpu_us"),
        ),
    ),
    Scene(
        name="slow",
        what="512 bytes; legacy answers after 2 ms, new after 4 ms",
        contestants=("relay", "shadow", "dual"),
        settings=SLOW,
        columns=(Column(title="p50 x relay", under="relay", field="p50_us"),),
        delays_ms=(2.0, 4.0),
    ),
    Scene(
        name="hung",
        what="512 bytes; the new side of hung and hung_breaker_off never answers",
        contestants=("relay", "dual", "hung", "hung_breaker_off"),
        settings=(HUNG,),
        columns=(
            Column(title="p50 x dual", under="dual", field="p50_us"),
            Column(title="p99 x dual", under="dual", field="p99_us"),
        ),
    ),
    Scene(
        name="upload",
        what="1 MiB to backends that read it all and answer at once",
        contestants=("shadow", "envoy_mirror"),
        settings=(UPLOAD,),
        columns=(Column(title="x Envoy mirror", under="envoy_mirror", field="cpu_us"),),
        body_bytes=1 << 20,
        reads_bodies=True,
    ),
)
"""Everything, in the order of the report."""
