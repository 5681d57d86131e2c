"""What operators ask a running cluster: live views, one object, the past, dry runs, contexts."""
import json
import os
import pty
import subprocess
import time

import pytest

from support.cluster import BINARY, MODEL, Stream, wait_until


class LongStream:
    """A long stream that is cancelled when nobody looks any more."""

    def __init__(self, server, **fields):
        self.stream = Stream(server.channel, text="The sea", temperature=0, max_tokens=20000,
                             ignore_eos=True, **fields)

    def __enter__(self):
        return self.stream

    def __exit__(self, *_):
        self.stream.cancel()


def test_status_again_and_again(server):
    text = server.run("cluster", "status", "-w", "--interval", "0.1", "--count", "3")
    assert text.code == 0 and text.out.count("state     serving") == 3 and "\033" not in text.out
    lines = server.run("cluster", "status", "-w", "--interval", "0.1", "--count", "2", "-o", "json")
    assert [json.loads(line)["state"] for line in lines.out.splitlines()] == ["serving"] * 2
    assert server.run("cluster", "status", "-o", "name").out == "serving\n"
    assert server.run("cluster", "status", "--count", "2").code == 2, "--count needs --watch"


def test_top_counts_what_is_generated(server):
    with LongStream(server) as stream:
        stream.wait_for_tokens(3)
        top = server.run("top", "-o", "json", "--interval", "0.5", "--count", "2")
    first, second = map(json.loads, top.out.splitlines())
    assert first["sampled_tokens_per_s"] is None, "one look tells no rate"
    assert second["sampled_tokens_per_s"] > 0 and second["steps_per_s"] > 0
    assert 0 < second["workers"][0]["computing"] <= 1.1
    assert second["requests"][0]["state"] == "decode"
    assert second["cluster"]["requests_running"] == 1
    assert second["cluster"]["cache_bytes_used"] > 0


@pytest.mark.parametrize("key, code", [(b"\003", 130), (b"xq", 0)])  # Ctrl-C; another key, then q
def test_top_on_a_terminal_leaves_it_as_it_was(server, key, code):
    pid, screen = pty.fork()
    if pid == 0:
        os.execve(BINARY, [str(BINARY), "top", "--server", server.address, "--interval", "0.2"],
                  dict(os.environ, TERM="xterm"))
    out = b""
    end = time.monotonic() + 20
    while out.count(b"\033[H") < 3:
        assert time.monotonic() < end, out
        out += os.read(screen, 65536)
    os.write(screen, key)
    while True:
        try:
            more = os.read(screen, 65536)
        except OSError:
            break
        if not more:
            break
        out += more
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == code
    assert out.index(b"\033[?1049h") < out.index(b"needle-10m") < out.rindex(b"\033[?1049l")
    assert out.rindex(b"\033[?25h") > out.rindex(b"\033[?25l"), "the cursor is shown again"


def test_one_worker_and_one_request(server):
    assert server.run("workers", "list", "-o", "name").out == "w0\nw1\n"
    worker = server.json("workers", "get", "w1")
    assert worker["id"] == "w1" and worker["version"] and worker["heads"] > 0
    assert server.run("workers", "get", "w9").code == 3
    with LongStream(server, request_id="long-one") as stream:
        stream.wait_for_tokens(3)
        request = server.json("requests", "get", "long-one")
        assert request["max_tokens"] == 20000 and request["first_token_ms"] > 0
        assert server.run("requests", "list", "-o", "name").out == "long-one\n"
        dry = server.run("requests", "cancel", "long-one", "--dry-run")
        assert dry.out == "would cancel long-one\n"
        assert server.run("requests", "get", "long-one").code == 0
        assert server.run("requests", "cancel", "long-one", "-o", "name").out == "long-one\n"
    wait_until(lambda: server.run("requests", "get", "long-one").code == 3, 10, "its end")
    assert server.run("requests", "cancel", "long-one", "--dry-run").code == 3


def test_a_request_that_ended_has_a_trace(server, tmp_path):
    done = server.run("generate", "--prompt", "The sea " * 700, "--max-tokens", 20, "--ignore-eos",
                      "--request-id", "traced")
    assert done.code == 0
    trace = server.json("requests", "trace", "traced")
    assert trace["state"] == "ended" and trace["end"] == "length"
    chunks = [span for span in trace["spans"] if span["kind"] == "prefill"]
    assert sum(span["tokens"] for span in chunks) == trace["prompt_tokens"] > 1000
    assert len(chunks) > 1 and all(span["steps"] == 1 for span in chunks)
    assert trace["decode"]["steps"] == 19 and trace["epochs"] == [1]
    begins = [span["begin_ms"] for span in trace["spans"]]
    assert begins == sorted(begins) and begins[0] == 0
    assert trace["first_token_ms"] <= trace["age_ms"]
    picture = tmp_path / "trace.svg"
    text = server.run("requests", "trace", "traced", "-o", "wide", "--svg", picture)
    assert text.out.count("prefill, ") == len(chunks)
    assert picture.read_text().endswith("</svg>\n")
    assert server.run("requests", "trace", "nobody").code == 3


def test_a_placement_is_modelled_with_what_steps_cost(server):
    near = server.json("placement", "show", "--for-context", 500, "--for-concurrency", 1)
    far = server.json("placement", "show", "--for-context", 8000, "--for-concurrency", 1)
    assert near["workload"]["context"] == 500 and near["fixed_ms"] > 0
    assert far["attention_ms"] > near["attention_ms"]
    assert server.run("placement", "show", "--for-context", 10**6).code == 1


def test_the_past_and_why(sandbox):
    server = sandbox.serve("--workers", "2", "--threads", "1", "--max-context", "1024",
                           "--device", "cpu")
    assert server.run("workers", "drain", "w1", "--dry-run").out == "w1 would be drained\n"
    assert server.json("cluster", "status")["epoch"] == 1, "a dry run changes nothing"
    assert server.run("workers", "drain", "w9", "--dry-run").code == 3
    assert server.run("workers", "drain", "w1").code == 0
    assert server.run("workers", "drain", "w0", "--dry-run").code == 6, "it is the last one"
    assert server.run("workers", "return", "w1").code == 0
    past = server.json("placement", "history")
    assert [epoch["reason"] for epoch in past] == [
        "all workers that are expected are here", "worker w1 is drained", "worker w1 returns"]
    assert [epoch["outcome"] for epoch in past] == ["ended", "ended", "in_force"]
    assert [len(epoch["workers"]) for epoch in past] == [2, 1, 2]
    assert past[0]["heads_moved"] == past[0]["heads"] >= 32, "split heads count by their parts"
    assert 0 < past[1]["heads_moved"] < past[1]["heads"]
    assert all(0 < epoch["seconds_to_serve"] < 60 for epoch in past)
    explained = server.json("placement", "explain")
    assert [worker["id"] for worker in explained["workers"]] == ["w0", "w1"]
    assert all(0 < worker["busy"] <= 1.001 and worker["reason"] for worker in explained["workers"])
    head = server.json("placement", "explain", "6.0")
    assert head["role"] == "retrieval" and head["holders"]
    assert server.run("placement", "explain", "w1").code == 0
    assert server.run("placement", "explain", "99.0").code == 3
    plan = sandbox.folder / "placement.json"
    plan.write_text(server.run("placement", "plan", "-o", "plan").out)
    tried = server.run("placement", "apply", plan, "--dry-run")
    assert tried.out == "the placement would be in force\n"
    assert server.run("placement", "apply", plan, "--dry-run", "--check-epoch", "1").code == 6
    assert server.json("cluster", "status")["epoch"] == 3


def test_contexts_lead_to_a_server(server):
    run = server.sandbox.run
    assert run("config", "set", "here", "--server", server.address).code == 0
    assert run("cluster", "status", "--context", "here").code == 0
    assert run("cluster", "status").code == 0, "the first one is in use"
    assert run("generate", "--prompt", "a", "--max-tokens", 2).code == 0
    assert run("config", "validate").code == 0
    assert run("cluster", "status", "--context", "there").code == 3
    assert run("config", "delete", "here").code == 0


def test_verify_reads_all_weights(sandbox):
    whole = sandbox.run("model", "verify", "--model", MODEL, "-o", "json")
    assert whole.json()["ok"]
    hashed = subprocess.run(["sha256sum", MODEL / "model.safetensors"], check=True,
                            capture_output=True, text=True).stdout.split()[0]
    assert whole.json()["files"][0]["sha256"] == hashed
