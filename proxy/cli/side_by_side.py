"""Two texts side by side, line by line: equal lines stand beside each other, others are marked.

Marks: `|` another line, `<` only at the left, `>` only at the right.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby

from rich.cells import cell_len, chop_cells
from rich.text import Text

from proxy.cli.chosen import plain

LINES_MAX = 2000
"""Lines of each side that are aligned: finding what moved is quadratic."""

PAIRS_MAX = 20_000
"""Pairs of equal lines that are all looked at: some 0.2 s at the worst."""

CONTEXT = 3
"""Equal lines that are shown beside others."""

_STYLES = {" ": ("dim", "dim"), "|": ("green", "red"), "<": ("green", ""), ">": ("", "red")}

Pair = tuple[str, str, str]  # mark, left, right


def aligned(left: Sequence[str], right: Sequence[str]) -> Iterator[Pair]:
    """Pair the lines of two texts: (mark, left, right). A comma at the end makes no other line."""
    ours, theirs = left[:LINES_MAX], right[:LINES_MAX]
    for tag, one, other in _blocks(ours, theirs, lambda line: line.rstrip(",")):
        if tag == "equal":
            yield from ((" ", *pair) for pair in zip(one, other, strict=True))
        else:
            yield from _members(one, other)
    more = [
        f"… {len(side) - LINES_MAX} more lines" if side[LINES_MAX:] else ""
        for side in (left, right)
    ]
    if any(more):
        yield "|", more[0], more[1]


def _members(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[Pair]:
    """Lines that differ: those of the same name stand beside each other."""
    for tag, one, other in _blocks(ours, theirs, lambda line: line.partition(":")[0]):
        both = (
            min(len(one), len(other)) if tag == "equal" or ":" not in "".join((*one, *other)) else 0
        )
        yield from (("|", *pair) for pair in zip(one[:both], other[:both], strict=True))
        yield from (("<", line, "") for line in one[both:])
        yield from ((">", "", line) for line in other[both:])


def _blocks(
    left: Sequence[str], right: Sequence[str], shape: Callable[[str], str]
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Stretches of lines that have the same shape ("equal"), or not. Where many are the same, rare ones are paired
    first: difflib goes through all pairs again for each stretch that it finds.
    """
    shapes = [shape(line) for line in left], [shape(line) for line in right]
    ours, theirs = map(Counter, shapes)
    many = sum(count * theirs[each] for each, count in ours.items()) > PAIRS_MAX
    for tag, start, end, from_, to in SequenceMatcher(None, *shapes, autojunk=many).get_opcodes():
        yield tag, left[start:end], right[from_:to]


def shortened(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Leave out equal lines that are far from others."""
    near = {
        place
        for index, (mark, _, _) in enumerate(pairs)
        if mark != " "
        for place in range(index - CONTEXT, index + CONTEXT + 1)
    }
    for shown, some in groupby(range(len(pairs)), near.__contains__):
        run = [pairs[index] for index in some]
        if shown or len(run) == 1:
            yield from run
        else:
            text = f"… {len(run)} equal lines"
            yield " ", text, text


def columns(pairs: Sequence[Pair], width: int) -> Iterator[Text]:
    """The lines of a terminal of so many columns; what is too long goes on below."""
    room = max((width - 3) // 2, 8)
    for mark, left, right in pairs:
        ours, theirs = _wrapped(left, room), _wrapped(right, room)
        styles = _STYLES[mark]
        for number in range(max(len(ours), len(theirs))):
            one = ours[number] if number < len(ours) else ""
            other = theirs[number] if number < len(theirs) else ""
            line = Text(one + " " * (room - cell_len(one)), styles[0])
            line.append(f" {mark} ", "bold yellow")
            line.append(other, styles[1])
            yield line


def _wrapped(text: str, room: int) -> list[str]:
    return chop_cells(plain(text), room) or [""]
