"""A spec is refused in one sentence, and the JSON Schema says the same."""

import jsonschema
import pytest

from probe_agent import schema, spec
from probe_agent.models import shapes


def test_defaults_are_a_valid_spec_in_both_eyes():
    schema.check("spec", spec.parse({}).to_json())


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("server_mode", "fast", "probe_server_mode is fast, and must be one of eager, graphs, compiled"),
        ("profile", "fast", "probe_profile is fast, and must be one of quick, standard, certify"),
        ("probes", ["lod"], "probe_probes has lod, and must name one or more of load, allocator"),
        ("probes", [], "probe_probes has empty, and must name one or more"),
        ("probes", ["load", "load"], "probe_probes has load, load, .* each once"),
        ("arms", ["thp-allways"], "probe_arms has thp-allways, and must name any of thp-always, .*, each once"),
        ("arms", ["glibc"], "probe_arms has glibc, and must name any of"),
        ("arms", ["jemalloc", "jemalloc"], "probe_arms has jemalloc, jemalloc, .* each once"),
        ("gpus", ["gpu1"], "probe_gpus has gpu1, and must be all, or hold indices and UUIDs of GPUs, each once"),
        ("gpus", ["1", "1"], "probe_gpus has 1, 1, and must be all"),
        ("deadline_s", 0, "probe_deadline_s is 0, and must be between 1 and 86400"),
        ("deadline_s", "60", "probe_deadline_s is '60', and must be of type int"),
        ("seed", -1, "probe_seed is -1"),
        ("colour", 1, "colour is no field of a probe spec"),
        ("schema_version", 2, "schema_version is 2, and this agent understands 1"),
    ],
)
def test_refuses_what_the_schema_refuses(field, value, sentence):
    document = {**spec.parse({}).to_json(), field: value}
    with pytest.raises(ValueError, match=sentence):
        spec.parse(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema.load("spec"))


def test_arms_are_those_of_the_profile_unless_the_spec_names_some():
    assert spec.parse({"profile": "quick"}).compared == ()
    assert spec.parse({}).compared == spec.ARMS_OF["standard"]
    assert spec.parse({"profile": "quick", "arms": ["thp-never"]}).compared == ("thp-never",)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "synthetic:huge",
            "probe_model is synthetic:huge, and must be one of synthetic:tiny, .*, a local folder",
        ),
        ("/nowhere/model", "probe_model is /nowhere/model, and no such folder is on this node"),
        ("gpt2", "probe_model is gpt2, and must be synthetic:<name>, a folder starting with /, or a hub id"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "probe_model_revision is empty, and must be the commit"),
    ],
)
def test_refuses_a_model_this_node_cannot_load(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        spec.parse({"model": model})


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a folder without a model: it lacks tokenizer_config.json, \*.safetensors"):
        spec.parse({"model": str(tmp_path)})


@pytest.mark.parametrize("gpus", [["all"], ["0", "3"], ["GPU-4f2b1c1e-0000", "MIG-5"]])
def test_gpus_are_named_as_nvidia_smi_does(gpus):
    found = spec.parse({"gpus": gpus})
    assert found.gpus == tuple(gpus)
    schema.check("spec", found.to_json())


@pytest.mark.parametrize("flag", ["-O3", "-O", "-cc.mode=3", "--compilation-config={}", "--optimization-level"])
def test_flags_that_say_what_is_compiled_go_with_that_mode_alone(flag):
    with pytest.raises(ValueError, match="goes with probe_server_mode compiled alone"):
        spec.parse({"server_flags": [flag]})
    assert spec.parse({"server_flags": [flag], "server_mode": "compiled"}).server_flags == (flag,)


def test_all_gpus_and_one_more_make_no_sense():
    with pytest.raises(ValueError, match="probe_gpus has all, and must be all, or"):
        spec.parse({"gpus": ["all", "1"]})


def test_a_hub_id_at_a_pinned_commit_is_taken():
    assert spec.parse({"model": "Qwen/Qwen2.5-1.5B-Instruct", "model_revision": "0" * 40}).model.startswith("Qwen/")


@pytest.mark.parametrize(
    ("flag", "barred"),
    [
        ("--host", "--host"),
        ("--host=0.0.0.0", "--host"),
        ("--ho", "--host"),
        ("--trust-remote-code", "--trust-remote-code"),
        ("--trust_remote_code", "--trust-remote-code"),
        ("--trust-re=true", "--trust-remote-code"),
        ("--config", "--config"),
        ("--hf-token", "--hf-token"),
        ("--enforce-eager", "--enforce-eager"),
    ],
)
def test_flags_that_would_open_the_server_or_run_foreign_code_are_refused(flag, barred):
    with pytest.raises(ValueError, match=f"probe_server_flags has {barred}, and must not: "):
        spec.parse({"server_flags": ["--dtype", "bfloat16", flag]})


def test_other_flags_are_the_operators_own():
    flags = ["--tensor-parallel-size", "2", "--hf-overrides={}", "--quantization=fp8", "--"]
    assert spec.parse({"server_flags": flags}).server_flags == tuple(flags)


@pytest.mark.parametrize("shape", shapes.SHAPES.values(), ids=shapes.SHAPES)
def test_shapes_divide_evenly(shape):
    assert shape["hidden_size"] % shape["num_attention_heads"] == 0
    assert shape["num_attention_heads"] % shape["num_key_value_heads"] == 0
