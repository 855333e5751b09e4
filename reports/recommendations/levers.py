"""Which lever to pull and which THP mode to keep: what won its campaign, and one of those that were measured apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probe_agent.arms import ARMS, CONTROL

from .. import figures, metrics
from ..loose import mapping, number
from ..run_folder import Measurement
from ..sections import allocators
from ..statistics import CALLED, MOST_BLOCKS, OWN_NOISE_BLOCKS, PRACTICAL_THRESHOLD, Effect, Verdict, median, percent
from .kinds import Basis, Recommendation

MODES = ("always", "madvise", "never")
DEFRAG = ("defer", "defer+madvise", "madvise", "never")  # all but always, which stalls page faults
THP = "thp-"
PINNED = "pinned-register"
BYTECODE = "bytecode-off"
WORTH_SEEING = math.log1p(2 * PRACTICAL_THRESHOLD)  # what a longer campaign is planned for, where less was seen
UNCOMPILED_SHARE = 0.05  # of the modules may lack bytecode: some packages cannot be compiled in full
NODE_WIDE = "It holds for every process of the node, and khugepaged raises vm.min_free_kbytes."
RESTART = "Services take it up when they restart."


@dataclass(frozen=True)
class Arm:
    """What the campaign says of one arm."""

    name: str
    effects: tuple[Effect, ...]

    @property
    def headline(self) -> Effect:
        return allocators.headlines(list(self.effects))[0]

    @property
    def losses(self) -> tuple[Effect, ...]:
        return tuple(effect for effect in self.effects if effect.verdict is Verdict.WORSE)

    @property
    def gain(self) -> Effect | None:
        """The effect it is worth pulling for. A time that got worse is no price for another; memory may be."""
        if any(effect.metric != metrics.RESIDENT for effect in self.losses):
            return None
        better = [effect for effect in self.effects if effect.verdict is Verdict.BETTER]
        times = [effect for effect in better if effect.metric != metrics.RESIDENT]
        if times:
            return self.headline if self.headline in times else max(times, key=_size)
        return better[0] if better and self.headline.verdict is Verdict.NO_DIFFERENCE else None


@dataclass(frozen=True)
class Choice:
    """The arm for what runs in ordinary memory, and the one for what is pinned; they go together."""

    ordinary: Arm | None = None
    pinned: Arm | None = None

    @property
    def services(self) -> list[Arm]:
        """Those that services are given, by their environment."""
        return [arm for arm in (self.ordinary, self.pinned) if arm and given(arm.name)]

    @property
    def levers(self) -> list[str]:
        """The levers that services are given, each once."""
        return list(dict.fromkeys(lever for arm in self.services for lever in given(arm.name)))


def given(name: str) -> tuple[str, ...]:
    """Return the levers by which a service gets what an arm had, none where its environment cannot give it."""
    return ARMS[name].combines or ((name,) if ARMS[name].serves else ())


def judged(measurement: Measurement) -> dict[str, Arm]:
    """Return the arms of the campaign by name. A name that is none of ours is a stranger's word, and gets no advice."""
    by_arm: dict[str, list[Effect]] = {}
    for effect in allocators.effects(measurement):
        if effect.arm in ARMS:
            by_arm.setdefault(effect.arm, []).append(effect)
    return {name: Arm(name, tuple(effects)) for name, effects in by_arm.items()}


def choose(arms: Mapping[str, Arm]) -> Choice:
    """Return the arms to take of those that gained: the largest gain, and for pinned memory one that fits it."""
    ordinary = None
    ranked = sorted(filter(_ordinary, arms.values()), key=_gained, reverse=True)
    if ranked and ranked[0].gain:
        ordinary = next((arm for arm in ranked[1:] if _does_as_well(arm, ranked[0])), ranked[0])
    pinned = [arm for arm in arms.values() if arm.name.startswith(PINNED) and arm.gain and _fit(ordinary, arm)]
    return Choice(ordinary, max(pinned, key=_gained, default=None))


def thp(measurement: Measurement, arms: Mapping[str, Arm], choice: Choice) -> Iterator[Recommendation]:
    """Say which THP mode to set or keep, and never to compact memory at every fault."""
    found = mapping(measurement.host_memory.get("thp"))
    mode, defrag = found.get("enabled"), found.get("defrag")
    tried = {name.removeprefix(THP): arm for name, arm in arms.items() if name.startswith(THP)}
    if mode in MODES and tried:
        yield _mode(measurement, mode, tried, choice)
    if defrag == "always":
        yield Recommendation(
            "THP defrag",
            "Set THP defrag to madvise: always stalls page faults while memory is compacted.",
            ("/sys/kernel/mm/transparent_hugepage/defrag was always.",),
            Basis.FACT,
            changes=True,
            variables={"thp_defrag": "madvise"},
        )
    elif defrag in DEFRAG and mode in MODES and tried:
        yield Recommendation(
            "THP defrag",
            f"Keep THP defrag at {defrag}.",
            ("Every arm was measured with it.",),
            Basis.FACT,
            changes=False,
            variables={"thp_defrag": defrag},
        )


def of(measurement: Measurement, arms: Mapping[str, Arm], choice: Choice) -> Iterator[Recommendation]:
    """Say of each lever of a process whether to pull it."""
    taken = choice.services
    values: dict[str, Any] = {"jemalloc_levers": choice.levers}
    if any(ARMS[lever].library == "jemalloc" for lever in choice.levers):
        values["jemalloc_install"] = True
    for name, arm in arms.items():
        if not given(name):
            continue
        subject, evidence = f"Lever {name}", evidence_of(arm)
        if arm in taken:
            yield Recommendation(
                subject,
                f"Start the services with {figures.listed(given(name))}: {ARMS[name].what}.",
                evidence,
                Basis.MEASURED,
                changes=True,
                variables=values,
                effect=arm.gain,
                cost=f"{price(measurement, arm)} {RESTART}",
            )
        elif arm.gain:
            other = choice.pinned if name.startswith(PINNED) and choice.pinned else choice.ordinary
            against = other.name if other else "what was chosen"
            yield Recommendation(
                subject,
                f"Leave {name} out: {against} is taken, and the two were not measured together.",
                evidence,
                Basis.MEASURED,
                changes=False,
                effect=arm.gain,
                cost=price(measurement, arm),
            )
        else:
            yield verdict_only(subject, arm, evidence, left=f"Leave {name} out", kept="Keep the services as they are")


def bytecode(measurement: Measurement, arms: Mapping[str, Arm]) -> Iterator[Recommendation]:
    """Say whether the node's packages need their bytecode compiled, and what it is worth there."""
    arm = arms.get(BYTECODE)
    if arm is None:
        return
    worth = [effect for effect in arm.losses if effect.metric == metrics.headline(BYTECODE)]
    rows = allocators.of_arm(measurement, CONTROL)
    lacking, modules = median(rows, "modules_uncompiled"), median(rows, "modules")
    short = lacking is not None and modules and lacking > UNCOMPILED_SHARE * modules
    counted = (f"{figures.count(lacking)} of {figures.count(modules)} modules came without bytecode.",) if short else ()
    if worth or short:
        advice = "Compile the bytecode of the serving stack's packages" if short else "Keep bytecode beside the modules"
        yield Recommendation(
            "Bytecode",
            f"{advice}: python -m compileall, or pip and uv with --compile-bytecode.",
            (*counted, *evidence_of(arm)),
            Basis.MEASURED,
            changes=bool(short),
            effect=worth[0] if worth else None,
            cost="Some disk space; each update of a package needs it again.",
        )
    else:
        yield verdict_only("Bytecode", arm, evidence_of(arm), left="Nothing to do", kept="Keep it as it is")


def evidence_of(arm: Arm) -> tuple[str, ...]:
    """Return the arm's effects in sentences, the headline first."""
    called = [effect for effect in arm.effects if effect.verdict in CALLED and effect != arm.headline]
    said = [allocators.sentence(effect) for effect in (arm.headline, *called)]
    if arm.gain and arm.gain.estimate.blocks < OWN_NOISE_BLOCKS:
        blocks = figures.plural(arm.gain.estimate.blocks, "block")
        said.append(f"These are {blocks}: have it confirmed by probe_profile: certify before a fleet follows.")
    return tuple(said)


def verdict_only(subject: str, arm: Arm, evidence: tuple[str, ...], *, left: str, kept: str) -> Recommendation:
    """Return the advice on an arm that gained nothing: leave it, or keep what is there since nobody can tell."""
    times = [effect for effect in arm.losses if effect.metric != metrics.RESIDENT]
    effect = times[0] if times else arm.headline
    if effect.verdict is Verdict.NOT_ENGAGED:
        advice = f"{kept}: {arm.name} was not in use, so nothing is known of it."
    elif times:
        advice = f"{left}: {arm.name} makes {figures.listed([each.metric.title for each in times])} worse."
    elif effect.verdict is Verdict.NO_DIFFERENCE:
        advice = f"{left}: {arm.name} makes no difference beyond {100 * PRACTICAL_THRESHOLD:g} %."
    else:
        advice = f"{kept}: {arm.name} is inconclusive{_more_blocks(effect)}."
    known = None if effect.verdict is Verdict.NOT_ENGAGED else effect
    return Recommendation(subject, advice, evidence, Basis.MEASURED, changes=False, effect=known)


def price(measurement: Measurement, arm: Arm) -> str:
    """Return what the arm costs in memory."""
    effect = next((each for each in arm.effects if each.metric == metrics.RESIDENT), None)
    if effect is None or effect.estimate.mean is None:
        return "What it costs in memory was not measured."
    change = f"{figures.percent(percent(effect.estimate.mean))} %"
    if effect.verdict is Verdict.NO_DIFFERENCE:
        return f"No memory worth speaking of ({change} resident)."
    if effect.verdict not in CALLED:
        return f"What it costs in memory is inconclusive ({change} resident)."
    usual, taken = (median(allocators.of_arm(measurement, name), metrics.RESIDENT.key) for name in (CONTROL, arm.name))
    by = "" if usual is None or taken is None else f", {figures.mib(abs(taken - usual))} MiB"
    if effect.verdict is Verdict.BETTER:
        return f"It saves memory ({change} resident{by} per process)."
    return f"Memory: {change} resident{by} more per process."


def _mode(measurement: Measurement, mode: str, tried: Mapping[str, Arm], choice: Choice) -> Recommendation:
    subject = "Transparent huge pages"
    evidence = (
        *(sentence for arm in tried.values() for sentence in evidence_of(arm)),
        *_huge_pages_seen(measurement),
    )
    taken = choice.ordinary
    if taken and taken.name.startswith(THP):
        wanted = taken.name.removeprefix(THP)
        cost = f"{price(measurement, taken)} {NODE_WIDE}" if wanted == "always" else price(measurement, taken)
        return Recommendation(
            subject,
            f"Set THP to {wanted}; it was measured against {mode}.",
            evidence,
            Basis.MEASURED,
            changes=True,
            variables={"thp_enabled": wanted},
            effect=taken.gain,
            cost=cost,
        )
    gentler = tried.get("madvise")
    useless = gentler and gentler.headline.verdict is Verdict.NO_DIFFERENCE and not gentler.losses
    if mode == "always" and useless and taken is None:
        return Recommendation(
            subject,
            "Set THP to madvise: always gains nothing here, and holds for every process of the node.",
            evidence,
            Basis.MEASURED,
            changes=True,
            variables={"thp_enabled": "madvise"},
            effect=gentler.headline,
        )
    return Recommendation(
        subject,
        f"Keep THP at {mode}{_why_kept(tried.values(), taken)}.",
        evidence,
        Basis.MEASURED,
        changes=False,
        variables={"thp_enabled": mode},
        effect=next(iter(tried.values())).headline if len(tried) == 1 else None,
    )


def _why_kept(tried: Iterable[Arm], taken: Arm | None) -> str:
    said = []
    for arm in tried:
        effect = arm.headline
        if arm.gain and taken:
            said.append(f"{arm.name} is better too, but was not measured together with {taken.name}")
        elif effect.verdict is Verdict.INCONCLUSIVE and not arm.losses:
            said.append(f"{arm.name} is inconclusive{_more_blocks(effect)}")
        elif effect.verdict is Verdict.NOT_ENGAGED:
            said.append(f"{arm.name} was not in use, so nothing is known of it")
        else:
            said.append(f"{arm.name} is {'worse' if arm.losses else effect.verdict}")
    return f": {'; '.join(said)}" if said else ""


def _huge_pages_seen(measurement: Measurement) -> list[str]:
    seen = median(measurement.samples("load"), "anon_huge_mb")
    return (
        [] if seen is None else [f"A loading process had {figures.mib(seen)} MiB in transparent huge pages (median)."]
    )


def _more_blocks(effect: Effect) -> str:
    """Say how many more blocks it takes to call what was seen, or the least that is worth knowing."""
    if effect.precision is None or effect.estimate.mean is None:
        return ""
    wanted = max(abs(effect.estimate.mean), WORTH_SEEING)
    shown = f"{figures.percent(percent(wanted), signed=False)} %"
    needed = effect.precision.blocks_for(wanted)
    if needed is None:
        return f"; to see {shown} would take more than {MOST_BLOCKS} blocks"
    more = max(1, needed - effect.precision.blocks)
    return f"; {figures.plural(more, 'more block')} would be needed to see {shown}"


def _size(effect: Effect) -> float:
    return abs(number(effect.estimate.mean) or 0.0)


def _gained(arm: Arm) -> float:
    return _size(arm.gain) if arm.gain else 0.0


def _ordinary(arm: Arm) -> bool:
    return arm.name.startswith(THP) or bool(given(arm.name) and not arm.name.startswith(PINNED))


def _does_as_well(arm: Arm, best: Arm) -> bool:
    """Tell whether a lever of single processes reaches what the best one, a setting of the whole node, gained."""
    if not best.name.startswith(THP) or arm.name.startswith(THP) or arm.gain is None or best.gain is None:
        return False
    ends = (arm.gain.estimate.low, arm.gain.estimate.high)
    return arm.gain.metric == best.gain.metric and max(abs(end or 0.0) for end in ends) >= _size(best.gain)


def _fit(one: Arm | None, other: Arm) -> bool:
    """Tell whether a service can have both: no variable twice, no tunable of a malloc that is not there."""
    if one is None:
        return True
    first, second = ARMS[one.name], ARMS[other.name]
    if one.name == f"{THP}never":
        return "thp" not in second.needs
    if (first.library and "GLIBC_TUNABLES" in second.variables) or (second.library and first.library):
        return False
    return all(first.variables.get(name, value) == value for name, value in second.variables.items())
