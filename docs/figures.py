"""Puts the figures of the sample in reports/samples/h200 into README.md and docs/labs.md: `python -m docs.figures`.

A document has a pair of comments around each block, `<!-- figures: NAME -->` and `<!-- end of figures -->`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reports import figures, headlines, run_folder, summary
from reports.run_folder import Host, Measurement, Run
from reports.sections import allocators, timing
from reports.statistics import median

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "reports/samples/h200"
STANDARD = ROOT / "reports/samples/h200-standard"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs/labs.md")
BLOCK = re.compile(r"(?<=<!-- figures: )(\w+)( -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
Known = Mapping[str, float]  # a headline's name → its median


@dataclass(frozen=True)
class Step:
    """What the labs do by hand, what does it here, and what came of it. `probe` tells whose time it took."""

    tier: str
    by_hand: str
    here: str
    figure: Callable[[Known], str] = lambda _: ""
    probe: str = ""


def _load(known: Known) -> str:
    said = []
    for cache in ("cold", "warm"):
        load, whole = (figures.seconds(known[f"{cache}_{key}"]) for key in ("load_s", "wall_real_s"))
        said.append(f"{load} s {cache} ({whole} s with imports and exit)")
    return f"{', '.join(said)}, RSS {figures.mib(known['warm_rss_mb'])} MiB"


def _allocator(known: Known) -> str:
    glibc, jemalloc = (figures.seconds(known.get(f"{name}_gen_latency_s")) for name in ("glibc", "jemalloc"))
    return f"64 tokens in {glibc} s with glibc, {jemalloc} s with jemalloc"


def _serving(known: Known) -> str:
    cold, warm = (figures.seconds(known[f"{cache}_ready_s"]) for cache in ("cold", "warm"))
    first, others = (figures.digits(1000 * known[f"warm_{which}_ttft_s"]) for which in ("first", "next"))
    return f"ready after {cold} s cold, {warm} s warm; first token {first} ms, then {others} ms"


def _kv(known: Known) -> str:
    return f"{figures.count(known['kv_capacity_tokens'])} tokens fit"


def _batching(known: Known) -> str:
    alone, together = (figures.digits(known[f"{mode}_tokens_per_s"]) for mode in ("sequential", "concurrent"))
    return f"{alone} tokens/s one by one, {together} all at once"


STEPS = (
    Step("1, 75–90 min", "choose a small model, make a folder", "`probe_model`"),
    Step("1", "save the THP and huge page state", "in every result and certificate; shown before and after"),
    Step("1", "set THP and `nr_hugepages`", "roles `thp`, `hugepages`: read back, persisted, taken back by a rollback"),
    Step("1", "mount hugetlbfs", "role `hugetlbfs`"),
    Step(
        "1",
        "write `slm_load.py`; time it cold and warm",
        "probe `load`: fresh processes, eviction proven",
        _load,
        "load",
    ),
    Step("1", "`ps` in another terminal", "RSS, VSZ, PSS and huge pages of each process while it lives"),
    Step("1", "write `README.md`", "`index.html`, `report.md`"),
    Step("2A, 45–60 min", "install jemalloc", "role `jemalloc`"),
    Step(
        "2A",
        "write `slm_gen_latency.py`; run it with glibc and jemalloc, once each",
        "probe `allocator`: every lever of `probe_arms`, interleaved, its use proven, against the node's own noise",
        _allocator,
        "allocator",
    ),
    Step("2A", "write `allocator_latency_comparison.csv`", "the same file, a row per process, and a verdict per lever"),
    Step(
        "2B, 45–60 min",
        "start vLLM; a cold and a warm `curl`",
        "probe `serving`: starts with cold and warm caches, first token by both ends",
        _serving,
        "serving",
    ),
    Step("2B", "watch `nvidia-smi -l 1`", "GPU memory ten times a second, PSS twice, jumps named by phase"),
    Step("2B", "write `first_token_latency.md`", "the same file, with what it means for an SLO"),
    Step(
        "3A, 45–60 min",
        "write `kv_scaling.sh`; four servers, ten seconds of sleep each",
        "probe `kv`: capacity and footprint, two curves instead of one",
        _kv,
        "kv",
    ),
    Step(
        "3A",
        "write `kv_cache_scaling.csv` and its notes",
        "the same files, with the longest max-model-len that fits",
    ),
    Step(
        "3B, 45–60 min",
        "write `batch_client.py`; run it once",
        "probe `batching`: one by one, at once, and a sweep until throughput stops rising",
        _batching,
        "batching",
    ),
    Step("3B", "watch `nvidia-smi dmon`", "GPU utilization per load"),
    Step("3B", "write `batching_benchmark.md`", "the same file"),
)
TOTAL_BY_HAND = "255–330 min"


def blocks(run: Run, *others: Run) -> dict[str, str]:
    """Return each block's text by its name; of `others`, on nodes like that of `run`, the time is told.

    Raises ValueError for a run without a result.
    """
    host = _measured(run)
    hardware = host.result.fingerprint["hardware"]
    node = f"{', '.join(hardware['gpus']) or 'no GPU'}, {hardware['cores']} CPUs, {hardware['memory_gb']} GiB"
    took = "; ".join(_time(each, _measured(each)) for each in (run, *others))
    said = f"On a node with {node}, the environment and the model `{host.result.model}` in place, {took}."
    return {"result": _result(run), "time": f"\n{said}\n\n", "labs": _labs(run, host)}


def _measured(run: Run) -> Host:
    host = next((host for host in run.hosts() if host.result), None)
    if host is None:
        raise ValueError(f"{run.path} has no result to take figures from")
    return host


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return a document with the blocks in it. Raises KeyError for a block that there is none of."""
    return BLOCK.sub(lambda match: f"{match[1]}{match[2]}{known[match[1]]}", text)


def _result(run: Run) -> str:
    """The lines with which `make run` ends."""
    lines = [f"Report: reports/runs/{run.run_id}/index.html", *summary.lines(run)[0][1:]]
    return "\n" + "".join(f"    {line}\n" for line in lines) + "\n"


def _time(run: Run, host: Host) -> str:
    share = timing.overhead(host.result)
    own = "" if share is None else f", {figures.percent(share, signed=False)} % of that our own overhead"
    once = "" if host.baseline else ", tuned before and so measured once,"
    return f"profile {host.result.profile}{once} took {_took(run)} ({_took(host.result)} its main measurement{own})"


def _labs(run: Run, host: Host) -> str:
    known = {each.name: each.median for each in headlines.of(host.result)}
    jemalloc = median(allocators.of_arm(host.result, "jemalloc"), "gen_latency_s")
    known |= {} if jemalloc is None else {"jemalloc_gen_latency_s": jemalloc}
    rows = [_row(step, host.result, known) for step in STEPS]
    rows.append(f"| **all, {TOTAL_BY_HAND}** | | one command | | **{_took(run)}** |")
    head = "| tier | by hand | here | on the H200 | took |\n|---|---|---|---|---|\n"
    return "\n" + head + "\n".join(rows) + "\n\n"


def _row(step: Step, result: Measurement, known: Known) -> str:
    probe = result.probes.get(step.probe)
    took_s = probe.timing.get("took_s") if probe else None
    took = "" if took_s is None else duration(took_s)
    return f"| {step.tier} | {step.by_hand} | {step.here} | {step.figure(known)} | {took} |"


def _took(part: Run | Measurement) -> str:
    began, ended = (datetime.datetime.fromisoformat(when) for when in (part.started, part.finished or part.started))
    return duration((ended - began).total_seconds())


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main() -> None:
    known = blocks(run_folder.read(SAMPLE), run_folder.read(STANDARD))
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text(), known))


if __name__ == "__main__":
    main()
