"""How fast memory, files and links of the node are, where they sit, and whether repeated work keeps its pace."""

from __future__ import annotations

from typing import Any

from probe_agent.probes.cold import EVICTED_SHARE

from .. import figures, plots, tables
from ..loose import mapping, mappings, number, sentences, words
from ..plots import Axis, Series
from ..run_folder import Host, Measurement
from ..statistics import median, numbers
from ..tables import Column, Section, Table

GIB, MIB = 1 << 30, 1 << 20
TOLD_SHARE = 0.9  # of a node's memory, that its NUMA nodes have together where the kernel tells it
MEASURES = {
    "pinned_alloc": "pinned memory, allocated",
    "h2d_pinned": "host to GPU, pinned",
    "d2h_pinned": "GPU to host, pinned",
    "h2d_pageable": "host to GPU, pageable",
    "d2h_pageable": "GPU to host, pageable",
    "first_touch": "first touch of fresh memory",
    "read_cold": "model's files, read cold",
    "read_warm": "model's files, read warm",
}
HEADLINES = ("h2d_pinned", "d2h_pinned", "first_touch", "read_cold", "read_warm")
FRESH = ("first_touch", "read_cold", "read_warm")  # each repeat a process of its own; copies share one
GPUS = 32  # more than a node has
NEAR = {"all": "good", "some": "unsure", "none": "bad"}
Group = tuple[str, str, str, float]


def of_measure(measurement: Measurement, measure: str) -> list[dict[str, Any]]:
    return [row for row in measurement.samples("bandwidth") if row["measure"] == measure]


def groups(measurement: Measurement) -> dict[Group, list[dict[str, Any]]]:
    """Return the movements that can be compared: the same measure, GPU, advice and size. Failed ones have no bytes."""
    found: dict[Group, list[dict[str, Any]]] = {}
    for measure in MEASURES:
        for row in of_measure(measurement, measure):
            if (row["bytes"] or 0) > 0 and row["seconds"] > 0:
                advice, faults = row.get("advice"), row.get("page_faults")
                key = (measure, row.get("gpu", ""), advice if isinstance(advice, str) else "", row["bytes"])
                per_s = {"rate": row["bytes"] / GIB / row["seconds"], "faults": faults and faults / row["seconds"]}
                found.setdefault(key, []).append({**row, **per_s})
    return found


def slowest(measurement: Measurement, measure: str) -> float | None:
    """Return a measure's median rate in GiB/s; of several GPUs, that of the slowest. First touch without advice."""
    rates = [
        median(rows, "rate")
        for (name, _, advice, _), rows in groups(measurement).items()
        if name == measure and advice in ("", "none")
    ]
    return min(rates, default=None)


def gpus(measurement: Measurement) -> list[dict[str, Any]]:
    return mappings(measurement.probes["bandwidth"].evidence.get("gpus"))[:GPUS]


def steadiness(measurement: Measurement) -> dict[str, Any]:
    """Return what the repeated generations came to; nothing where the probe did not run."""
    probe = measurement.probes.get("bandwidth")
    return mapping(probe.evidence.get("generation")) if probe else {}


def warnings(measurement: Measurement) -> list[str]:
    """Say what stands in the way of these figures, and what could not be read."""
    unread = sentences(measurement.probes["bandwidth"].evidence.get("unread"))
    return [*_far_or_slow(measurement), *(f"{each[:1].upper()}{each[1:]}." for each in unread)]


def slow_links(host: Host) -> list[str]:
    """Say which GPU has a link below what it supports, or sits far from the measured process."""
    measured = host.moments_of("bandwidth")
    return _far_or_slow(measured[-1][1]) if measured else []


def _far_or_slow(measurement: Measurement) -> list[str]:
    said = []
    for device in gpus(measurement):
        name = words(device.get("name") or device.get("uuid"))
        below = device.get("pcie_below_device")
        if isinstance(below, str) and below:
            at_rest = " (read at rest, when links slow down)" if _pcie(device).get("read") == "at rest" else ""
            said.append(f"{name}: its PCIe link is below what the device supports: {below}{at_rest}.")
        if device.get("process_is_near") in ("some", "none"):
            said.append(f"{name}: {words(device.get('nearness'))}.")
    return said


def findings(host: Host) -> list[str]:
    """Say the rates, and what stands in their way."""
    measured = host.moments_of("bandwidth")
    if not measured:
        return []
    newest = measured[-1][1]
    rates = {measure: slowest(newest, measure) for measure in HEADLINES}
    known = [f"{MEASURES[name]} {figures.digits(rate)} GiB/s" for name, rate in rates.items() if rate is not None]
    said = [f"Rates (medians): {'; '.join(known)}."] if known else []
    if not all(map(_evicted, of_measure(newest, "read_cold"))):
        said.append("The cold reads were not cold: model pages were still in the page cache.")
    return said + warnings(newest)


def section(host: Host) -> Section | None:
    measured = host.moments_of("bandwidth")
    if not measured:
        return None
    newest = measured[-1][1]
    made = (rates_table(newest), links_table(newest), node_table(newest), generation_table(newest))
    generations = tuple(enumerate(numbers(of_measure(newest, "generation"), "seconds"), 1))
    return Section(
        "bandwidth",
        "Bandwidth, links and steadiness",
        tables=tuple(table for table in made if table.rows),
        figures=plots.some(
            plots.curves(
                "Repeated generation in one process",
                Axis("generation"),
                Axis("", "s", from_zero=False),
                [Series("generations", generations, generations)],
            )
        ),
        details=tuple(table for when, part in measured[:-1] if (table := rates_table(part, f", {when} tuning")).rows),
    )


def rates_table(measurement: Measurement, when: str = "") -> Table:
    rows = []
    for (measure, gpu, advice, size), found in groups(measurement).items():
        rates = numbers(found, "rate")
        advised = f", madvise {advice}" if advice not in ("", "none") else ""
        rows.append(
            (
                tables.text(MEASURES[measure] + advised),
                tables.text(gpu),
                tables.count(len(found)),
                tables.mib(size / MIB),
                tables.milliseconds(median(found, "seconds")),
                *(tables.rate(value) for value in (median(found, "rate"), min(rates), max(rates))),
                tables.count(median(found, "faults")),
                tables.mib(median(found, "anon_huge_mb")),
                tables.count(max(numbers(found, "resident_pages_at_start"), default=None)),
            )
        )
    failed = [row for row in measurement.samples("bandwidth") if row["measure"] in MEASURES and row["bytes"] is None]
    note = "Cached at start: pages of the model in the page cache, at most."
    made = Table(
        f"Rates{when}",
        (
            Column("What"),
            Column("GPU"),
            Column("Repeats", numeric=True),
            Column("Size", "MiB", numeric=True),
            Column("Time, median", "ms", numeric=True),
            Column("Rate, median", "GiB/s", numeric=True),
            Column("Slowest", "GiB/s", numeric=True),
            Column("Fastest", "GiB/s", numeric=True),
            Column("Page faults", "per s", numeric=True),
            Column("Huge pages", "MiB", numeric=True),
            Column("Cached at start", "pages", numeric=True),
        ),
        tuple(rows),
        f"{note} {figures.plural(len(failed), 'measure')} failed and moved nothing." if failed else note,
    )
    return tables.without_empty(made)


def links_table(measurement: Measurement) -> Table:
    """Where each GPU sits, and how its link is against what it supports."""
    rows = []
    for device in gpus(measurement):
        pcie, below, near = _pcie(device), device.get("pcie_below_device"), device.get("process_is_near")
        rows.append(
            (
                tables.text(words(device.get("name"))),
                tables.text(words(device.get("uuid"))),
                tables.text(words(device.get("numa_node"))),
                tables.text(words(device.get("cpus_near"))),
                tables.text(words(near), NEAR.get(near, "") if isinstance(near, str) else ""),
                tables.text(_link(pcie.get("generation"), pcie.get("width")), "bad" if below else ""),
                tables.text(_link(pcie.get("max_generation"), pcie.get("max_width"))),
                tables.text(words(pcie.get("read"))),
                tables.text(words(device.get("iommu"))),
            )
        )
    return Table(
        "Where the GPUs sit, and their links",
        (
            Column("GPU"),
            Column("UUID"),
            Column("NUMA node"),
            Column("CPUs of that node"),
            Column("This process's CPUs near it"),
            Column("PCIe link"),
            Column("The device supports"),
            Column("Read"),
            Column("IOMMU"),
        ),
        tuple(rows),
    )


def node_table(measurement: Measurement) -> Table:
    evidence = measurement.probes["bandwidth"].evidence
    numa, iommu = mapping(evidence.get("numa")), mapping(evidence.get("iommu"))
    nodes = mappings(numa.get("nodes"))
    # Of memory that was plugged in later, kernels tell the node's total and no node's.
    told = sum(numbers(nodes, "memory_mb")) > TOLD_SHARE * (number(measurement.host_memory.get("memory_total_mb")) or 0)
    found = {
        "CPUs the process may use": numa.get("allowed_cpus"),
        "NUMA nodes whose memory it may use": numa.get("allowed_memory_nodes"),
        **{
            f"NUMA node {words(node.get('number'))}": f"CPUs {words(node.get('cpus'))}"
            + (f", {_mib(node.get('memory_mb'))}" if told else "")
            for node in nodes
        },
        "IOMMU": iommu.get("mode"),
        "IOMMU, read from": iommu.get("read_from"),
        "A cold read means": evidence.get("cold_means"),
    }
    return Table(
        "The node's topology",
        (Column("What"), Column("Found", wide=True)),
        tuple((tables.text(name), tables.text(words(value))) for name, value in found.items() if value is not None),
    )


def generation_table(measurement: Measurement) -> Table:
    """Whether the same work keeps its pace and its memory in a process that goes on living."""
    found = of_measure(measurement, "generation")
    steady = steadiness(measurement)
    seconds, rss = numbers(found, "seconds"), numbers(found, "rss_mb")
    jitter, drift = number(steady.get("jitter")), number(steady.get("rss_drift_mb"))
    row = (
        tables.count(len(found)),
        tables.seconds(median(found, "seconds")),
        tables.seconds(min(seconds, default=None)),
        tables.seconds(max(seconds, default=None)),
        tables.percent(None if jitter is None else 100 * jitter, signed=False),
        tables.mib(rss[0] if rss else None),
        tables.mib(rss[-1] if rss else None),
        tables.rate(drift),
    )
    return Table(
        "Repeated generation in one process",
        (
            Column("Generations", numeric=True),
            Column("Median", "s", numeric=True),
            Column("Fastest", "s", numeric=True),
            Column("Slowest", "s", numeric=True),
            Column("Jitter", "%", numeric=True),
            Column("RSS after the first", "MiB", numeric=True),
            Column("RSS after the last", "MiB", numeric=True),
            Column("RSS drift", "MiB per generation", numeric=True),
        ),
        (row,) if found else (),
        "Jitter is the interquartile range over the median, drift the median slope over all pairs (Theil-Sen), both "
        f"without the first {words(steady.get('warm_up'))}, which still fill caches."
        if steady
        else "",
    )


def _evicted(row: dict[str, Any]) -> bool:
    pages, resident = number(row.get("pages")), row.get("resident_pages_at_start", 0)
    return pages is None or resident <= EVICTED_SHARE * pages


def _pcie(device: dict[str, Any]) -> dict[str, Any]:
    return mapping(device.get("pcie"))


def _link(generation: Any, width: Any) -> str:
    """As in `generation 5 x16`; what could not be read has a dash."""
    known = [figures.NOTHING if number(value) is None else f"{value:g}" for value in (generation, width)]
    return f"generation {known[0]} x{known[1]}"


def _mib(value: Any) -> str:
    return f"{figures.mib(number(value))} MiB"
