"""The reason of a row: what the node said, in one line, without Ansible's and ssh's wrapping."""

import pytest
from callback_plugins.run_record import LONGEST_REASON, reason_of

OVER_SSH = 'Task failed: Data could not be sent to remote host "10.0.0.2". Make sure this host can be reached over ssh:'
CHANGED = f"""{OVER_SSH} {"@" * 59}
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
{"@" * 59}
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key verification failed.
"""
NO_JSON = "Module result deserialization failed: No start of json char found"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"msg": "no room"}, "no room"),
        ({}, "failed without a word"),
        ({"msg": f"{OVER_SSH} ssh: connect to host 10.0.0.2 port 22: No route to host\r\n"},
         "ssh: connect to host 10.0.0.2 port 22: No route to host"),
        ({"msg": OVER_SSH}, "the connection was lost, and the node answers no more"),
        ({"msg": CHANGED}, "Host key verification failed. The node shows a key that known_hosts does not have for it"),
        ({"msg": NO_JSON, "module_stderr": "/bin/sh: 1: sudo: not found\n"}, "/bin/sh: 1: sudo: not found"),
        ({"msg": NO_JSON, "module_stdout": "Sorry, try again."}, "Sorry, try again."),
        ({"msg": NO_JSON}, NO_JSON),
        ({"msg": "Timed out after 20 second(s).", "timedout": {"period": 20}},
         "the node did not finish 'Read' within 20 s: it hangs, or is far too slow"),
        ({"msg": "x" * 9999}, "x" * LONGEST_REASON),
    ],
)  # fmt: skip
def test_reason(result, reason):
    assert reason_of(result, "Read") == reason
