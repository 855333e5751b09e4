"""Eviction from the page cache is checked with mincore, on a real file."""

from pathlib import Path

import pytest

from probe_agent.host import pagecache
from probe_agent.host.pagecache import Residency


def test_evicted_pages_are_gone_and_read_pages_are_there(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (4 << 20))
    assert pagecache.residency([file]) == Residency(1024, 1024)
    pagecache.evict([file])
    assert pagecache.residency([file]) == Residency(0, 1024)
    pagecache.warm([file])
    assert pagecache.residency([file]).share == 1


def test_what_interrupts_the_count_is_what_is_raised(tmp_path, monkeypatch):
    """A SIGTERM in the middle once came out as a BufferError of the mapping."""

    class Interrupted:
        def mincore(self, *_):
            raise KeyboardInterrupt

    (tmp_path / "weights").write_bytes(b"x" * 8192)
    monkeypatch.setattr(pagecache, "LIBC", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        pagecache.residency([tmp_path / "weights"])


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "empty").touch()
    assert pagecache.residency([tmp_path / "empty"]) == Residency(0, 0)
    assert Residency(0, 0).share == 0


@pytest.mark.parametrize(
    ("start", "end", "resident"),
    [(0, None, (4, 0, 4)), (0, 2 * 4096, (2, 0, 0)), (2 * 4096, None, (2, 0, 4)), (3 * 4096, 6 * 4096, (1, 0, 2))],
)
def test_a_part_of_all_bytes_in_a_row_can_be_warmed(tmp_path, monkeypatch, start, end, resident):
    """The parts read are counted, since readahead makes more of them resident."""
    files = [tmp_path / name for name in ("a", "empty", "b")]
    for file, pages in zip(files, (4, 0, 4), strict=True):
        file.write_bytes(b"x" * pages * 4096)
    monkeypatch.setattr(pagecache, "BLOCK_BYTES", 4096)
    read = dict.fromkeys(("a", "empty", "b"), 0)
    opened = Path.open

    class Counted:
        def __init__(self, file):
            self.name, self.stream = file.name, opened(file, "rb", buffering=0)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def seek(self, place):
            self.stream.seek(place)

        def readinto(self, block):
            got = self.stream.readinto(block)
            read[self.name] += got
            return got

    monkeypatch.setattr(Path, "open", lambda file, *_, **__: Counted(file))
    pagecache.warm(files, start, end)
    assert tuple(count // 4096 for count in read.values()) == resident
