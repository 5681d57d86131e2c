"""`headlong doctor --model`: faults of files, of plans and of the machine that is to serve."""
import json

import pytest

from support.cluster import MODEL
from support.doctor import copy_model, doctor, fails_at


def test_a_model_and_this_machine(sandbox):
    assert doctor(sandbox, "--model", MODEL, "--workers", "2", "--device", "cpu") == {}


def test_a_folder_that_is_none(sandbox, tmp_path):
    fails_at(doctor(sandbox, "--model", tmp_path / "none"), "model folder", "no such folder")
    fails_at(doctor(sandbox, "--model", tmp_path, "--device", "cpu"), "config.json", "config.json")


def test_a_shard_that_is_missing(sandbox, tmp_path):
    model = copy_model(tmp_path / "m")
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {
        "model.norm.weight": "model-00001-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors"}}))
    fails_at(doctor(sandbox, "--model", model, "--device", "cpu"), "weights",
             "model-00002-of-00002.safetensors", "download")


def test_weights_that_are_cut_off(sandbox, tmp_path):
    model = copy_model(tmp_path / "m")
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:len(whole) // 2])
    fails_at(doctor(sandbox, "--model", model, "--device", "cpu"), "weights", "model.safetensors",
             "cut off")


def test_a_tokenizer_that_is_missing(sandbox, tmp_path):
    model = copy_model(tmp_path / "m")
    (model / "tokenizer.json").unlink()
    fails_at(doctor(sandbox, "--model", model, "--device", "cpu"), "tokenizer", "tokenizer.json")


def test_a_plan_of_another_model(sandbox, tmp_path):
    plan = json.loads((MODEL / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(dict(plan, layers=32)))
    found = doctor(sandbox, "--model", MODEL, "--device", "cpu", "--plan", tmp_path / "plan.json")
    fails_at(found, "plan", "layers", "calibrate")


def test_too_little_memory(sandbox):
    found = doctor(sandbox, "--model", MODEL, "--device", "cpu", "--memory-limit", "8MiB", "--plan",
                   "full")
    fails_at(found, "memory", "bytes", "--memory-limit")
    assert doctor(sandbox, "--model", MODEL, "--device", "cpu", "--memory-limit", "900GiB")[
        "memory"][0] == "warn"


def test_a_gpu_that_is_not_there(sandbox):
    if doctor(sandbox, "--model", MODEL, "--device", "cuda").get("device") is None:
        pytest.skip("there is a GPU here")
    fails_at(doctor(sandbox, "--model", MODEL, "--device", "cuda"), "device", "--device cpu")


def test_a_file_of_contexts_that_is_broken(sandbox):
    (sandbox.folder / "config.json").write_text('{"current": "prod"}')
    fails_at(doctor(sandbox, "--model", MODEL, "--device", "cpu"), "contexts", "prod",
             "config.json")


def test_a_bundle_where_nothing_can_be_written(sandbox):
    found = doctor(sandbox, "--model", MODEL, "--device", "cpu", "--bundle", "/proc/none/b.tar")
    fails_at(found, "bundle", "/proc/none/b.tar", "may write")
