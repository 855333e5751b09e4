"""Whatever an inventory holds is taken or refused in words: no variable of any kind ends in a traceback."""

import importlib.util
import sys
import types

import pytest
from action_plugins.check_variables import complaints, known_options
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT

from probe_agent import spec
from probe_agent.host import hugepages, hugetlbfs, services, thp

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.text(max_size=12) | st.sampled_from(["path", "count", "percent", "size_kb", "name", "levers", "numa_node"])
ANYTHING = st.recursive(PLAIN, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3))
OPTIONS = known_options()
NODE = {
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/use_zero_page": "1\n",
    "sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan": "4096\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0\n",
    "sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages": "0\n",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\nHugepagesize: 2048 kB\n",
    "proc/sys/vm/nr_hugepages": "0\n",
    "proc/mounts": "",
}
many = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def arguments(name):
    """Return the argument spec of a module."""
    import probe_agent

    package = types.ModuleType("ansible.module_utils.probe_agent")
    package.__path__ = probe_agent.__path__
    sys.modules.setdefault(package.__name__, package)
    loaded = importlib.util.spec_from_file_location(f"library_{name}", ROOT / f"library/{name}.py")
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return getattr(module, "ARGUMENTS", {})


def in_words(sentence):
    return sentence and "Traceback" not in sentence


@many
@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)) | st.from_regex(r"(thp|probe)_\w{1,9}"), ANYTHING, max_size=4))
def test_the_check_of_variables(variables):
    assert all(in_words(sentence) for sentence in complaints(variables, OPTIONS))


@many
@given(st.dictionaries(st.sampled_from(list(spec.Spec().to_json())) | KEYS, ANYTHING, max_size=4))
def test_the_spec_of_a_probe(document):
    try:
        taken = spec.parse(document)
    except ValueError as refusal:
        assert in_words(str(refusal))
    else:
        assert spec.parse(taken.to_json()) == taken


def some(**optional):
    return st.fixed_dictionaries({}, optional=optional)


POOL = some(**dict.fromkeys(("count", "percent", "size_kb", "numa_node"), PLAIN))
MOUNT = st.fixed_dictionaries({"path": st.text()}, optional=dict.fromkeys(("size_kb", "mode", "limit_mb"), PLAIN))
SERVICE = st.fixed_dictionaries({"name": PLAIN}, optional={"levers": st.lists(PLAIN), "environment": ANYTHING})
WISHES = {
    "thp": some(enabled=PLAIN, defrag=PLAIN, per_size=ANYTHING, khugepaged=some(pages_to_scan=PLAIN)),
    "hugepages": st.fixed_dictionaries({"pools": st.lists(POOL, max_size=3)}),
    "hugetlbfs": st.fixed_dictionaries({"mounts": st.lists(MOUNT, max_size=3)}),
    "service_levers": st.fixed_dictionaries({"services": st.lists(SERVICE, max_size=3)}),
}


def plan(name, taken, root):
    """Plan as the module of that name does."""
    if name == "thp":
        thp.plan(taken, persists=True, root=root)
    elif name == "hugepages":
        hugepages.plan([hugepages.PoolWish(**pool) for pool in taken["pools"]], persists=True, root=root)
    elif name == "hugetlbfs":
        for mount in taken["mounts"]:
            hugetlbfs.plan([], hugetlbfs.MountWish(**mount), [2048], 2048, root)
    else:
        services.wishes([{**row, "levers": row["levers"] or []} for row in taken["services"]], {})


@pytest.mark.parametrize("name", WISHES)
def test_what_the_arguments_let_through_is_planned_or_refused(name, fake_root):
    root, validator = fake_root(NODE), ArgumentSpecValidator(arguments(name))

    @many
    @given(WISHES[name])
    def holds(wished):
        try:
            result = validator.validate(wished)
        except (TypeError, ArithmeticError):  # Ansible's own; check_variables has refused it on the controller
            return
        if not result.error_messages:
            try:
                plan(name, result.validated_parameters, root)
            except ValueError as refusal:
                assert in_words(str(refusal))

    holds()
