"""`calibrate` on the real model: scores as recorded, plans that keep what matters."""
import json
import shutil
import signal

import pytest

from support.cluster import GOLDEN, MODEL, wait_until

SCORES = json.loads((GOLDEN / "needle-10m.head_scores.json").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_scores_equal_the_recorded_ones(sandbox, tmp_path, workers):
    out = tmp_path / "scores.json"
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(SCORES["ids"]))
    done = sandbox.run("calibrate", "--model", MODEL, "--workers", workers, "--scores-only",
                       "--dtype", "fp32", "--max-context", "4096", "--ids", ids,
                       "--period", SCORES["period"], "--copies", SCORES["copies"], "--out", out,
                       timeout=150)
    assert done.code == 0, done
    scores = json.loads(out.read_text())["scores"]
    for kind in ("echo", "induction"):
        for layer, (found, recorded) in enumerate(zip(scores[kind], SCORES[kind], strict=True)):
            for head, score in enumerate(found):
                group = recorded[2 * head:2 * head + 2]
                assert score == pytest.approx(max(group), abs=0.03), (kind, layer, head)
    scores = json.loads(out.read_text())["scores"]
    assert scores["needle"][6][1] >= 0.9, "the one head that finds needles"
    assert all(score < 0.5 for layer in (0, 1, 2, 3, 4, 5, 7) for score in scores["needle"][layer])
    assert len(scores["similarity"]) == 8 and all(0 < cosine < 1 for cosine in scores["similarity"])


def fast(out, *more):
    """A calibration that takes seconds: one window, short texts."""
    return ["calibrate", "--model", MODEL, "--out", out, "--dtype", "fp32", "--windows", "64",
            "--context", "2048", "--max-context", "4096", "--period", "128", *more]


@pytest.mark.timeout(600)
def test_the_plan_keeps_the_head_that_finds(sandbox, tmp_path):
    out, evidence, report = (tmp_path / name for name in ("plan.json", "e.json", "r.html"))
    stopped = sandbox.spawn(*fast(out))
    wait_until(lambda: out.with_name("plan.json.partial").exists(), 100, "a partial file")
    stopped.signal(signal.SIGINT)
    assert stopped.wait(30) == 130
    done = sandbox.run(*fast(out, "--budget", "0.1", "--evidence", evidence, "--report", report,
                             "-o", "json"), timeout=350)
    assert done.code == 0, done
    assert "going on where" in done.err
    assert not out.with_name("plan.json.partial").exists()
    plan = json.loads(out.read_text())
    full = {(entry["layer"], head) for entry in plan["heads"] for head in entry["heads"]
            if "window_tokens" not in plan["policies"][entry["policy"]]}
    if "window_tokens" not in plan["policies"][plan["default"]]:
        pytest.fail("a tenth of the bytes cannot keep most heads in full")
    assert (6, 1) in full, "the one head that finds needles (the model's README)"
    summary = {entry["name"]: entry for entry in done.json()["plans"]}
    assert summary["calibrated"]["share"] <= 0.1
    paper, equal = summary["paper's rule"], summary["calibrated, the paper's bytes"]
    assert equal["cache_bytes"] <= paper["cache_bytes"] and equal["kl"] <= paper["kl"] * 1.05
    by_layer = summary["paper's rule, windows by layer"]
    assert by_layer["retrieval_heads"] == paper["retrieval_heads"]
    assert by_layer["cache_bytes"] <= paper["cache_bytes"]
    assert "<svg" in report.read_text() and json.loads(evidence.read_text())["costs"]
    # With more bytes than the rule takes: the plan that is held against it still has no more.
    more = sandbox.run(*fast(tmp_path / "more.json", "--budget", "0.5", "--costs", evidence, "-o",
                             "json"), timeout=150)
    plans = {entry["name"]: entry for entry in more.json()["plans"]}
    assert plans["calibrated"]["share"] > plans["paper's rule"]["share"]
    equal, paper = plans["calibrated, the paper's bytes"], plans["paper's rule"]
    assert equal["cache_bytes"] <= paper["cache_bytes"]
    found = sandbox.run("bench", "needle", "--model", MODEL, "--plan", out, "--lengths", "2048",
                        "--trials", "10", "-o", "json", timeout=100).json()
    assert found["recall"]["2048"] >= 0.9


def test_a_budget_that_nothing_meets_is_refused(sandbox, tmp_path):
    refused = sandbox.run(*fast(tmp_path / "p.json", "--budget", "0.001"), timeout=170)
    assert refused.code == 1 and "share" in refused.err


def test_windows_that_hold_the_whole_text_are_refused(sandbox, tmp_path):
    refused = sandbox.run("calibrate", "--model", MODEL, "--out", tmp_path / "p.json",
                          "--windows", "64,512", "--max-context", "4096", "--context", "2048")
    assert refused.code == 1 and "--windows: 512" in refused.err and "2048" in refused.err


@pytest.mark.timeout(500)
def test_ranks_and_codes_are_chosen_written_and_served(sandbox, tmp_path):
    out, evidence = tmp_path / "plan.json", tmp_path / "e.json"
    choices = fast(out, "--budget", "0.125", "--storage", "int4+hadamard", "--rank", "32",
                   "--length", "832", "--evidence", evidence, "-o", "json")
    words = ["" if word == "64" else word for word in choices]
    done = sandbox.run(*words, timeout=400)
    assert done.code == 0, done
    plan = json.loads(out.read_text())
    ranked = [name for name, policy in plan["policies"].items() if "rank" in policy]
    projections = tmp_path / "plan.projections.safetensors"
    assert projections.exists() == bool(ranked)
    assert ranked, "int4 alone takes 14 % of the bytes of fp32"
    assert plan["projections"]["file"] == projections.name
    again = sandbox.run(*words, "--costs", evidence, timeout=200)
    assert again.code == 0 and json.loads(out.read_text()) == plan
    found = sandbox.run("bench", "needle", "--model", MODEL, "--plan", out, "--lengths", "2048",
                        "--trials", "10", "-o", "json", timeout=100).json()
    assert found["recall"]["2048"] >= 0.9
    projections.write_bytes(projections.read_bytes()[:-4])
    refused = sandbox.run("generate", "--model", MODEL, "--plan", out, "--prompt", "x")
    assert refused.code != 0 and projections.name in refused.err


def test_wrong_files_are_named(sandbox, tmp_path):
    ids = tmp_path / "ids.json"
    ids.write_text("[1]")
    refused = sandbox.run(*fast(tmp_path / "p.json", "--ids", ids))
    assert refused.code == 1 and str(ids) in refused.err
    unknown = sandbox.run(*fast(tmp_path / "p.json", "--compensation", "mean,median"))
    assert unknown.code == 1 and "--compensation" in unknown.err and "median" in unknown.err
    absent = sandbox.run(*fast(tmp_path / "p.json", "--text", tmp_path / "none.txt"))
    assert absent.code == 3 and "none.txt" in absent.err


@pytest.fixture
def alibi_model(tmp_path):
    """The tiny model with ALiBi, which has no positions to run out of, and its own reference."""
    folder = tmp_path / "mpt"
    shutil.copytree(GOLDEN / "families" / "mpt", folder)
    config = json.loads((folder / "config.json").read_text())
    config["max_seq_len"] = 4096
    (folder / "config.json").write_text(json.dumps(config))
    return folder, json.loads((folder / "reference.json").read_text())


def test_alibi_heads_become_windows_of_their_scope(sandbox, tmp_path, alibi_model):
    model, reference = alibi_model
    out, evidence, report = (tmp_path / name for name in ("plan.json", "e.json", "report.html"))
    done = sandbox.run("calibrate", "--model", model, "--workers", 2, "--context", 2048, "--out",
                       out, "--evidence", evidence, "--report", report, "--dtype", "fp32",
                       "-o", "json", timeout=120)
    assert done.code == 0, done
    plan = json.loads(out.read_text())
    for layer, scopes in enumerate(reference["scopes"]):
        for head, scope in enumerate(scopes):
            policy = plan["default"]
            for entry in plan["heads"]:
                if entry["layer"] == layer and head in entry["heads"]:
                    policy = entry["policy"]
            policy = plan["policies"][policy]
            if scope >= 2048:
                assert policy == {}, (layer, head)
                continue
            assert scope <= policy["window_tokens"] <= 1.125 * scope + 1, (layer, head)
            assert policy["sinks"] == 0 and policy["compensation"] == "none"
    written = json.loads(evidence.read_text())["scopes"]
    for found, recorded in zip(written, reference["scopes"], strict=True):
        assert found == pytest.approx(recorded, rel=1e-6)
    summary = done.json()["plans"][0]
    assert summary["name"] == "by scope" and summary["retrieval_heads"] == 2
    assert summary["share"] < 0.6
    assert summary["kl"] < 1e-6  # what lies beyond a scope counts for nothing
    assert "scope in tokens" in report.read_text()
    served = sandbox.run("generate", "--model", model, "--plan", out, "--prompt", "x",
                         "--max-tokens", 2, "-o", "json")
    assert served.code == 0, served


def test_alibi_windows_that_are_given_and_scores_alone(sandbox, tmp_path, alibi_model):
    model, reference = alibi_model
    out = tmp_path / "plan.json"
    run = ["calibrate", "--model", model, "--context", 2048, "--out", out, "--dtype", "fp32"]
    done = sandbox.run(*run, "--windows", "64,256")
    assert done.code == 0, done
    plan = json.loads(out.read_text())
    assert plan["policies"].keys() == {"retrieval", "window-256"}
    assert [entry["heads"] for entry in plan["heads"] if entry["policy"] == "window-256"] == [
        [2], [2]]
    done = sandbox.run(*run, "--scores-only")
    assert done.code == 0 and "1,024" in done.out, done
    assert json.loads(out.read_text())["scopes"][0] == pytest.approx(reference["scopes"][0])
    refused = sandbox.run(*run, "--budget", 0.1)
    assert refused.code == 1 and "--budget" in refused.err and "ALiBi" in refused.err


def test_a_plan_with_a_compensation_token_is_refused_with_alibi(sandbox, tmp_path, alibi_model):
    model, _ = alibi_model
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({
        "version": 1, "layers": 2, "kv_heads": 3, "default": "near",
        "policies": {"near": {"window_tokens": 64, "compensation": "mean"}}}))
    refused = sandbox.run("generate", "--model", model, "--plan", plan, "--prompt", "x")
    assert refused.code == 1 and 'policies["near"]: compensation' in refused.err
    served = sandbox.run("generate", "--model", model, "--plan", "local", "--prompt", "x",
                         "--max-tokens", 2)
    assert served.code == 0, served
