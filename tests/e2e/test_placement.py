"""Who holds which heads, on equal and unequal workers."""
import json
import re

import pytest

from support.cluster import MODEL

PLAN = json.loads((MODEL / "plan.json").read_text())
RETRIEVAL = {(entry["layer"], head) for entry in PLAN["heads"] for head in entry["heads"]}
LAYERS, KV_HEADS = 8, 4


def heads_of(worker, role=None):
    return [(head["layer"], head["head"]) for head in worker["heads"]
            if role in (None, head["role"])]


def check_covers_model_once(placement):
    config = json.loads((MODEL / "config.json").read_text())
    workers = placement["workers"]
    stripes = {}
    for worker in workers:
        for head in worker["heads"]:
            stripes.setdefault((head["layer"], head["head"]), []).append(tuple(head["stripe"]))
    assert sorted(stripes) == [(layer, head) for layer in range(LAYERS)
                               for head in range(KV_HEADS)]
    for parts in stripes.values():
        assert sorted(parts) == [(index, parts[0][1]) for index in range(parts[0][1])]
    assert {h for w in workers for h in heads_of(w, "retrieval")} == RETRIEVAL
    for layer in range(LAYERS):
        columns = sum(worker["mlp_columns"][layer] for worker in workers)
        assert columns == config["intermediate_size"]
    assert sum(worker["vocab_rows"] for worker in workers) == config["vocab_size"]
    for worker in workers:
        needed = worker["weights_bytes"] + worker["cache_bytes"]
        assert needed <= worker["memory_bytes"]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_every_head_is_somewhere_once(sandbox, workers):
    server = sandbox.serve("--workers", workers, "--max-context", 4096, "--max-sequences", 2)
    placement = server.json("placement", "show")
    assert len(placement["workers"]) == workers
    check_covers_model_once(placement)
    assert placement["step_ms"] >= placement["lower_bound_ms"] > 0
    assert placement["gap"] == pytest.approx(
        placement["step_ms"] / placement["lower_bound_ms"] - 1, abs=1e-6)


@pytest.mark.parametrize("limits, big", [("28MiB,1GiB", 1), ("1GiB,28MiB", 0)])
def test_more_cache_goes_where_the_memory_is(sandbox, limits, big):
    server = sandbox.serve("--workers", 2, "--memory-limit", limits, "--max-context", 8192,
                           "--max-sequences", 4, "--stripes", "off", "--objective", "capacity")
    placement = server.json("placement", "show")
    check_covers_model_once(placement)
    assert placement["sequences"] == 4
    by_id = {worker["id"]: worker for worker in placement["workers"]}
    assert by_id[f"w{big}"]["cache_bytes"] > by_id[f"w{1 - big}"]["cache_bytes"]
    answer = server.json("generate", "--prompt", "Once upon a time", "--max-tokens", 8)
    assert answer["usage"]["completion_tokens"] == 8


def test_map_names_every_head_and_worker(server):
    picture = server.run("placement", "show", "--map")
    assert picture.code == 0
    for word in ["w0", "w1", *(f"head {head}" for head in range(KV_HEADS))]:
        assert word in picture.out


def test_what_does_not_fit_is_refused_with_the_numbers(sandbox):
    refused = sandbox.run("serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--workers", 2,
                          "--memory-limit", "16MiB", timeout=30)
    assert refused.code == 1
    assert "memory" in refused.err and re.search("16777216|16.0 MiB", refused.err), refused
    sandbox.assert_nothing_left()
