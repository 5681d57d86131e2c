"""The JSON that scripts depend on, and that nothing else is on stdout."""
import json

import pytest

from support.cluster import MODEL

GENERATE_FIELDS = {"id", "text", "token_ids", "finish_reason", "usage", "timing_ms"}
USAGE_FIELDS = {"prompt_tokens", "cached_tokens", "completion_tokens", "cache_bytes",
                "full_cache_bytes"}
PLACEMENT_FIELDS = {"epoch", "step_ms", "lower_bound_ms", "gap", "workers"}
PLACED_WORKER_FIELDS = {"id", "device", "memory_bytes", "weights_bytes", "cache_bytes", "heads",
                        "mlp_columns", "vocab_rows"}
WORKER_FIELDS = {"id", "address", "pid", "state", "device", "epoch", "memory_bytes",
                 "cache_bytes_used", "heads"}


def test_generate(server):
    answer = server.json("generate", "--prompt", "Once upon a time", "--max-tokens", 5,
                         "--logprobs", 3)
    assert GENERATE_FIELDS | {"logprobs"} <= set(answer)
    assert USAGE_FIELDS <= set(answer["usage"])
    assert {"queue", "prefill", "decode", "total"} <= set(answer["timing_ms"])
    assert answer["finish_reason"] == "length"
    assert len(answer["token_ids"]) == len(answer["logprobs"]) == 5
    for entry, token in zip(answer["logprobs"], answer["token_ids"]):
        assert entry["token_id"] == token
        assert len(entry["top"]) == 3
        assert entry["top"][0] == [token, entry["logprob"]]  # greedy: the best one
        assert all(a[1] >= b[1] for a, b in zip(entry["top"], entry["top"][1:]))


def test_embedded_and_served_answers_are_the_same(sandbox, server):
    prompt = ["--prompt", "It was a dark and stormy night", "--max-tokens", 24]
    served = server.json("generate", *prompt)
    embedded = sandbox.run("generate", *prompt, "--model", MODEL, "--workers", 2, "--dtype", "fp32",
                           "-o", "json").json()
    assert embedded["token_ids"] == served["token_ids"]
    text = sandbox.run("generate", *prompt, "--model", MODEL, "--dtype", "fp32")
    assert text.code == 0 and text.out.strip() == served["text"].strip()
    sandbox.assert_nothing_left(1)


def test_map_is_drawn_below_the_answer(sandbox):
    drawn = sandbox.run("generate", "--prompt", "Once upon a time", "--max-tokens", 4, "--model",
                        MODEL, "--map")
    assert drawn.code == 0
    assert "head 3" in drawn.out and "in full" in drawn.out
    assert "\033" not in drawn.out + drawn.err  # no colours, no progress where there is no terminal


def test_admin_documents(server):
    workers = server.json("workers", "list")
    assert [worker["id"] for worker in workers] == ["w0", "w1"]
    assert all(WORKER_FIELDS <= set(worker) for worker in workers)
    # A head that is split into stripes counts on each of its workers.
    assert 32 <= sum(worker["heads"] for worker in workers) <= 40
    placement = server.json("placement", "show")
    assert PLACEMENT_FIELDS <= set(placement)
    assert all(PLACED_WORKER_FIELDS <= set(worker) for worker in placement["workers"])
    cluster = server.json("cluster", "status")
    assert cluster["state"] == "serving" and cluster["workers_ready"] == 2
    assert server.json("requests", "list") == []


@pytest.mark.parametrize("where", ["server", "model", "tokenizer"])
def test_tokenize_and_detokenize(server, where):
    target = {"server": ["--server", server.address], "model": ["--model", MODEL],
              "tokenizer": ["--tokenizer", MODEL / "tokenizer.json"]}[where]
    run = server.sandbox.run
    text = "Fifteen men on the dead man's chest, naïve 日本"
    ids = run("tokenize", "--text", text, "-o", "json", *target).json()["token_ids"]
    assert ids and ids[0] != 0
    special = run("tokenize", "--text", text, "--special", "-o", "json", *target).json()
    assert special["token_ids"] == [0, *ids]
    back = run("detokenize", "--text", json.dumps(ids), "-o", "json", *target).json()
    assert back["text"] == text
    lines = [json.dumps(line) for line in [text, "", "two\nlines"]]
    listed = run("tokenize", "--jsonl", "-", *target, stdin="\n".join(lines).encode())
    rows = [json.loads(line) for line in listed.out.splitlines()]
    assert rows[:2] == [ids, []] and len(rows) == 3
    again = run("detokenize", "--jsonl", "-", *target, stdin=listed.out.encode())
    assert again.out.splitlines() == [json.dumps(s, ensure_ascii=False)
                                      for s in [text, "", "two\nlines"]]


def test_model_and_plan(sandbox):
    information = sandbox.run("model", "info", "--model", MODEL, "-o", "json")
    assert information.code == 0 and json.loads(information.out)
    plan = sandbox.run("plan", "show", "--model", MODEL, "-o", "json")
    assert plan.code == 0 and json.loads(plan.out)["plan"]["layers"] == 8


def test_help_of_everything(sandbox):
    commands = [[], ["serve"], ["coordinator"], ["worker"], ["generate"], ["batch"], ["tokenize"],
                ["detokenize"], ["bench", "needle"], ["cluster", "status"], ["workers", "list"],
                ["placement", "show"], ["requests", "list"], ["requests", "cancel"],
                ["model", "info"], ["plan", "show"]]
    for command in commands:
        shown = sandbox.run(*command, "--help")
        assert shown.code == 0 and len(shown.out) > 80, command


def test_a_context_is_filled(sandbox):
    filled = sandbox.run("bench", "context", "--tokens", 33000, "--decode", 4, "--device", "cpu",
                         "--plan", "full", "-o", "json")
    assert filled.code == 0
    report = filled.json()
    assert report["tokens"] == 33004 and report["decoded_tokens"] == 4  # more than the model's own
    assert report["cache_bytes_used"] == 516 * 64 * report["cache_bytes_per_token"]
    assert 0 < report["decode_ms"]["p10"] <= report["decode_ms"]["p90"]
    shown = sandbox.run("bench", "context", "--decode", 4, "--device", "cpu", "--memory-limit",
                        "40MiB")
    assert shown.code == 0 and "of them decoded" in shown.out
    refused = sandbox.run("bench", "context", "--plan", "local", "--device", "cpu")
    assert refused.code == 1 and "say how many tokens" in refused.err
