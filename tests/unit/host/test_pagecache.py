"""Eviction from the page cache is checked with mincore, on a real file."""

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
