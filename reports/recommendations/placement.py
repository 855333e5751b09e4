"""Where processes should run and what they pin: of use only where there is a choice of NUMA nodes, or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .. import figures
from ..loose import mapping, number, words
from ..run_folder import Measurement
from ..sections import bandwidth
from .kinds import Basis, Recommendation
from .levers import RESTART, Arm, evidence_of, price, verdict_only
from .pools import power_of_two_mb

BIND = "numa-bind"
HOW = "CPUAffinity=, NUMAPolicy=bind and NUMAMask= in its unit, or numactl before its command"


def of(measurement: Measurement, arms: Mapping[str, Arm]) -> Iterator[Recommendation]:
    nodes = mapping(measurement.host_memory.get("kernel")).get("numa_nodes")
    if isinstance(nodes, list) and len(nodes) > 1:
        yield from _binding(measurement, arms)
    yield from _pinned(measurement)


def _binding(measurement: Measurement, arms: Mapping[str, Arm]) -> Iterator[Recommendation]:
    """Say whether to keep a server on one node: by the arm that did, and by where the GPUs sit."""
    arm = arms.get(BIND)
    far = []
    if "bandwidth" in measurement.probes:
        far = [gpu for gpu in bandwidth.gpus(measurement) if gpu.get("process_is_near") in ("some", "none")]
    seen = tuple(f"{words(gpu.get('name') or gpu.get('uuid'))}: {words(gpu.get('nearness'))}." for gpu in far)
    if arm and arm.gain:
        yield Recommendation(
            "NUMA and CPU binding",
            f"Keep each server on the NUMA node of its GPU, or on one: {HOW}.",
            (*evidence_of(arm), *seen),
            Basis.MEASURED,
            changes=True,
            effect=arm.gain,
            cost=f"It has the cores and the memory of that node alone. {price(measurement, arm)} {RESTART}",
        )
    elif arm:
        kept = "Keep the binding as it is"
        yield verdict_only("NUMA and CPU binding", arm, (*evidence_of(arm), *seen), left="Bind nothing", kept=kept)
    elif seen:
        yield Recommendation(
            "NUMA and CPU binding",
            f"Let the servers run near their GPU: {HOW}. What it gains was not measured; probe_arms: [{BIND}] would.",
            seen,
            Basis.FACT,
            changes=True,
        )


def _pinned(measurement: Measurement) -> Iterator[Recommendation]:
    """Say what pinned memory the model takes where its weights are kept on the host, as vLLM's sleep does."""
    gpus = mapping(measurement.fingerprint.get("hardware")).get("gpus")
    load = measurement.probes.get("load")
    weights_mb = number(load.evidence.get("model_mb")) if load else None
    if not isinstance(gpus, list) or not gpus or not weights_mb or weights_mb <= 0:
        return
    weights, pinned = (f"{figures.mib(size)} MiB" for size in (weights_mb, power_of_two_mb(weights_mb)))
    yield Recommendation(
        "Pinned memory",
        f"Allow {pinned} of pinned memory for each copy of the weights, in memory limits as in pools.",
        (
            f"The model's files are {weights}; torch rounds a pinned allocation up to a power of two, {pinned} where "
            "it asks for all at once.",
        ),
        Basis.FACT,
        changes=False,
        cost="Pinned memory is never swapped, nor reclaimed for the page cache.",
    )
