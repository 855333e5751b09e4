"""The image that AWX runs has what the controller's environment has."""

import tomllib

import yaml
from support import ROOT


def test_it_has_the_packages_of_the_controller():
    dependencies = yaml.safe_load((ROOT / "execution-environment.yml").read_text())["dependencies"]
    apart = [dependencies[name]["package_pip"] for name in ("ansible_core", "ansible_runner")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(apart + dependencies["python"]) == sorted(project["optional-dependencies"]["controller"])
