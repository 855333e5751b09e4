"""Each module's documentation says what its code takes and returns."""

import importlib.util
import sys
import types

import pytest
import yaml
from support import ROOT

MODULES = sorted((ROOT / "library").glob("*.py"), key=lambda path: path.name)
KEYS = ("type", "elements", "choices", "default", "required")


@pytest.fixture(scope="module", params=MODULES, ids=lambda path: path.stem)
def module(request):
    """Import the module as Ansible does, with probe_agent in its module_utils."""
    import probe_agent

    package = types.ModuleType("ansible.module_utils.probe_agent")
    package.__path__ = probe_agent.__path__
    sys.modules.setdefault(package.__name__, package)
    loaded = importlib.util.spec_from_file_location(f"library_{request.param.stem}", request.param)
    found = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(found)
    return found


def options_of(documented, key):
    return {
        name: {k: option[k] for k in KEYS if option.get(k) not in (None, False)} | nested(option, key)
        for name, option in (documented or {}).items()
    }


def nested(option, key):
    return {"options": options_of(option[key], key)} if option.get(key) else {}


def test_documented_options_are_those_of_the_argument_spec(module):
    documented = options_of(yaml.safe_load(module.DOCUMENTATION)["options"], "suboptions")
    assert documented == options_of(getattr(module, "ARGUMENTS", {}), "options")


def test_documentation_has_what_an_operator_looks_for(module):
    documented = yaml.safe_load(module.DOCUMENTATION)
    assert documented["module"] == module.__name__.removeprefix("library_")
    assert documented["attributes"]["check_mode"]["support"] == "full"
    assert yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN)
