"""The tables themselves: long enough, each row named once, each with its section."""

import re
from collections import Counter

from tests.conformance import (
    test_bodies,
    test_body_framing,
    test_connections,
    test_field_syntax,
    test_fields,
    test_interim,
    test_replies,
    test_reply_syntax,
    test_request_lines,
    test_smuggling,
    test_targets,
    test_tunnels,
)

TABLES = (
    test_bodies,
    test_body_framing,
    test_connections,
    test_field_syntax,
    test_fields,
    test_interim,
    test_replies,
    test_reply_syntax,
    test_request_lines,
    test_smuggling,
    test_targets,
    test_tunnels,
)
ROWS = [case for table in TABLES for case in table.CASES]


def test_the_tables_are_as_long_as_promised() -> None:
    assert len(ROWS) >= 1000


def test_every_row_names_its_section() -> None:
    assert not [case for case in ROWS if not re.fullmatch(r"\d{4} \d+(\.\d+)*", case.section)]


def test_no_two_rows_of_a_table_have_one_name() -> None:
    for table in TABLES:
        names = Counter(str(case) for case in table.CASES)
        assert not [name for name, count in names.items() if count > 1]
