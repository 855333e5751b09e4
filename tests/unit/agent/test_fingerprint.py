"""A fingerprint changes with what is measured, and with nothing else of a spec."""

from dataclasses import fields, replace

import pytest

from probe_agent import fingerprint
from probe_agent.spec import Spec

OTHER = {bool: lambda value: not value, tuple: lambda value: (*value, 77), str: lambda value: value + "x"}


def with_other(name):
    value = getattr(Spec(), name)
    return replace(Spec(), **{name: OTHER.get(type(value), lambda number: number + 1)(value)})


@pytest.mark.parametrize("name", [field.name for field in fields(Spec)])
def test_each_field_either_changes_the_parameters_or_is_listed_as_one_that_does_not(name):
    changed = fingerprint.parameters(with_other(name)) != fingerprint.parameters(Spec())
    assert changed != (name in fingerprint.CIRCUMSTANCES | fingerprint.ELSEWHERE)


def test_what_a_server_is_started_with_is_a_parameter():
    known = fingerprint.parameters(Spec())
    assert {"profile", "max_model_len", "server_flags", "server_mode", "concurrencies", "kv_lengths"} <= set(known)
