"""A process for `fresh.run` that needs a given share longer than another for the same result.

What it took is the CPU time of its quickest round: a test knows nothing of its neighbours on this machine.
"""

import time

from probe_agent.engines import child

ROUNDS, ADDITIONS = 20, 200_000


def measure(job, stage):
    stage("imports")
    return {"took_s": min(_round(int(ADDITIONS * (1 + job["slow_by"]))) for _ in range(ROUNDS))}


def _round(additions):
    began, total = time.process_time(), 0
    for number in range(additions):
        total += number
    return time.process_time() - began


if __name__ == "__main__":
    child.main(measure)
