"""Retrieval heads in stripes over four processes: golden tokens, also after the death of one."""
import json
import os
import signal

import pytest

from support.cluster import GOLDEN, MODEL, Stream, connect, free_port, wait_until
from support.placements import ALL_HEADS as ALL
from support.placements import striped_placement

CASES = json.loads((GOLDEN / "needle-10m.transformers.json").read_text())
STRIPES = [7, 2, 1, 0]  # of w0 .. w3; w3 holds no head
LIMITS = "1GiB,512MiB,384MiB,256MiB"


def placement_of(retrieval):
    return striped_placement(retrieval, STRIPES)




@pytest.fixture(scope="module")
def striped(module_sandbox):
    """Every head keeps everything."""
    path = module_sandbox.folder / "placement.json"
    path.write_text(json.dumps(placement_of(ALL)))
    return module_sandbox.serve("--workers", 4, "--plan", "full", "--dtype", "fp32",
                                "--placement", path, "--memory-limit", LIMITS, "--threads", 1)


def golden_streams(server):
    return [Stream(server.channel, prompt_ids=case["prompt_ids"], temperature=0,
                   max_tokens=len(case["greedy_ids"]), ignore_eos=True) for case in CASES]


def status_of(server):
    return json.loads(server.run("cluster", "status", "-o", "json").out)


def is_whole(server):
    cluster = status_of(server)
    return (cluster["state"] == "serving" and
            cluster["workers_ready"] == cluster["workers_expected"])


def stripes_shown(server):
    return [[{key: head[key] for key in ("layer", "head", "stripe")} for head in worker["heads"]]
            for worker in server.json("placement", "show")["workers"]]


def test_golden_tokens(striped):
    assert [stream.result() for stream in golden_streams(striped)] == [
        case["greedy_ids"] for case in CASES]
    wait_until(lambda: status_of(striped)["cache_bytes_used"] == 0, 3, "an empty cache")


def test_placement_is_the_one_given(striped):
    given = [sorted(({"stripe": [0, 1], **head} for head in worker["heads"]),
                    key=lambda head: (head["layer"], head["head"], head["stripe"]))
             for worker in placement_of(ALL)["workers"]]
    assert stripes_shown(striped) == given
    shown = striped.json("placement", "show")
    assert shown["step_ms"] >= shown["lower_bound_ms"] > 0
    for worker in shown["workers"]:
        needed = worker["weights_bytes"] + worker["cache_bytes"] + worker["scratch_bytes"]
        assert needed <= worker["memory_bytes"]


@pytest.mark.parametrize("victim", ["w1", "w3"])
def test_golden_tokens_after_the_death_of_a_worker(striped, victim):
    epoch = status_of(striped)["epoch"]
    before = stripes_shown(striped)
    streams = golden_streams(striped)
    streams[0].wait_for_tokens(3)
    os.kill(striped.workers()[victim]["pid"], signal.SIGKILL)
    assert [stream.result() for stream in streams] == [case["greedy_ids"] for case in CASES]
    wait_until(lambda: status_of(striped)["epoch"] > epoch and is_whole(striped), 20,
               "a whole cluster")
    assert stripes_shown(striped) == before


def test_what_is_shown_can_be_given(sandbox):
    """The model's own plan: two retrieval heads among local ones, then the same once more."""
    plan = json.loads((MODEL / "plan.json").read_text())
    retrieval = {(entry["layer"], head) for entry in plan["heads"] for head in entry["heads"]}
    path = sandbox.folder / "placement.json"
    path.write_text(json.dumps(placement_of(retrieval)))
    answers = []
    for _ in range(2):
        server = sandbox.serve("--workers", 4, "--placement", path, "--threads", 1,
                               "--dtype", "fp32", "--max-sequences", 2)
        answers.append(server.json("generate", "--prompt", "Once upon a time", "--max-tokens", 20))
        path.write_text(server.run("placement", "show", "-o", "json").out)
        server.stop()
    assert answers[0]["token_ids"] == answers[1]["token_ids"]
    alone = sandbox.serve("--workers", 1, "--dtype", "fp32")
    whole = alone.json("generate", "--prompt", "Once upon a time", "--max-tokens", 20)
    assert whole["token_ids"] == answers[0]["token_ids"]


def test_survivors_are_placed_anew(sandbox):
    """The placement names a worker that does not come back."""
    path = sandbox.folder / "placement.json"
    path.write_text(json.dumps(placement_of(ALL)))
    clients, links = (f"127.0.0.1:{free_port()}" for _ in range(2))
    sandbox.spawn("coordinator", "--model", MODEL, "--plan", "full", "--dtype", "fp32", "--listen",
                  clients, "--worker-listen", links, "--expected-workers", 4, "--placement", path)
    workers = [sandbox.spawn("worker", "--coordinator", links, "--id", f"w{i}", "--model", MODEL,
                             "--memory-limit", "1GiB", "--threads", 1) for i in range(4)]

    def ask(*args):
        return sandbox.run(*args, "--server", clients, "-o", "json")

    wait_until(lambda: ask("cluster", "status").code == 0, 60, "a cluster")
    assert [0, 1] != ask("placement", "show").json()["workers"][1]["heads"][0]["stripe"]
    case = CASES[0]
    stream = Stream(connect(clients), prompt_ids=case["prompt_ids"], temperature=0,
                    max_tokens=len(case["greedy_ids"]), ignore_eos=True)
    stream.wait_for_tokens(3)
    os.kill(workers[1].pid, signal.SIGKILL)
    workers[1].wait(5)
    assert stream.result() == case["greedy_ids"]
    shown = ask("placement", "show").json()["workers"]
    assert [worker["id"] for worker in shown] == ["w0", "w2", "w3"]
    places = {}
    for worker in shown:
        for head in worker["heads"]:
            index, count = head["stripe"]
            places.setdefault((head["layer"], head["head"], count), []).append(index)
    assert all(sorted(indices) == list(range(place[2])) for place, indices in places.items())
    assert len({place[:2] for place in places}) == len(places) == 32, "every head once"


@pytest.mark.parametrize("change, message", [
    (lambda p: p["workers"][0]["heads"].pop(0), "layer 0 head 0"),
    (lambda p: p["workers"][1].update(speed=1), 'workers[1]: unknown field "speed"'),
    (lambda p: p["workers"][1].update(id="x"), "worker w1"),
])
def test_what_cannot_be_is_refused(sandbox, change, message):
    placement = placement_of(ALL)
    change(placement)
    path = sandbox.folder / "placement.json"
    path.write_text(json.dumps(placement))
    refused = sandbox.run("serve", "--model", MODEL, "--plan", "full", "--listen", "127.0.0.1:0",
                          "--workers", 4, "--placement", path, "--threads", 1, timeout=60)
    assert refused.code == 1
    assert message in refused.err
