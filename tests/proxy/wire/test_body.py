"""Bodies: in memory while they are small, whole in a file when not, and never beyond the limit."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cipher import FRAME_BYTES, BadSeal
from proxy.wire.body import Memory, Spool, TooLarge, discard, in_memory, open_spool
from rules.message import Request
from tests.proxy.wire.raw import a_request


def spooled(directory: Path, body: bytes) -> Request:
    path = directory / "body"
    path.write_bytes(body)
    return a_request("PUT", spool=path, size=len(body))


def test_a_small_body_stays_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "body", memory_max=4, limit=100)
    for piece in (b"ab", b"", b"cd"):
        spool.add(piece)
    assert not spool.in_file
    assert (spool.memory(), spool.size) == (b"abcd", 4)
    spool.close()
    assert not list(tmp_path.iterdir())


def test_a_body_of_nothing_is_empty(tmp_path: Path) -> None:
    assert Spool(tmp_path / "body", memory_max=4, limit=100).memory() == b""


def test_a_longer_body_is_in_its_file_from_the_first_byte(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "body", memory_max=4, limit=100)
    for piece in (b"ab", b"cde", b"f" * 90):
        spool.add(piece)
    spool.close()
    assert spool.in_file
    assert spool.path.read_bytes() == b"abcde" + b"f" * 90
    assert spool.path.stat().st_mode & 0o777 == 0o600


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 30))
def test_no_byte_is_lost_however_the_body_arrives(pieces: list[bytes], memory_max: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "body"
        spool = Spool(path, memory_max=memory_max, limit=1000)
        for piece in pieces:
            spool.add(piece)
        assert (path.read_bytes() if spool.in_file else spool.memory()) == b"".join(pieces)
        assert spool.pieces() == (() if spool.in_file else tuple(pieces))
        assert spool.size == len(b"".join(pieces))
        spool.close()


@pytest.mark.parametrize("memory_max", [4, 1000])
def test_a_body_beyond_the_limit_is_refused(tmp_path: Path, memory_max: int) -> None:
    spool = Spool(tmp_path / "body", memory_max=memory_max, limit=10)
    spool.add(b"x" * 10)
    with pytest.raises(TooLarge, match="longer than 10 bytes"):
        spool.add(b"x")
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"another's")
    spool = Spool(tmp_path / "body", memory_max=0, limit=10)
    with pytest.raises(FileExistsError):
        spool.add(b"x")
    spool.discard()
    assert (tmp_path / "body").read_bytes() == b"another's"


def test_a_spool_without_its_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Spool(tmp_path / "none" / "body", memory_max=0, limit=10).add(b"x")


def test_a_spool_may_be_closed_and_discarded_more_than_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "body", memory_max=0, limit=10)
    spool.add(b"x")
    with (tmp_path / "other").open("wb") as other:
        spool.close()
        spool.close()
        spool.discard()
        spool.discard()
        other.write(b"still open")
    assert (tmp_path / "other").read_bytes() == b"still open"
    assert not spool.path.exists()


def test_a_spooled_request_can_be_read_into_memory(tmp_path: Path) -> None:
    request = spooled(tmp_path, b"0123456789")
    whole = in_memory(request)
    assert (whole.body, whole.spool, whole.body_bytes) == (b"0123456789", None, 10)
    assert (whole.method, whole.target, whole.head) == (request.method, "/a", request.head)
    assert in_memory(whole) is whole


def test_a_spool_is_opened_only_if_it_is_whole(tmp_path: Path) -> None:
    request = spooled(tmp_path, b"0123456789")
    with open_spool(request) as file:
        assert file.read() == b"0123456789"
    Path(str(request.spool)).write_bytes(b"012345678")
    with pytest.raises(OSError, match="9 bytes, not 10"):
        open_spool(request)
    discard(request)
    with pytest.raises(FileNotFoundError):
        open_spool(request)


def test_discarding_removes_the_file_of_a_request_if_there_is_one(tmp_path: Path) -> None:
    request = spooled(tmp_path, b"0123456789")
    discard(request)
    discard(request)
    discard(a_request())
    assert not list(tmp_path.iterdir())


# encrypted ones


def sealed(path: Path, pieces: list[bytes], memory_max: int = 0) -> Request:
    """A request whose body came in these pieces and lies encrypted in its file."""
    spool = Spool(path, memory_max, limit=10 * FRAME_BYTES, sealed=True)
    for piece in pieces:
        spool.add(piece)
    spool.close()
    assert spool.in_file
    return Request(
        method="PUT", target="/a", head=b"", spool=str(path), body_bytes=spool.size, spool_key=spool.key
    )  # fmt: skip


@pytest.mark.parametrize(
    "sizes",
    [
        [1], [FRAME_BYTES], [FRAME_BYTES, 1], [FRAME_BYTES + 1], [0, 5, 0], [1000] * 200,
        [3 * FRAME_BYTES, 0, 7, FRAME_BYTES], [FRAME_BYTES - 1, 1, FRAME_BYTES],
    ],
)  # fmt: skip
def test_an_encrypted_body_comes_back_however_it_arrived(tmp_path: Path, sizes: list[int]) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes, 1)]
    request = sealed(tmp_path / "body", pieces)
    assert in_memory(request).body == b"".join(pieces)
    assert (in_memory(request).spool, in_memory(request).spool_key) == (None, b"")
    with open_spool(request) as file:
        assert b"".join(iter(lambda: file.read(4 * FRAME_BYTES), b"")) == b"".join(pieces)


def test_nothing_of_an_encrypted_body_is_in_its_file(tmp_path: Path) -> None:
    request = sealed(tmp_path / "body", [b"canary " * 100] * 300, memory_max=5000)
    stored = (tmp_path / "body").read_bytes()
    assert b"canary" not in stored
    assert (tmp_path / "body").stat().st_mode & 0o777 == 0o600
    frames = -(-request.body_bytes // FRAME_BYTES)
    assert len(stored) == request.body_bytes + 16 * frames


def test_no_more_than_a_frame_waits_in_memory_while_an_encrypted_body_arrives(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "body", 0, limit=10 * FRAME_BYTES, sealed=True)
    for count in range(1, 401):
        spool.add(b"x" * 1000)
        assert spool.path.stat().st_size >= count * 1000 - FRAME_BYTES
        assert sum(map(len, spool._pieces)) <= FRAME_BYTES
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_each_encrypted_body_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, two = (sealed(tmp_path / name, [b"body"]) for name in ("one", "two"))
    assert one.spool_key != two.spool_key
    (tmp_path / "one").write_bytes((tmp_path / "two").read_bytes())
    with pytest.raises(BadSeal):
        in_memory(one)
    assert in_memory(two).body == b"body"


def test_a_small_body_needs_no_key(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "body", memory_max=4, limit=100, sealed=True)
    spool.add(b"abcd")
    spool.close()
    assert (spool.in_file, spool.memory(), spool.key) == (False, b"abcd", b"")


def test_an_encrypted_spool_is_opened_only_if_it_is_whole(tmp_path: Path) -> None:
    request = sealed(tmp_path / "body", [b"0123456789"])
    path = tmp_path / "body"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="25 bytes, not 26"):
        open_spool(request)


def test_the_end_of_an_encrypted_body_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "body", 0, limit=100, sealed=True)
    spool.add(b"x")
    broken = os.open("/dev/full", os.O_WRONLY)
    os.dup2(broken, spool._file)
    os.close(broken)
    with pytest.raises(OSError, match="No space left"):
        spool.close()
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_memory_has_so_many_places_and_no_more() -> None:
    memory = Memory(2)
    assert [memory.take() for _ in range(3)] == [True, True, False]
    memory.give()
    assert (memory.take(), memory.free) == (True, 0)
