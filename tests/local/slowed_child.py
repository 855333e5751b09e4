"""A process for `fresh.run` that computes the same every time, and then sleeps `slow_by` of the time that took."""

import time

from probe_agent.engines import child

ROUNDS = 3_000_000


def measure(job, stage):
    stage("imports")
    began, total = time.perf_counter(), 0
    for number in range(ROUNDS):
        total += number
    time.sleep(job["slow_by"] * (time.perf_counter() - began))
    return {"total": total, "took_s": time.perf_counter() - began}


if __name__ == "__main__":
    child.main(measure)
