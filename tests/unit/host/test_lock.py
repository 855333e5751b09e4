"""One at a time on a node, be it a probe or a change."""

import pytest

from probe_agent.host import lock


def test_the_second_one_is_refused_until_the_first_lets_go(tmp_path):
    first = lock.to_tune(tmp_path, wait_s=0)
    with pytest.raises(ValueError, match=r"another probe .* or another run tunes it \(.*agent.lock is held\)"):
        lock.take(tmp_path / "var/lib/stethos", wait_s=0)
    first.close()
    lock.take(tmp_path / "var/lib/stethos", wait_s=0).close()


def test_whoever_waits_gets_it_as_soon_as_it_is_free(tmp_path, monkeypatch):
    held = lock.take(tmp_path, wait_s=0)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: held.close())
    lock.take(tmp_path, wait_s=60).close()
