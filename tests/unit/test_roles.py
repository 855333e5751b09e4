"""Each role's README names just the variables that its argument spec takes, with the defaults that it has."""

import re

import pytest
import yaml
from support import ROOT

ROLES = sorted((ROOT / "roles").iterdir())


@pytest.fixture(params=ROLES, ids=lambda path: path.name)
def role(request):
    return request.param


def options_of(role):
    return yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


def rows_of(role):
    """Return the cells of each row of the README's tables."""
    lines = re.findall(r"^\| (.*) \|$", (role / "README.md").read_text(), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_readme_names_the_variables_of_the_argument_spec(role):
    named = {name for row in rows_of(role) for name in re.findall(rf"`({role.name}_\w+)`", row[0])}
    assert named == set(options_of(role))


def test_the_readme_gives_the_defaults(role):
    file = role / "defaults/main.yml"
    defaults = yaml.safe_load(file.read_text()) if file.exists() else {}
    wrong = []
    for name, default, *_ in rows_of(role):
        names = re.findall(r"`(\w+)`", name)
        given = re.findall(r"`([^`]+)`", default)
        if len(names) == len(given) and set(names) <= set(defaults):
            wrong += [
                (each, text) for each, text in zip(names, given, strict=True) if yaml.safe_load(text) != defaults[each]
            ]
    assert wrong == []


def test_the_readme_of_the_project_names_the_variables_of_the_playbooks():
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(named) == set(yaml.safe_load((ROOT / "playbooks/vars/options.yml").read_text()))


def test_every_option_is_described(role):
    def undescribed(options):
        for name, option in (options or {}).items():
            if not option.get("description") or "type" not in option:
                yield name
            yield from undescribed(option.get("options"))

    assert list(undescribed(options_of(role))) == []
