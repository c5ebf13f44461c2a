"""What the command line asks for, and the plan that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import targets
from bench.bed import Choice
from bench.contestants import CONTESTANTS, Contestant
from bench.rounds import Plan
from bench.scenes import SCENES, Scene, Setting
from bench.tools import Pin, ToolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line. Empty tuples and None mean: as the tables have it."""

    scenes: tuple[str, ...]
    contestants: tuple[str, ...]
    connections: tuple[int, ...]
    pin: str | None
    rounds: int
    seconds: float
    rate: float
    open_seconds: float
    quick: bool
    load: str
    backends: str
    directory: Path | None
    seed: int
    patience: float
    json_file: Path | None
    markdown_files: tuple[Path, ...]


def plan(options: Options, absent: Mapping[str, str], cores: int) -> Plan:
    """What to measure on a machine without the tools `absent` and with so many cores; raises ToolError."""
    contestants = {each.name: each for each in CONTESTANTS if _takes_part(each, options, absent)}
    scenes = (_scene(each, options, cores) for each in SCENES)
    kept = tuple(
        scene for scene in scenes if scene.settings and contestants.keys() & set(scene.contestants)
    )
    if not kept:
        raise ToolError("nothing to measure: no scene has these contestants and connections")
    named = {name for scene in kept for name in scene.contestants}
    return Plan(
        scenes=kept,
        contestants={name: each for name, each in contestants.items() if name in named},
        rounds=options.rounds,
        seconds=options.seconds,
        rate=options.rate,
        open_seconds=options.open_seconds,
        seed=options.seed,
        patience=options.patience,
    )


def choice(options: Options, absent: Mapping[str, str]) -> Choice:
    """Which generator and which backends; raises ToolError."""
    return Choice(
        load=_chosen(options.load, "wrk", absent),
        backends=_chosen(options.backends, "nginx", absent),
    )


def _takes_part(contestant: Contestant, options: Options, absent: Mapping[str, str]) -> bool:
    if options.contestants and contestant.name not in options.contestants:
        return False
    if contestant.needs in absent:
        if options.contestants:
            how = absent[contestant.needs]
            raise ToolError(f"{contestant.name}: {contestant.needs} is not installed ({how})")
        return False
    return True


def _scene(scene: Scene, options: Options, cores: int) -> Scene:
    """The scene with the settings that are wanted."""
    if options.scenes and scene.name not in options.scenes:
        return replace(scene, settings=())
    wanted = (each for each in scene.settings if _is_wanted(each, options))
    return replace(
        scene, settings=tuple(dict.fromkeys(_pinned(each, options, cores) for each in wanted))
    )


def _is_wanted(setting: Setting, options: Options) -> bool:
    if options.connections:
        return setting.connections in options.connections
    return not options.quick or setting in targets.settings()


def _pinned(setting: Setting, options: Options, cores: int) -> Setting:
    if options.pin is not None:
        return replace(setting, pin=Pin(options.pin))
    return setting if cores > 1 else replace(setting, pin=Pin.ONE)


def _chosen(wanted: str, tool: str, absent: Mapping[str, str]) -> str:
    if wanted == tool and tool in absent:
        raise ToolError(f"{tool} is not installed; leave it to auto, or choose own")
    if wanted == "auto":
        return "own" if tool in absent else tool
    return wanted
