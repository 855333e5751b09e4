"""A host's figures as node_exporter's textfile collector takes them: base units, and names by Prometheus' conventions.

There is no label for the host: what scrapes it knows that as `instance`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from probe_agent.arms import COMPARED, CONTROL
from probe_agent.figures import MOVEMENTS

from . import certificate, headlines, limits, metrics
from .loose import mapping
from .run_folder import Host, Run
from .sections import allocators, batching
from .sections.load import CACHES

NAME = "metrics.prom"
STATES = ("ok", "degraded", "failed")  # those in which a host can have a result
# How a headline's unit is written here, and how many of it that is.
UNITS = (
    ("_gib_per_s", "_bytes_per_second", 2**30),
    ("_tokens_per_s", "_tokens_per_second", 1),
    ("_mb", "_bytes", 2**20),
    ("_s", "_seconds", 1),
    ("_tokens", "_tokens", 1),
)


@dataclass(frozen=True)
class Family:
    """All values of one thing: they share its name, and differ by `label` where there is one."""

    name: str
    help: str
    label: str = ""


@dataclass(frozen=True)
class Sample:
    family: Family
    value: float
    of: str = ""  # the label's value


RUN = Family("stethos_run_timestamp_seconds", "When the run began that measured this.")
VALID_UNTIL = Family("stethos_certificate_valid_until_timestamp_seconds", "When the certificate of this host ends.")
STATE = Family("stethos_host_state", "1 for the state that the run left this host in.", "state")
EFFECT = Family(
    "stethos_lever_effect_ratio",
    "What an arm changed, as a share of the control, in the figure that its lever is pulled for.",
    "arm",
)


def _known() -> Iterator[tuple[str, Family, str]]:
    """Yield each headline there can be, with its family and the value of its label."""
    for cache in CACHES:
        for metric in metrics.LOAD_METRICS:
            said = f"Loading the model: {metric.title}."
            yield f"{cache}_{metric.key}", _family("model", metric.key, said, "cache"), cache
        for metric in metrics.SERVING_METRICS:
            yield f"{cache}_{metric.key}", _family("server", metric.key, f"vLLM: {metric.title}.", "cache"), cache
    for metric in metrics.ALLOCATOR_METRICS:
        family = _family("process", metric.key, f"A process without any lever: {metric.title}.", "arm")
        yield f"{CONTROL}_{metric.key}", family, CONTROL
    for mode in batching.MODES:
        yield f"{mode}_tokens_per_s", _family("batching", "tokens_per_s", "Throughput of the server.", "mode"), mode
    for moved in MOVEMENTS:
        said = "Rate at which memory is allocated, touched, copied or read."
        family = _family("memory", "gib_per_s", said, "movement")
        yield f"{moved}_gib_per_s", family, moved
    yield "kv_capacity_tokens", _family("kv_cache", "capacity_tokens", "Tokens that fit into the KV cache."), ""
    yield "generation_rss_drift_mb", _family("generation", "growth_mb", "What a process grows by per generation."), ""


def _family(of: str, key: str, said: str, label: str = "") -> Family:
    end, written = next((end, written) for end, written, _ in UNITS if f"_{key}".endswith(end))
    return Family(f"stethos_{of}_{key}".removesuffix(end) + written, said, label)


FAMILIES = {name: (family, of) for name, family, of in _known()}


def text(run: Run, host: Host, state: str) -> str:
    """Return the metrics of a host that has a result."""
    by_family: dict[Family, list[Sample]] = {}
    for sample in _samples(run, host, state):
        by_family.setdefault(sample.family, []).append(sample)
    written = (line for family, samples in by_family.items() for line in _lines(family, samples))
    return "".join(f"{line}\n" for line in ("# Managed by stethos", *written))


def _samples(run: Run, host: Host, state: str) -> Iterator[Sample]:
    measured = host.result
    assert measured is not None  # noqa: S101 - as the caller says
    began = datetime.datetime.fromisoformat(run.started)
    yield Sample(RUN, began.timestamp())
    if until := _certified_until(run, host, state):
        yield Sample(VALID_UNTIL, until.timestamp())
    for each in STATES:
        yield Sample(STATE, float(each == state), each)
    for found in headlines.of(measured):
        if found.name in FAMILIES:
            family, of = FAMILIES[found.name]
            yield Sample(family, found.median * _times(found.name), of)
    for arm, verdicts in allocators.verdicts(measured).items():
        effect = verdicts.get(metrics.headline(arm).key, {}).get("effect_percent")
        if effect is not None and arm in COMPARED:  # a node can send any name
            yield Sample(EFFECT, effect / 100, arm)


def _certified_until(run: Run, host: Host, state: str) -> datetime.datetime | None:
    """Return when the host's certificate ends: the one of this run, or the one that a pre-flight held it against."""
    if run.preflight:
        until = mapping(mapping(run.preflight.get("hosts")).get(host.name)).get("certified_until")
        return datetime.datetime.fromisoformat(until) if until else None
    if run.entries[host.name].get("put_back") or not certificate.earned(host, state):
        return None
    return datetime.datetime.fromisoformat(run.started) + datetime.timedelta(days=limits.VALID_DAYS)


def _times(headline: str) -> int:
    return next(times for end, _, times in UNITS if headline.endswith(end))


def _lines(family: Family, samples: list[Sample]) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} gauge"
    for sample in samples:
        label = f'{{{family.label}="{sample.of}"}}' if family.label else ""
        yield f"{family.name}{label} {sample.value:.10g}"
