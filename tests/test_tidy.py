"""The house rules, as tests: who may import whom, what rules/ may not touch, how long things get."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
PARAMETERS_MAX = 5

# A module may import only from a lower level. This table *is* the architecture.
LEVELS: dict[str, int] = {
    # decide
    "rules": 0,
    "rules.message": 0,
    "rules.target": 0,
    "rules.upgrade": 0,
    "rules.breaker": 1,
    "rules.coding": 1,
    "rules.fate": 1,
    "rules.framing": 1,
    "rules.level": 1,
    "rules.payload": 1,
    "rules.plain": 0,
    "rules.pointer": 0,
    "rules.expression": 0,
    "rules.instant": 0,
    "rules.value": 0,
    "rules.same": 1,
    "rules.tolerance": 1,
    "rules.canonical": 2,
    "rules.parsing": 2,
    "rules.document": 3,
    "rules.pairing": 3,
    "rules.noise": 5,
    "rules.reservoir": 1,
    "rules.sample": 1,
    "rules.shapes": 1,
    "rules.stage": 1,
    "rules.checksum": 0,
    "rules.chunks": 2,
    "rules.diff": 4,
    "rules.difference": 3,
    "rules.forwarded": 2,
    "rules.outbound": 2,
    "rules.source": 2,
    "rules.trace": 2,
    "rules.compare": 5,
    "rules.agreement": 6,
    "rules.problem": 3,
    "rules.identity": 3,
    "rules.redact": 5,
    "rules.body": 6,
    "rules.evidence": 7,
    "rules.probe": 4,
    "rules.repeat": 2,
    "rules.behind": 2,
    "rules.route": 6,
    "rules.lane": 7,
    # steer: what every other room reads
    "proxy": 10,
    "proxy.control": 10,
    "proxy.cipher": 10,
    "proxy.memory": 10,
    "proxy.control.address": 9,
    "proxy.control.checks": 10,
    "proxy.control.keys": 9,
    "proxy.control.log": 11,
    "proxy.control.tally": 11,
    "proxy.control.tls": 10,
    "proxy.control.encryption": 12,
    "proxy.control.evidence": 11,
    "proxy.control.comparing": 11,
    "proxy.control.owed": 11,
    "proxy.control.ports": 11,
    "proxy.control.settings": 12,
    "proxy.control.sides": 11,
    "proxy.control.outbound": 13,
    "proxy.control.token": 10,
    "proxy.control.ways": 13,
    "proxy.control.reading": 12,
    "proxy.control.ends": 13,
    "proxy.control.config": 14,
    # speak HTTP
    "proxy.wire": 10,
    "proxy.wire.body": 11,
    "proxy.wire.writing": 10,
    "proxy.wire.framing": 11,
    "proxy.wire.sink": 12,
    "proxy.wire.secure": 11,
    "proxy.wire.connection": 12,
    "proxy.wire.dial": 12,
    "proxy.wire.downstream": 13,
    "proxy.wire.listen": 13,
    "proxy.wire.pool": 13,
    "proxy.wire.clients": 14,
    "proxy.wire.tunnel": 14,
    # remember
    "proxy.trouble": 9,
    "proxy.store": 10,
    "proxy.store.intent": 11,
    "proxy.store.batch": 13,
    "proxy.store.gap": 15,
    "proxy.store.lock": 14,
    "proxy.store.pairs": 15,
    "proxy.store.record": 13,
    "proxy.store.schema": 14,
    "proxy.store.writer": 14,
    "proxy.store.ledger": 15,
    "proxy.store.ledger_schema": 14,
    "proxy.store.retention": 14,
    "proxy.store.young": 15,
    "proxy.store.damage": 12,
    "proxy.store.spools": 15,
    "proxy.store.recovery": 15,
    "proxy.store.journal": 16,
    "proxy.store.reader": 16,
    "proxy.store.payload": 17,
    "proxy.store.ledger_reader": 17,
    # carry a write through
    "proxy.fiber": 12,
    "proxy.flow": 10,
    "proxy.flow.gaps": 20,
    "proxy.flow.guard": 11,
    "proxy.flow.lanes": 11,
    "proxy.flow.turnstile": 13,
    "proxy.flow.exit": 17,
    "proxy.flow.passing": 16,
    "proxy.flow.relay": 17,
    "proxy.flow.identities": 17,
    "proxy.flow.tunnel": 18,
    "proxy.flow.secondary": 18,
    "proxy.flow.evidence": 19,
    "proxy.flow.baseline": 20,
    "proxy.flow.repeats": 13,
    "proxy.flow.unknown": 22,
    "proxy.flow.unsettled": 21,
    "proxy.flow.steering": 23,
    "proxy.flow.capacity": 21,
    "proxy.flow.delivery": 20,
    "proxy.flow.dispatch": 13,
    "proxy.flow.shadow": 21,
    "proxy.flow.rooms": 23,
    "proxy.flow.write": 24,
    "proxy.flow.door": 25,
    # show
    "proxy.control.metrics": 12,
    "proxy.control.admin": 13,
    "proxy.control.overview": 13,
    # put together
    "proxy.app": 26,
    "proxy.serve": 27,
    "proxy.demo": 10,
    "proxy.demo.child": 11,
    "proxy.demo.shop": 11,
    "proxy.demo.backend": 12,
    "proxy.demo.drive": 12,
    "proxy.demo.report": 12,
    "proxy.demo.run": 13,
    "proxy.cli": 10,
    "proxy.cli.options": 15,
    "proxy.cli.chosen": 18,
    "proxy.cli.side_by_side": 19,
    "proxy.cli.diffs_list": 24,
    "proxy.cli.diffs_show": 24,
    "proxy.cli.diffs_stats": 24,
    "proxy.cli.diffs_suggest": 24,
    "proxy.cli.diffs_export": 24,
    "proxy.cli.sidecar": 16,
    "proxy.cli.letters": 17,
    "proxy.cli.selection": 18,
    "proxy.cli.dead": 24,
    "proxy.cli.unknown": 27,
    "proxy.cli.replay": 27,
    "proxy.cli.check": 27,
    "proxy.cli.demo": 27,
    "proxy.cli.diffs": 27,
    "proxy.cli.intents": 27,
    "proxy.cli.run": 28,
    "proxy.cli.status": 27,
    "proxy.__main__": 29,
}

IMPURE = {
    "asyncio", "aiohttp", "aiosqlite", "time", "datetime", "random", "os", "io", "socket", "logging",
    "prometheus_client", "uuid", "secrets", "threading", "pathlib", "sqlite3", "subprocess", "proxy",
}  # fmt: skip

# One owner per package: a prefix of module names that may import it.
OWNERS: dict[str, tuple[str, ...]] = {
    "httptools": ("proxy.wire.",),
    "sqlite3": ("proxy.store.", "proxy.demo."),  # the samples are services of their own
    "aiosqlite": ("proxy.store.",),
    "msgpack": ("proxy.store.", "rules.parsing"),
    "brotli": ("rules.coding",),
    "backports": ("rules.coding",),
    "prometheus_client": ("proxy.control.metrics",),
    "tomllib": ("proxy.control.reading",),
    "aiohappyeyeballs": ("proxy.wire.dial",),
    "cryptography": ("proxy.cipher",),  # by importlib, when there is a key
    "ssl": ("proxy.control.tls", "proxy.wire.secure"),
    "aiohttp": ("proxy.control.admin", "proxy.demo."),
    "uvloop": ("proxy.serve", "proxy.cli.replay"),
    "click": ("proxy.cli.", "proxy.__main__"),
    "rich": ("proxy.cli.", "proxy.demo."),
    "xxhash": ("rules.",),
    "logging": ("proxy.control.log",),
}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted([*ROOT.glob("proxy/**/*.py"), *ROOT.glob("rules/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, path, ast.parse(path.read_text())


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in LEVELS else node.module


def test_every_module_has_a_level() -> None:
    assert {name for name, _, _ in modules()} == set(LEVELS)


def test_imports_point_down() -> None:
    for name, _, tree in modules():
        for other in imports(tree):
            if other in LEVELS:
                assert LEVELS[other] < LEVELS[name], f"{name} imports {other}"
            else:
                assert other.split(".")[0] not in ("proxy", "rules"), f"{name} imports {other}"


def test_imports_stand_at_the_top_of_the_module() -> None:
    for name, _, tree in modules():
        for function in functions(tree):
            assert not list(imports(function)), f"{name}.{function.name} imports inside"


def test_rules_are_pure() -> None:
    for name, _, tree in modules():
        if name.startswith("rules"):
            assert not {i.split(".")[0] for i in imports(tree)} & IMPURE, name
            nodes = list(ast.walk(tree))
            assert not [n for n in nodes if isinstance(n, ast.AsyncFunctionDef | ast.Global)], name
            calls = {
                n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            assert not calls & {"open", "print", "input"}, name


def test_every_package_has_one_owner() -> None:
    for name, _, tree in modules():
        for other in imports(tree):
            owners = OWNERS.get(other.split(".")[0])
            if owners is not None:
                assert name.startswith(owners), f"{name} imports {other}: it belongs to {owners}"


def test_nothing_is_too_long() -> None:
    for name, path, tree in modules():
        assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX, name
        for function in functions(tree):
            lines = (function.end_lineno or 0) - function.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name}.{function.name} has {lines} lines"
            given = [*function.args.args, *function.args.kwonlyargs]
            args = [a for a in given if a.arg not in ("self", "cls")]
            assert len(args) <= PARAMETERS_MAX, f"{name}.{function.name} takes {len(args)}"


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in tree.body:
        if isinstance(node, named) and not node.name.startswith("_"):
            yield node


def test_everything_public_says_what_it_is() -> None:
    for name, _, tree in modules():
        assert ast.get_docstring(tree), name
        for node in public(tree):
            assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_every_module_has_its_test() -> None:
    for name, path, _ in modules():
        if path.name not in ("__init__.py", "__main__.py"):
            package, leaf = name.rsplit(".", 1)
            test = ROOT / "tests" / package.replace(".", "/") / f"test_{leaf}.py"
            assert test.exists(), f"{name} has no {test.relative_to(ROOT)}"


def test_no_group_of_an_expression_is_possessive() -> None:
    """CPython before 3.11.5 goes wrong where such a group backtracks inside (gh-106052): (?>...) does not."""
    classes, possessive = re.compile(r"\[[^\]]*\]"), re.compile(r"\)[*+?]\+")
    for name, path, _ in modules():
        lines = [classes.sub("x", line) for line in path.read_text().splitlines()]
        assert not [line for line in lines if possessive.search(line)], name


def test_nothing_is_left_for_later() -> None:
    leftover = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]))
    for folder in ("proxy", "rules", "bench", "tests"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            assert not leftover.search(path.read_text()), path
