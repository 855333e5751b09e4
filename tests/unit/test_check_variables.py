"""Bad variables are refused on the controller, with what was probably meant."""

import pytest
from action_plugins.check_variables import OURS, complaints, known_options


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"thp_enabeld": "never"},
            "thp_enabeld is 'never', and no variable of this project has that name; did you mean",
        ),
        ({"thp_enabled": "sometimes"}, "value of thp_enabled must be one of: always, madvise, never, got: sometimes"),
        ({"hugepages_pools": [{"pages": 3}]}, "pages"),
        ({"hugepages_pools": [{"count": "many"}]}, "many"),
        ({"hugetlbfs_mounts": [{"size_kb": 2048}]}, "path"),
        ({"probe_probes": ["load", "lod"]}, "lod"),
        ({"probe_profile": "fast"}, "value of probe_profile must be one of: quick, standard, certify, got: fast"),
        ({"tuning_keep": "perhaps"}, "perhaps"),
        ({"thp_khugepaged": False}, "thp_khugepaged is False, and must be of type dict and of the kind"),
        (
            {"hugepages_pools": [{"count": float("inf")}]},
            "hugepages_pools is [{'count': inf}], and must be of type list",
        ),
        ({"probe_seed": float("inf")}, "probe_seed is inf, and must be of type int"),
    ],
)
def test_one_sentence_names_variable_and_value(given, sentence):
    [complaint] = complaints(given, known_options())
    assert sentence in complaint
    assert next(iter(given)) in complaint


def test_a_secret_with_a_misspelled_name_is_not_shown():
    for name in ("probe_hub_tokn", "probe_secret"):
        [complaint] = complaints({name: "hf_abc"}, known_options())
        assert complaint.startswith(f"{name} is given, and no variable")
        assert "hf_abc" not in complaint


def test_good_variables_and_absent_ones_pass():
    given = {"thp_enabled": None, "hugepages_pools": [{"percent": 2}], "tuning_keep": False, "probe_profile": "quick"}
    assert complaints(given, known_options()) == []


def test_every_default_of_a_role_is_a_known_option():
    import yaml
    from support import ROOT

    for file in ROOT.glob("roles/*/defaults/main.yml"):
        defaults = yaml.safe_load(file.read_text())
        assert complaints(defaults, known_options()) == [], file
        assert all(OURS.fullmatch(name) for name in defaults)
