"""A process that waits a given share longer than another for the same result, as for a slower disk.

It waits and does not compute: how fast this machine's CPU is changes by half within seconds when its neighbours work.
What it took is its quickest round.
"""

import time

from probe_agent.engines import child

ROUNDS, WAIT_S = 5, 0.1


def measure(job, stage):
    stage("imports")
    return {"took_s": min(_round(WAIT_S * (1 + job["slow_by"])) for _ in range(ROUNDS))}


def _round(wait_s):
    began = time.monotonic()
    time.sleep(wait_s)
    return time.monotonic() - began


if __name__ == "__main__":
    child.main(measure)
