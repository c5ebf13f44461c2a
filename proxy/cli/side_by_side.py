"""Two texts side by side, line by line: equal lines stand beside each other, others are marked.

Marks: `|` another line, `<` only at the left, `>` only at the right.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from rich.cells import cell_len, chop_cells
from rich.text import Text

from proxy.cli.chosen import plain

LINES_MAX = 2000
"""Lines of each side that are aligned: finding what moved is quadratic."""

CONTEXT = 3
"""Equal lines that are shown beside others."""

_STYLES = {" ": ("dim", "dim"), "|": ("green", "red"), "<": ("green", ""), ">": ("", "red")}

Pair = tuple[str, str, str]  # mark, left, right


def aligned(left: Sequence[str], right: Sequence[str]) -> Iterator[Pair]:
    """Pair the lines of two texts: (mark, left, right)."""
    matcher = SequenceMatcher(None, left[:LINES_MAX], right[:LINES_MAX], autojunk=False)
    for tag, start, end, from_, to in matcher.get_opcodes():
        if tag == "equal":
            yield from ((" ", line, line) for line in left[start:end])
            continue
        ours, theirs = left[start:end], right[from_:to]
        both = min(len(ours), len(theirs))
        yield from (("|", *pair) for pair in zip(ours[:both], theirs[:both], strict=True))
        yield from (("<", line, "") for line in ours[both:])
        yield from ((">", "", line) for line in theirs[both:])
    more = [
        f"… {len(side) - LINES_MAX} more lines" if side[LINES_MAX:] else ""
        for side in (left, right)
    ]
    if any(more):
        yield "|", more[0], more[1]


def shortened(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Leave out equal lines that are far from others."""
    near = {
        place
        for index, (mark, _, _) in enumerate(pairs)
        if mark != " "
        for place in range(index - CONTEXT, index + CONTEXT + 1)
    }
    skipped = 0
    for index, pair in enumerate(pairs):
        if index in near:
            if skipped:
                yield _skip(skipped)
            skipped = 0
            yield pair
        else:
            skipped += 1
    if skipped:
        yield _skip(skipped)


def _skip(count: int) -> Pair:
    text = f"… {count} equal lines" if count > 1 else "… 1 equal line"
    return " ", text, text


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
