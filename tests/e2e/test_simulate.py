"""Placements on clusters that are not at hand, and what a running cluster would do now."""
import json
import os
import pathlib
import subprocess

import pytest

from support.cluster import BINARY, MODEL, ROOT

CONFIG = json.loads((MODEL / "config.json").read_text())
LAYERS, KV_HEADS = CONFIG["num_hidden_layers"], CONFIG["num_key_value_heads"]
MIB = 1 << 20


def write_cluster(folder, workers, link=None):
    path = folder / "cluster.json"
    path.write_text(json.dumps({"workers": workers, **({"link": link} if link else {})}))
    return path


def simulate(cluster, *arguments):
    """Runs it on needle-10m unless the arguments name other options."""
    options = {"--cluster": cluster, "--model": MODEL, "--plan": MODEL / "plan.json",
               "--context": 8192, "--concurrency": 2}
    command = [BINARY, "placement", "simulate", *arguments]
    for flag, value in options.items():
        if flag not in arguments:
            command += [flag, value]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=60)


def unequal(folder):
    return write_cluster(folder, [
        {"id": "big", "memory_bytes": 512 * MIB, "bandwidth_bytes_per_s": 2e10, "flops": 1e12},
        {"id": "small", "memory_bytes": 128 * MIB, "bandwidth_bytes_per_s": 1e10, "count": 2}],
        {"sum_latency_s": 1e-6, "bandwidth_bytes_per_s": 1e10})


def check_covers_model_once(placement):
    stripes = {}
    for worker in placement["workers"]:
        held = {}
        for head in worker["heads"]:
            index, count = head["stripe"]
            stripes.setdefault((head["layer"], head["head"]), []).append((index, count))
            held.setdefault((head["layer"], head["head"]), []).append(index)
        for indices in held.values():  # side by side
            assert indices == list(range(indices[0], indices[0] + len(indices)))
        assert (worker["weights_bytes"] + worker["cache_bytes"] + worker["scratch_bytes"]
                <= worker["memory_bytes"])
    assert len(stripes) == LAYERS * KV_HEADS
    for parts in stripes.values():
        count = parts[0][1]
        assert sorted(parts) == [(index, count) for index in range(count)]
    for layer in range(LAYERS):
        assert sum(w["mlp_columns"][layer] for w in placement["workers"]) == \
            CONFIG["intermediate_size"]
    assert sum(w["vocab_rows"] for w in placement["workers"]) == CONFIG["vocab_size"]


def test_lists_everything_and_its_figures_can_be_recounted(tmp_path):
    result = simulate(unequal(tmp_path), "-o", "json")
    assert result.returncode == 0, result.stderr
    placement = json.loads(result.stdout)
    check_covers_model_once(placement)
    attention = sum(max(w["attention_ms"][layer] for w in placement["workers"])
                    for layer in range(LAYERS))
    mlp = sum(max(w["mlp_ms"][layer] for w in placement["workers"]) for layer in range(LAYERS))
    assert placement["attention_ms"] == pytest.approx(attention)
    assert placement["mlp_ms"] == pytest.approx(mlp)
    parts = ["attention_ms", "exchange_ms", "mlp_ms", "vocabulary_ms", "sums_ms"]
    assert placement["step_ms"] == pytest.approx(sum(placement[part] for part in parts))
    assert placement["gap"] == pytest.approx(
        placement["step_ms"] / placement["lower_bound_ms"] - 1)
    assert placement["workload"] == {"context": 8192, "concurrency": 2, "prefill_share": 0}
    assert placement["largest_context"] >= 8192
    # The columns of a worker cost what its bandwidth says.
    big = placement["workers"][0]
    column_bytes = 3 * CONFIG["hidden_size"] * 2
    assert big["mlp_ms"][0] == pytest.approx(big["mlp_columns"][0] * column_bytes / 2e10 * 1e3)


def test_the_same_twice(tmp_path):
    cluster = unequal(tmp_path)
    assert simulate(cluster, "-o", "json").stdout == simulate(cluster, "-o", "json").stdout


def test_largest_context_fits_and_no_larger_one(tmp_path):
    cluster = write_cluster(tmp_path, [
        {"id": "a", "memory_bytes": 80 * MIB, "bandwidth_bytes_per_s": 1e10},
        {"id": "b", "memory_bytes": 50 * MIB, "bandwidth_bytes_per_s": 1e10}])
    largest = json.loads(simulate(cluster, "-o", "json").stdout)["largest_context"]
    fits = simulate(cluster, "--context", largest, "-o", "json")
    assert fits.returncode == 0, fits.stderr
    refused = simulate(cluster, "--context", largest + 1)
    assert refused.returncode == 1
    assert f"A context of {largest} fits" in refused.stderr
    assert "would need" in refused.stderr


def test_pictures(tmp_path):
    svg = tmp_path / "placement.svg"
    result = simulate(unequal(tmp_path), "--map", "--svg", svg)
    assert result.returncode == 0, result.stderr
    for word in ["big", "small-0", "head 0", "memory", "attention"]:
        assert word in result.stdout
    text = svg.read_text()
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>") and "small-1" in text


def test_table_is_the_default(tmp_path):
    result = simulate(unequal(tmp_path))
    assert result.returncode == 0
    assert "a decode step is modelled" in result.stdout and "largest context" in result.stdout


@pytest.mark.parametrize("change, code, words", [
    (["--cluster", "/nowhere.json"], 3, ["/nowhere.json"]),
    (["--sparsity", "2"], 2, ["sparsity"]),
    (["--objective", "speed"], 2, ["objective"]),
    (["--plan", "/nowhere.tsv"], 3, ["/nowhere.tsv"]),
])
def test_refusals_name_the_flag_or_file(tmp_path, change, code, words):
    result = simulate(unequal(tmp_path), *change)
    assert result.returncode == code, result.stderr
    assert all(word in result.stderr for word in words)


def test_a_thousand_workers(tmp_path):
    cluster = write_cluster(tmp_path, [{"id": "w", "memory_bytes": 64 * MIB,
                                        "bandwidth_bytes_per_s": 1e10, "count": 1000}])
    result = simulate(cluster, "-o", "json")
    assert result.returncode == 0, result.stderr
    check_covers_model_once(json.loads(result.stdout))


def test_published_patterns(tmp_path):
    shared = pathlib.Path(os.environ.get("HEADLONG_SHARED", ROOT / ".." / "shared"))
    scores = shared / "data/heads/duo__Meta-Llama-3.1-8B-Instruct.tsv"
    config = shared / "data/configs/aiconfigurator/meta-llama--Meta-Llama-3.1-8B_config.json"
    if not scores.exists() or not config.exists():
        pytest.skip(f"no published head scores in {shared}")
    cluster = write_cluster(tmp_path, [{"id": "w", "memory_bytes": 80 << 30, "count": 8,
                                        "bandwidth_bytes_per_s": 3e12}])
    result = simulate(cluster, "--model", config, "--plan", scores, "--sparsity", 0.5,
                      "--context", 131072, "-o", "json")
    assert result.returncode == 0, result.stderr
    placement = json.loads(result.stdout)
    full = {(h["layer"], h["head"]) for w in placement["workers"] for h in w["heads"]
            if h["role"] == "retrieval"}
    assert len(full) == 128
    assert placement["striped_heads"] > 0


def test_plan_of_a_running_cluster_changes_nothing(sandbox):
    server = sandbox.serve("--workers", 2, "--max-context", 2048, "--max-sequences", 2)
    shown = server.json("placement", "show")
    assert shown["workload"]["context"] == 2048 and shown["largest_context"] >= 2048
    planned = server.json("placement", "plan", "--exclude", "w1")
    assert [worker["id"] for worker in planned["workers"]] == ["w0"]
    check_covers_model_once(planned)
    assert json.loads(server.run("placement", "plan", "-o", "plan").out)["epoch"] == shown["epoch"]
    assert server.run("placement", "plan", "--exclude", "nobody").code == 3
    assert server.json("placement", "show")["epoch"] == shown["epoch"]
