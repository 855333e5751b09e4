"""The advice as inventory variables, for `ansible-playbook playbooks/tune.yml -e @file`; its evidence as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import yaml

from . import figures, recommendations
from .recommendations import Recommendation

NAME = "recommended_vars.yml"
WIDTH = 118
HEAD = (
    "What the measurements of {host} in run {run_id} recommend for it. To apply it: "
    "ansible-playbook playbooks/tune.yml --limit {host} -e @{name} (with the inventory that has it). "
    "Variables that are not here stay as the inventory has them."
)


def text(run_id: str, host: str, found: Sequence[Recommendation]) -> str | None:
    """Return the file, or None where no variable is recommended."""
    values = recommendations.variables(found)
    if not values:
        return None
    parts = ["---", *_comment(HEAD.format(host=host, run_id=run_id, name=NAME))]
    for name, value in sorted(values.items()):
        parts.append("")
        for each in found:
            if name in each.variables:
                parts += _explained(each)
        parts.append(yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False).rstrip())
    others = [each for each in found if each.changes and not each.variables]
    if others:
        parts += ["", *_comment("There is no variable for this:")]
        parts += [line for each in others for line in _explained(each)]
    return "\n".join(parts) + "\n"


def _explained(each: Recommendation) -> Iterator[str]:
    yield from _comment(f"{each.subject}: {each.advice}")
    for sentence in (*each.evidence, each.cost):
        yield from _comment(sentence, indent="  ")


def _comment(sentence: str, indent: str = "") -> list[str]:
    """Return text as comment lines; nothing foreign in it can begin a line of its own."""
    begin = f"# {indent}"
    return textwrap.wrap(figures.printable(sentence), WIDTH, initial_indent=begin, subsequent_indent=begin)
