"""Is this node fit for a large model? A quick result, held against what the node was certified as.

What a figure may be stands in the certificate, worked out on the controller. Without one, only what is true of any
node is judged: links, places and GPU memory. Both documents may be anything: what is not there is not judged, and said.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import figures, settings
from .loose import figure, mapping, mappings

PROBES = ("load", "allocator", "bandwidth")
FIT, UNFIT, UNKNOWN, NO_BASELINE = "fit", "unfit", "unknown", "no baseline"
PARTS = ("hardware", "kernel", "driver", "packages", "model")  # of a fingerprint, that a certificate holds for
NOT_COMPARED = ("vm.min_free_kbytes",)  # the kernel sets it anew whenever THP is switched
GPU_MEMORY_SHARE = 0.02  # taken before anything runs; what the driver keeps for itself is less
WARM_SHARE = 0.99  # of the model's pages, in the page cache when a warm load began
BUSY = 1.5  # load per CPU, before the first process was started
STOLEN = 0.1  # of the CPU time, by the hypervisor
FIRST_MARGIN = 0.5  # of a single run's figures, whose spread is not known
DRIFT_MB = 1.0  # per generation; a process that grows by less is not called growing
NAMED = 5
TEXT_LIMIT = 120


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `word` is fit, unfit, unknown or no baseline."""

    subject: str
    word: str
    sentence: str


def judge(
    result: dict[str, Any],
    certificate: dict[str, Any] | None,
    now: datetime.datetime,
    again: dict[str, Any] | None = None,
) -> list[Finding]:
    """Return what was found, in the order in which an operator would look. `again` is the result of a second run."""
    return [
        *_probes(result),
        *_lost(result),
        *failures(result, again),
        *_links(result),
        *_gpu_memory(result),
        *_page_cache(result),
        *_against(result, certificate, now, again),
    ]


def exit_code(findings: list[Finding]) -> int:
    """Return 0 for a healthy node, 1 where that could not be told, 2 for an unhealthy one."""
    words = {finding.word for finding in findings}
    return 2 if UNFIT in words else 1 if UNKNOWN in words or not words else 0


def verdict(code: int) -> str:
    return ("fit", "could not tell", "not fit")[code]


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return in which parts two fingerprints differ; those of the probe that a quick run does not use are no matter."""
    first, second = mapping(one.get("hashes")), mapping(other.get("hashes"))
    parts = [name for name in PARTS if not isinstance(first.get(name), str) or first[name] != second.get(name)]
    dropped = [mapping(found.get("probe")).get("drop_caches") for found in (one, other)]
    return [*parts, *([] if dropped[0] == dropped[1] else ["way of measuring"])]


def model_of(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec that name the model that a certificate is for; none where it does not say."""
    model = mapping(mapping(certificate.get("fingerprint")).get("model"))
    named = {"model": model.get("name"), "model_revision": model.get("revision")}
    return {field: value for field, value in named.items() if isinstance(value, str) and value}


def first_baseline(result: dict[str, Any]) -> dict[str, Any]:
    """Return, from one healthy run, what a node without any certificate is held against from then on."""
    limits = {}
    for name, value in figures.of(result).items():
        lower = not name.endswith("_per_s")
        limit = value * (1 + FIRST_MARGIN) if lower else value / (1 + FIRST_MARGIN)
        limits[name] = {
            "limit": max(limit, DRIFT_MB) if name == figures.DRIFT else limit,
            "lower_is_better": lower,
            "centre": value,
        }
    return {
        "host": result["host"],
        "issued": result["started"],
        "fingerprint": result["fingerprint"],
        "settings": settings.values(result["host_memory"]),
        "limits": limits,
    }


def _probes(result: dict[str, Any]) -> Iterator[Finding]:
    probes = mapping(result.get("probes"))
    for name in PROBES:
        probe = mapping(probes.get(name))
        if probe.get("status") != "ok":
            reason = _text(probe.get("reason") or "it is not in the result")
            yield Finding(f"probe {name}", UNKNOWN, f"{_text(probe.get('status') or 'missing')}: {reason}")


def _lost(result: dict[str, Any]) -> Iterator[Finding]:
    gone = figures.evidence(result, "bandwidth").get("gpus_lost")
    for said in gone if isinstance(gone, list) else ():
        yield Finding("GPUs", UNFIT, _text(said))


def failures(result: dict[str, Any], again: dict[str, Any] | None = None) -> Iterator[Finding]:
    """Say what each GPU failed at in either run, once for each cause; and what failed without naming a GPU.

    The figures are those of the GPUs that did their work: nothing else tells of one that does none.
    """
    causes: dict[tuple[str, str], list[str]] = {}
    for run in filter(None, (result, again)):
        for row in figures.samples(run, "bandwidth"):
            if "error" in row:
                cause = _text(row.get("gpu") or ""), _text(row["error"])
                causes.setdefault(cause, []).append(_text(row.get("measure")))
    for (gpu, error), measures in causes.items():
        said = f"{', '.join(dict.fromkeys(measures))} failed: {error}"
        yield Finding(f"work of {gpu}", UNFIT, said) if gpu else Finding("bandwidth", UNKNOWN, said)


def _links(result: dict[str, Any]) -> Iterator[Finding]:
    for gpu in mappings(figures.evidence(result, "bandwidth").get("gpus")):
        name = _text(gpu.get("uuid") or gpu.get("name") or "a GPU")
        below, pcie = gpu.get("pcie_below_device"), mapping(gpu.get("pcie"))
        if below and pcie.get("read") == "during copies":
            yield Finding(f"PCIe of {name}", UNFIT, f"the link is below what the device supports: {_text(below)}")
        elif below:
            said = f"the link is {_text(below)}, read at rest, when links slow down: nothing could be copied"
            yield Finding(f"PCIe of {name}", UNKNOWN, said)
        elif pcie.get("generation") and pcie.get("width"):
            said = f"generation {_text(pcie['generation'])} x{_text(pcie['width'])}, as the device supports"
            yield Finding(f"PCIe of {name}", FIT, said)
        else:
            yield Finding(f"PCIe of {name}", UNKNOWN, "its link could not be read")
        near = gpu.get("process_is_near")
        if near == "none":
            yield Finding(f"NUMA of {name}", UNFIT, _text(gpu.get("nearness")))
        elif near in ("all", "some"):
            yield Finding(f"NUMA of {name}", FIT, _text(gpu.get("nearness")))


def _gpu_memory(result: dict[str, Any]) -> Iterator[Finding]:
    for gpu in mappings(figures.evidence(result, "bandwidth").get("gpu_memory")):
        name, used, total = _text(gpu.get("uuid")), figure(gpu.get("used_mb")), figure(gpu.get("total_mb"))
        holders = mappings(gpu.get("holders"))
        named = ", ".join(_holder(each) for each in holders[:NAMED]) or "no process that can be seen from here"
        if used is None or not total:
            yield Finding(f"memory of {name}", UNKNOWN, "the driver does not say how much is used")
        elif used > GPU_MEMORY_SHARE * total:
            yield Finding(f"memory of {name}", UNFIT, f"{used:.0f} of {total:.0f} MiB are taken already, by {named}")
        else:
            yield Finding(f"memory of {name}", FIT, f"{used:.0f} of {total:.0f} MiB are taken")


def _holder(each: dict[str, Any]) -> str:
    memory = figure(each.get("memory_mb"))
    return f"{_text(each.get('name'))} (pid {_text(each.get('pid'))}{'' if memory is None else f', {memory:.0f} MiB'})"


def _page_cache(result: dict[str, Any]) -> Iterator[Finding]:
    loads = figures.samples(result, "load")
    warm = [_resident(row) for row in loads if row.get("cache") == "warm"]
    if not warm or None in warm:
        return  # the probe failed, and that is said
    if not _evicted(result):
        said = "the model's files could not be evicted from the page cache, so nothing cold was measured"
        yield Finding("page cache", UNKNOWN, said)
    if min(warm) < WARM_SHARE:
        said = f"only {100 * min(warm):.0f} % of the model's files stayed in the page cache once they were read"
        yield Finding("page cache", UNFIT, said)
    elif _evicted(result):
        yield Finding("page cache", FIT, "the model's files leave it and stay in it as they should")


def _resident(row: dict[str, Any]) -> float | None:
    pages, resident = figure(row.get("pages")), figure(row.get("resident_pages_at_start"))
    return None if resident is None or not pages else resident / pages


def _evicted(result: dict[str, Any]) -> bool:
    return all(figures.evidence(result, probe).get("eviction_worked") is not False for probe in ("load", "bandwidth"))


def _against(
    result: dict[str, Any],
    certificate: dict[str, Any] | None,
    now: datetime.datetime,
    again: dict[str, Any] | None,
) -> Iterator[Finding]:
    if certificate is None:
        said = "nothing was certified here or on a node with the same fingerprint: settings and figures are not judged"
        yield Finding("certificate", NO_BASELINE, said)
        return
    doubt = _doubt(result, certificate, now)
    if doubt:
        yield Finding("certificate", UNKNOWN, doubt)
        return
    yield from _settings(result, certificate)
    yield from figures_against(result, certificate, again)


def _doubt(result: dict[str, Any], certificate: dict[str, Any], now: datetime.datetime) -> str:
    """Say why figures cannot be held against this certificate, or nothing."""
    if not mapping(result.get("fingerprint")):
        return "the node was not described, so nothing tells whether its certificate holds"
    if not mapping(certificate.get("limits")) or not mapping(certificate.get("settings")):
        return "the certificate has no limits or no settings: certify the node again"
    until = mapping(certificate.get("validity")).get("until")
    try:
        over = until is not None and now > datetime.datetime.fromisoformat(until)
    except (TypeError, ValueError):
        return f"the certificate holds until {_text(until)}, which is no time"
    if over:
        return f"the certificate ended {_text(until)}: certify the node again"
    one, other = mapping(certificate.get("fingerprint")), mapping(result.get("fingerprint"))
    parts = [f"{name} ({_change(one.get(name), other.get(name))})" for name in differing(one, other)]
    return f"the certificate is for another {' and '.join(parts)}: certify the node again" if parts else ""


def _change(one: Any, other: Any) -> str:
    """Say what of a fingerprint's part differs."""
    first, second = mapping(one), mapping(other)
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return ", ".join(f"{_text(name)} {_text(first.get(name))} → {_text(second.get(name))}" for name in names[:NAMED])


def _settings(result: dict[str, Any], certificate: dict[str, Any]) -> Iterator[Finding]:
    found = settings.values(mapping(result.get("host_memory")))
    if not found:
        yield Finding("settings", UNKNOWN, "host memory could not be read")
        return
    certified = {name: value for name, value in certificate["settings"].items() if name not in NOT_COMPARED}
    changed = {name: value for name, value in certified.items() if found.get(name) != value}
    for name, value in changed.items():
        yield Finding(_text(name), UNFIT, f"is {_text(found.get(name, 'absent'))}, and was certified as {_text(value)}")
    if not changed:
        yield Finding("settings", FIT, f"all {len(certified)} are as certified")


def figures_against(
    result: dict[str, Any], certificate: dict[str, Any], again: dict[str, Any] | None = None
) -> Iterator[Finding]:
    """Hold each figure against its limit; of two runs the better one, for a moment's disturbance is in one of them.

    A busy node is not told from a slow one.
    """
    runs, busy, judged, worse = [_judged(run) for run in (result, again) if run], busy_with(result), 0, 0
    for name, known in certificate["limits"].items():
        values = [run[name] for run in runs if name in run]
        limit, centre = (figure(mapping(known).get(key)) for key in ("limit", "centre"))
        if name not in runs[0] or limit is None:
            continue
        judged += 1
        lower = mapping(known).get("lower_is_better") is True
        value = min(values) if lower else max(values)
        if value <= limit if lower else value >= limit:
            continue
        worse += 1
        said = f"is {value:.4g}{' at best, in two runs' if len(values) > 1 else ''}, "
        said += f"and must be at {'most' if lower else 'least'} {limit:.4g}"
        said += "" if centre is None else f" (certified: {centre:.4g})"
        excused = busy and not name.endswith(figures.TIMELESS)
        yield Finding(_text(name), UNKNOWN if excused else UNFIT, f"{said}; {busy}" if excused else said)
    if not judged:
        yield Finding("figures", UNKNOWN, "none could be held against the certificate")
    elif worse < judged:
        yield Finding("figures", FIT, f"{judged - worse} of {judged} are within their limits")
    for name in _missing(result, certificate["limits"]):
        yield Finding(name, UNKNOWN, "was certified, and its probe did not measure it here")


def _missing(result: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    """Return the figures with a limit that this run should have and has not."""
    found = figures.of(result)
    limited = [name for name in figures.expected(result) if figure(mapping(limits.get(name)).get("limit")) is not None]
    return [name for name in limited if name not in found and _means_something(result, name)]


def _judged(result: dict[str, Any]) -> dict[str, float]:
    """Return the figures of a run that mean something."""
    return {name: value for name, value in figures.of(result).items() if _means_something(result, name)}


def _means_something(result: dict[str, Any], name: str) -> bool:
    return _evicted(result) or not name.startswith(figures.COLD)


def busy_with(result: dict[str, Any]) -> str:
    """Say what else the node was doing, or nothing: then a slow figure is its own."""
    cores = figure(mapping(mapping(result.get("fingerprint")).get("hardware")).get("cores")) or 0
    first = next(iter(figures.samples(result, "load")), {})
    load = figure(first.get("load1_before")) or 0
    if cores and load > BUSY * cores:
        return f"the node was busy before anything was measured (load {load:.1f} on {cores:.0f} CPUs)"
    states = (mapping(row.get("node")) for row in figures.samples(result, "allocator"))
    stolen = max((figure(state.get("steal_share")) or 0 for state in states), default=0)
    return f"the hypervisor took {100 * stolen:.0f} % of the CPU time" if stolen > STOLEN else ""


def _text(value: Any) -> str:
    """Return foreign text on one line, harmless in a terminal."""
    text = " ".join(str(value).split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= TEXT_LIMIT else f"{shown[:TEXT_LIMIT]}…"
