"""Workers are drained and let back in while streams run: a pause, never a changed token."""
import json
import random

import pytest

from support.cluster import Stream, disturbed_requests, wait_until

REQUESTS = disturbed_requests(120)
MOVES = 50


@pytest.fixture(scope="module")
def server(module_sandbox):
    return module_sandbox.serve("--workers", 3, "--dtype", "fp32")


@pytest.fixture(scope="module")
def undisturbed(server):
    return [Stream(server.channel, **request).result() for request in REQUESTS]


def drained(server):
    return {name for name, worker in server.workers().items() if worker["state"] == "drained"}


def test_drained_worker_holds_nothing_and_returns(server, undisturbed):
    streams = [Stream(server.channel, **request) for request in REQUESTS]
    for stream in streams:
        stream.wait_for_tokens(20)
    epoch = server.json("cluster", "status")["epoch"]
    answer = server.json("workers", "drain", "w1")
    assert answer == {"id": "w1", "drained": True, "waited": True}
    assert [stream.result() for stream in streams] == undisturbed
    cluster = server.json("cluster", "status")
    assert (cluster["state"], cluster["epoch"]) == ("serving", epoch + 1)
    assert cluster["recoveries"] == 0, "nothing failed"
    placement = server.json("placement", "show")
    assert [worker["id"] for worker in placement["workers"]] == ["w0", "w2"]
    assert server.workers()["w1"]["heads"] == 0

    assert "w1 is in service" in server.run("workers", "return", "w1").out
    assert drained(server) == set()
    assert Stream(server.channel, **REQUESTS[0]).result() == undisturbed[0]


def test_refusals(server):
    unknown = server.run("workers", "drain", "w9")
    assert unknown.code == 3 and "w9" in unknown.err
    for name in ("w0", "w2"):
        assert server.run("workers", "drain", name).code == 0
    last = server.run("workers", "drain", "w1")
    assert last.code != 0 and "last live worker" in last.err, last
    for name in ("w0", "w2"):
        assert server.run("workers", "return", name).code == 0


def test_drain_that_does_not_fit_is_refused(sandbox):
    """The other worker alone cannot hold the model: the numbers say so, nothing changes."""
    server = sandbox.serve("--workers", 2, "--dtype", "fp32", "--memory-limit", "30MiB,200MiB",
                           "--max-context", 2048, "--max-sequences", 1)
    epoch = server.json("cluster", "status")["epoch"]
    refused = server.run("workers", "drain", "w1")
    assert refused.code != 0 and "without w1" in refused.err and "bytes" in refused.err, refused
    cluster = server.json("cluster", "status")
    assert (cluster["state"], cluster["epoch"]) == ("serving", epoch)


def moved_head(placement, giver, taker):
    """The placement with one head of `giver` at `taker`."""
    workers = {worker["id"]: worker for worker in placement["workers"]}
    head = workers[giver]["heads"].pop()
    workers[taker]["heads"].append(head)
    return head


def test_placement_is_applied_while_streams_run(server, undisturbed, tmp_path):
    placement = server.json("placement", "show")
    head = moved_head(placement, "w0", "w2")
    path = tmp_path / "placement.json"
    path.write_text(json.dumps(placement))
    streams = [Stream(server.channel, **request) for request in REQUESTS]
    for stream in streams:
        stream.wait_for_tokens(20)

    stale = server.run("placement", "apply", path, "--check-epoch", placement["epoch"] + 7)
    assert stale.code == 6 and "plan it anew" in stale.err, stale
    applied = server.json("placement", "apply", path, "--check-epoch", placement["epoch"])
    assert applied == {"ended_epoch": placement["epoch"], "waited": True}
    assert [stream.result() for stream in streams] == undisturbed
    after = {worker["id"]: worker for worker in server.json("placement", "show")["workers"]}
    place = (head["layer"], head["head"])
    assert place in {(each["layer"], each["head"]) for each in after["w2"]["heads"]}
    assert place not in {(each["layer"], each["head"]) for each in after["w0"]["heads"]}


def test_planned_placement_without_a_worker_drains_it(server, undisturbed, tmp_path):
    path = tmp_path / "placement.json"
    planned = server.run("placement", "plan", "--exclude", "w1", "-o", "plan")
    path.write_text(planned.out)
    epoch = server.json("cluster", "status")["epoch"]
    stream = Stream(server.channel, **REQUESTS[0])
    stream.wait_for_tokens(20)
    assert server.run("placement", "apply", path, "--check-epoch", epoch).code == 0
    assert stream.result() == undisturbed[0]
    assert drained(server) == {"w1"}
    assert [each["id"] for each in server.json("placement", "show")["workers"]] == ["w0", "w2"]
    assert server.run("workers", "return", "w1").code == 0
    assert len(server.json("placement", "show")["workers"]) == 3
    assert Stream(server.channel, **REQUESTS[0]).result() == undisturbed[0]


def test_wrong_placements_are_refused(server, tmp_path):
    path = tmp_path / "placement.json"
    epoch = server.json("cluster", "status")["epoch"]

    def refusal(change):
        placement = server.json("placement", "show")
        change(placement)
        path.write_text(json.dumps(placement))
        result = server.run("placement", "apply", path)
        assert result.code != 0
        return result.err

    def lose_head(placement):
        lost.update(placement["workers"][0]["heads"].pop())

    lost = {}
    message = refusal(lose_head)
    assert f"layer {lost['layer']} head {lost['head']}" in message, message
    message = refusal(lambda placement: placement["workers"][0].update(id="w9"))
    assert "names worker w9" in message, message
    path.write_text("{")
    broken = server.run("placement", "apply", path)
    assert broken.code != 0 and f"{path}: placement" in broken.err
    assert server.run("placement", "apply", tmp_path / "none.json").code == 3
    assert server.json("cluster", "status")["epoch"] == epoch, "nothing moved"


def test_many_moves_under_load(server, undisturbed):
    """Random drains and returns, never all out at once, while requests come and go."""
    numbers = random.Random(1)
    running, finished = [], 0
    for _ in range(MOVES):
        while len(running) < 3:
            which = numbers.randrange(len(REQUESTS))
            running.append((which, Stream(server.channel, **REQUESTS[which])))
        out = drained(server)
        name = f"w{numbers.randrange(3)}"
        verb = "return" if name in out else "drain"
        if verb == "drain" and len(out) == 2:
            name, verb = numbers.choice(sorted(out)), "return"
        assert server.run("workers", verb, name).code == 0
        for which, stream in [each for each in running if each[1].finished is not None]:
            assert stream.result() == undisturbed[which]
            finished += 1
        running = [each for each in running if each[1].finished is None]
    for which, stream in running:
        assert stream.result() == undisturbed[which]
        finished += 1
    assert finished >= 3
    for name in sorted(drained(server)):
        assert server.run("workers", "return", name).code == 0
    wait_until(lambda: server.json("cluster", "status")["cache_bytes_used"] == 0, 5,
               "an empty cache")
    assert server.json("cluster", "status")["recoveries"] == 0
