"""What a disk may hold after a power cut: a model, from the record of what a program did to it (disk.c).

Law: what was written to a file before a sync of it began is there once that sync has ended. Of what came
later any part may be there: any subset of its sectors, in any order, a change of length or not. A name that
was made or removed is durable once its directory was synced; before, both may be.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

HEADER = struct.Struct("=BBHIqq")
SECTORS = (512, 4096)
CHANCES = (0.0, 0.1, 0.5, 0.9, 1.0)


class Kind(IntEnum):
    """What a program did: the numbers of disk.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    UNLINK = 4
    MKDIR = 5
    SYNC_BEGIN = 6
    SYNC_END = 7
    RENAME = 8


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that was done. `offset`: of a write, or the new length, or the thread that syncs; `ns`:
    monotonic, just before it (SYNC_END: just after)."""

    kind: Kind
    path: str
    data: bytes
    offset: int
    ns: int


def read_record(file: Path) -> list[Act]:
    """Everything in order. A last entry that a kill cut off is removed: what it tells of was never begun."""
    raw, at, acts = file.read_bytes(), 0, []
    while at + HEADER.size <= len(raw):
        kind, _, path_bytes, data_bytes, offset, ns = HEADER.unpack_from(raw, at)
        middle = at + HEADER.size + path_bytes
        if middle + data_bytes > len(raw):
            break
        path = raw[at + HEADER.size : middle].decode()
        acts.append(Act(Kind(kind), path, raw[middle : middle + data_bytes], offset, ns))
        at = middle + data_bytes
    if at < len(raw):
        with file.open("r+b") as opened:
            opened.truncate(at)
    return acts


@dataclass(slots=True, eq=False)
class Node:
    """A file or a directory: what is durable of it, and what was done to it since, in order.

    A directory's `names` are durable, its `later` are names that were made (a Node) or removed (None).
    """

    is_directory: bool = False
    data: bytearray = field(default_factory=bytearray)
    pending: list[Act] = field(default_factory=list)
    names: "dict[str, Node]" = field(default_factory=dict)
    later: "list[tuple[str, Node | None]]" = field(default_factory=list)
    made: int = 0  # how much of it all is durable
    syncing: dict[int, int] = field(
        default_factory=dict
    )  # by thread: how much there was as it began

    def live(self, name: str) -> "Node | None":
        """What the running program finds under a name."""
        return next((node for n, node in reversed(self.later) if n == name), self.names.get(name))

    def begin_sync(self, thread: int) -> None:
        self.syncing[thread] = self.made + len(self.pending) + len(self.later)

    def end_sync(self, thread: int) -> None:
        count = max(self.syncing.pop(thread) - self.made, 0)
        for act in self.pending[:count]:
            change(self.data, act)
        for name, node in self.later[:count]:
            rename(self.names, name, node)
        del self.pending[:count], self.later[:count]
        self.made += count


def change(data: bytearray, act: Act) -> None:
    """Carry out a write, or a change of length."""
    if act.kind is Kind.WRITE:
        end = act.offset + len(act.data)
        data.extend(bytes(max(end - len(data), 0)))
        data[act.offset : end] = act.data
    else:
        data.extend(bytes(max(act.offset - len(data), 0)))
        del data[act.offset :]


def rename(names: dict[str, Node], name: str, node: Node | None) -> None:
    """Set a name, or remove it."""
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    """The disk as the acts go on. `lies`: syncs of paths that begin so do nothing. `durable`: directories
    that were there long before.
    """

    def __init__(self, *, lies: str = "-", durable: tuple[str, ...] = ()) -> None:
        self.root = Node(is_directory=True)
        self._durable = durable
        self._lies = lies

    def do(self, act: Act) -> None:
        """Carry out the next act."""
        folder, _, name = act.path.rpartition("/")
        match act.kind:
            case Kind.CREATE | Kind.MKDIR:
                made = Node(is_directory=act.kind is Kind.MKDIR)
                if act.path in self._durable:
                    self.find(folder).names[name] = made
                else:
                    self.find(folder).later.append((name, made))
            case Kind.UNLINK:
                self.find(folder).later.append((name, None))
            case Kind.WRITE | Kind.TRUNCATE:
                self.find(act.path).pending.append(act)
            case Kind.SYNC_BEGIN:
                self.find(act.path).begin_sync(act.offset)
            case Kind.SYNC_END:
                if not act.path.startswith(self._lies):
                    self.find(act.path).end_sync(act.offset)
            case Kind.RENAME:
                raise AssertionError("this model knows no rename")

    def find(self, path: str) -> Node:
        """The file or directory under a path, as the running program sees it."""
        node = self.root
        for name in path.split("/") if path not in (".", "") else ():
            found = node.live(name)
            assert found is not None, f"{path} was never made"
            node = found
        return node

    def everything(self) -> dict[str, bytes]:
        """Every file as the running program sees it."""
        return {path: bytes(data) for path, data in left(self.root, Cut(None))}

    def cut(self, seed: int) -> dict[str, bytes]:
        """The files that are there when the power comes back: one of many ways."""
        return {path: bytes(data) for path, data in left(self.root, Cut(random.Random(seed)))}


class Cut:
    """One power cut: which of what is not durable has reached the disk. Without chance: all of it."""

    def __init__(self, chance: random.Random | None) -> None:
        self._chance = chance
        self._sector = chance.choice(SECTORS) if chance else 0
        self._names = chance.choice(CHANCES) if chance else 1.0

    def data(self, node: Node) -> bytearray:
        """A file's bytes."""
        data = bytearray(node.data)
        if not node.pending:
            return data
        if self._chance is None:
            for act in node.pending:
                change(data, act)
            return data
        kept = self._chance.choice(CHANCES)
        for act in node.pending:
            for piece in self._pieces(act):
                if self._chance.random() < kept:
                    change(data, piece)
        return data

    def names(self, node: Node) -> dict[str, Node]:
        """A directory's names."""
        names = dict(node.names)
        for name, other in node.later:
            if self._chance is None or self._chance.random() < self._names:
                rename(names, name, other)
        return names

    def _pieces(self, act: Act) -> Iterator[Act]:
        """A write by sectors: each of them is there, or not."""
        if act.kind is not Kind.WRITE:
            yield act
            return
        at = act.offset
        while at < act.offset + len(act.data):
            end = min((at // self._sector + 1) * self._sector, act.offset + len(act.data))
            piece = act.data[at - act.offset : end - act.offset]
            yield Act(Kind.WRITE, act.path, piece, at, act.ns)
            at = end


def left(node: Node, cut: Cut, path: str = "") -> Iterator[tuple[str, bytearray]]:
    """Path and bytes of every file below a directory, after a cut; a directory ends with a slash."""
    for name, other in cut.names(node).items():
        if other.is_directory:
            yield f"{path}{name}/", bytearray()
            yield from left(other, cut, f"{path}{name}/")
        else:
            yield f"{path}{name}", cut.data(other)


def write_files(files: dict[str, bytes], directory: Path) -> None:
    """Make the files of a cut below a directory that is new."""
    for path, data in files.items():
        if path.endswith("/"):
            (directory / path).mkdir(parents=True)
        else:
            (directory / path).write_bytes(data)
