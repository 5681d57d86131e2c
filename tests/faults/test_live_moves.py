"""Running sequences take their caches along when workers are drained, return or hold other heads:
no token changes, and nothing is computed again."""
import json
import os
import signal
import time

import pytest

from support.cluster import MODEL, Stream, disturbed_requests, wait_until
from support.placements import ALL_HEADS, retrieval_heads, striped_placement

pytestmark = pytest.mark.timeout(600)  # each request runs twice for every move

LONG_PROMPT = disturbed_requests(1)[1]["prompt_ids"]
PLAN = json.loads((MODEL / "plan.json").read_text())


def moves_of(server):
    cluster = server.json("cluster", "status")
    return cluster["sequences_moved"], cluster["sequences_replayed"]


def start_streams(server, requests):
    streams = [Stream(server.channel, timeout=300, **request) for request in requests]
    for stream in streams:
        stream.wait_for_tokens(5, 200)
    return streams


def check_moves(server, moves, tokens=60):
    """Each of `moves` under running streams; who runs then goes on, and nobody starts anew. So many
    tokens take longer than it takes to ask for the move."""
    requests = disturbed_requests(tokens)
    undisturbed = [Stream(server.channel, timeout=300, **request).result(300)
                   for request in requests]
    moved, replayed = moves_of(server)
    for move in moves:
        epoch = server.json("cluster", "status")["epoch"]
        streams = start_streams(server, requests)
        move(server)
        assert server.json("cluster", "status")["epoch"] == epoch + 1
        assert [stream.result(300) for stream in streams] == undisturbed
        now = moves_of(server)
        assert now[0] > moved, "no sequence moved"
        assert now[1] == replayed, "a sequence was computed again"
        moved = now[0]
    wait_until(lambda: server.json("cluster", "status")["cache_bytes_used"] == 0, 5,
               "an empty cache")
    assert server.json("cluster", "status")["recoveries"] == 0


def command(*args):
    def run(server):
        result = server.run(*args)
        assert result.code == 0, result
    return run


def test_drain_and_return(sandbox):
    server = sandbox.serve("--workers", 3, "--dtype", "fp32", "--threads", 1, "--moves", "live",
                           "--memory-limit", "1GiB,512MiB,384MiB")
    check_moves(server, [command("workers", verb, name)
                         for name in ("w1", "w0") for verb in ("drain", "return")])


def test_exact_prefill(sandbox):
    plan = sandbox.folder / "plan.json"
    plan.write_text(json.dumps(dict(PLAN, prefill="exact")))
    server = sandbox.serve("--workers", 2, "--dtype", "fp32", "--threads", 1, "--moves", "live",
                           "--plan", plan)
    check_moves(server, [command("workers", verb, "w1") for verb in ("drain", "return")], 500)


@pytest.mark.parametrize("plan, retrieval", [("full", ALL_HEADS),
                                             (MODEL / "plan.json", retrieval_heads(PLAN))])
def test_stripes(sandbox, plan, retrieval):
    """Stripes by seven, two, one and none, then by others, then as the engine places them."""
    placements = []
    for number, stripes in enumerate([[7, 2, 1, 0], [1, 1, 2, 1]]):
        path = sandbox.folder / f"placement-{number}.json"
        path.write_text(json.dumps(striped_placement(retrieval, stripes)))
        placements.append(path)
    server = sandbox.serve("--workers", 4, "--plan", plan, "--dtype", "fp32", "--threads", 1,
                           "--moves", "live", "--placement", placements[0],
                           "--memory-limit", "1GiB,512MiB,384MiB,256MiB")
    check_moves(server, [command("placement", "apply", placements[1]),
                         command("workers", "drain", "w2"),
                         command("workers", "return", "w2"),
                         command("placement", "apply", placements[0])])


def test_short_contexts_are_computed_again(sandbox):
    """By itself a server sends what is long and computes again what is short."""
    server = sandbox.serve("--workers", 2, "--dtype", "fp32", "--threads", 1)
    request = dict(text="Once", temperature=0, max_tokens=200, ignore_eos=True)
    undisturbed = Stream(server.channel, timeout=300, **request).result(300)
    stream = Stream(server.channel, timeout=300, **request)
    stream.wait_for_tokens(2)
    assert server.run("workers", "drain", "w1").code == 0
    assert stream.result(300) == undisturbed
    assert moves_of(server) == (0, 1)


@pytest.mark.parametrize("victim, said", [("w1", "hands its lanes over"), ("w0", "rank 0 of 1")])
def test_worker_killed_in_the_middle(sandbox, victim, said):
    """The one that leaves, or the one that stays: then the sequence is computed again."""
    server = sandbox.serve("--workers", 2, "--dtype", "fp32", "--threads", 1, "--plan", "full",
                           "--moves", "live")
    request = dict(prompt_ids=(LONG_PROMPT * 7)[:6000], temperature=0, max_tokens=40,
                   ignore_eos=True)
    undisturbed = Stream(server.channel, timeout=300, **request).result(300)
    pid = server.workers()[victim]["pid"]
    stream = Stream(server.channel, timeout=300, **request)
    stream.wait_for_tokens(3)
    before = server.err.count(said)
    drain = sandbox.spawn("workers", "drain", "w1", "--server", server.address)
    deadline = time.monotonic() + 20
    while server.err.count(said) == before:
        assert time.monotonic() < deadline, "the move does not begin"
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert stream.result(300) == undisturbed
    drain.wait(30)
    wait_until(lambda: server.run("cluster", "status").code == 0, 20, "an epoch")
    assert moves_of(server) == (0, 1)
