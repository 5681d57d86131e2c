"""A worker dies or freezes while streams run: a pause, never a lost, repeated or changed token."""
import json
import os
import signal
import time

import grpc
import pytest

from support.cluster import Stream, disturbed_requests, is_alive, wait_until

REQUESTS = disturbed_requests(240)
LONG_PROMPT = REQUESTS[1]["prompt_ids"]
TOKENS_BEFORE = 40
RECOVERY_SECONDS = 10  # to a new epoch; 0.3 on an idle machine


@pytest.fixture(scope="module")
def undisturbed(server):
    return [Stream(server.channel, **request).result() for request in REQUESTS]


@pytest.fixture(autouse=True)
def serving_again(server):
    """Each test leaves the shared server whole."""
    yield
    wait_until(lambda: is_whole(server), 20, "a whole cluster after the test")


def status_of(server):
    return json.loads(server.run("cluster", "status", "-o", "json").out)


def is_serving(server):
    return status_of(server)["state"] == "serving"


def is_whole(server):
    """Exit code 1 says that it cannot serve; the document says why all the same."""
    cluster = status_of(server)
    return (cluster["state"] == "serving" and
            cluster["workers_ready"] == cluster["workers_expected"])


def start_streams(server):
    streams = [Stream(server.channel, **request) for request in REQUESTS]
    for stream in streams:
        stream.wait_for_tokens(TOKENS_BEFORE)
    assert all(stream.finished is None for stream in streams), "too fast to be disturbed"
    return streams


@pytest.mark.parametrize("victim", ["w0", "w1"])
def test_killed_worker(server, undisturbed, victim):
    before = server.workers()
    epoch = status_of(server)["epoch"]
    streams = start_streams(server)
    os.kill(before[victim]["pid"], signal.SIGKILL)
    wait_until(lambda: status_of(server)["epoch"] > epoch and is_serving(server),
               RECOVERY_SECONDS, "a new epoch")
    assert [stream.result() for stream in streams] == undisturbed

    wait_until(lambda: is_whole(server), 15, "the replaced worker")
    after = server.workers()
    assert after[victim]["pid"] != before[victim]["pid"]
    assert is_alive(after[victim]["pid"]) and not is_alive(before[victim]["pid"])
    cluster = status_of(server)
    assert cluster["epoch"] > epoch
    assert cluster["recoveries"] >= 1
    assert {worker["epoch"] for worker in after.values()} == {cluster["epoch"]}
    wait_until(lambda: status_of(server)["cache_bytes_used"] == 0, 3, "an empty cache")


def test_frozen_worker(server, undisturbed):
    before = server.workers()
    streams = start_streams(server)
    os.kill(before["w1"]["pid"], signal.SIGSTOP)
    frozen = time.monotonic()
    try:
        wait_until(lambda: status_of(server)["state"] != "serving" or
                   server.workers()["w1"]["pid"] != before["w1"]["pid"], 6, "its detection")
        assert time.monotonic() - frozen < 5
        assert [stream.result() for stream in streams] == undisturbed
        wait_until(lambda: is_whole(server), 20, "the replaced worker")
        assert server.workers()["w1"]["pid"] != before["w1"]["pid"]
        wait_until(lambda: not is_alive(before["w1"]["pid"]), 5, "the frozen process to be gone")
    finally:
        if is_alive(before["w1"]["pid"]):
            os.kill(before["w1"]["pid"], signal.SIGKILL)


def test_all_workers_killed_at_once(server, undisturbed):
    streams = start_streams(server)
    for worker in server.workers().values():
        os.kill(worker["pid"], signal.SIGKILL)
    assert [stream.result() for stream in streams] == undisturbed


def test_killed_during_a_prompt(server):
    request = dict(prompt_ids=(LONG_PROMPT * 7)[:16000], temperature=0, max_tokens=8,
                   ignore_eos=True)
    whole = Stream(server.channel, **request).result()
    stream = Stream(server.channel, **request)
    wait_until(lambda: any(r["state"] == "prefill" and r["computed_tokens"] > 1000
                           for r in server.json("requests", "list")), 10, "a prompt half computed")
    os.kill(server.workers()["w0"]["pid"], signal.SIGKILL)
    assert stream.result() == whole


def test_killed_twice_in_a_row(server, undisturbed):
    streams = start_streams(server)
    os.kill(server.workers()["w0"]["pid"], signal.SIGKILL)
    for stream in streams:
        stream.wait_for_tokens(2 * TOKENS_BEFORE)
    os.kill(server.workers()["w1"]["pid"], signal.SIGKILL)
    assert [stream.result() for stream in streams] == undisturbed


def test_request_that_crashes_workers_is_set_aside(server):
    """A prompt so long that no token comes between two crashes."""
    poison = Stream(server.channel, prompt_ids=[0] + LONG_PROMPT[1:] * 12, temperature=0,
                    max_tokens=4)
    for _ in range(2):
        wait_until(lambda: any(r["state"] == "prefill" and r["computed_tokens"] > 0
                               for r in server.json("requests", "list")), 20, "its prompt to run")
        os.kill(server.workers()["w1"]["pid"], signal.SIGKILL)
        wait_until(lambda: poison.error or is_whole(server), 20, "the cluster after a crash")
    with pytest.raises(grpc.RpcError) as error:
        poison.result(20)
    assert error.value.code() == grpc.StatusCode.ABORTED
    assert "twice" in error.value.details()


def test_idle_worker_killed(server):
    before = server.workers()
    os.kill(before["w0"]["pid"], signal.SIGKILL)
    wait_until(lambda: is_whole(server) and server.workers()["w0"]["pid"] != before["w0"]["pid"],
               15, "the replaced worker")
    answer = server.json("generate", "--prompt", "Once upon a time", "--max-tokens", 4)
    assert answer["usage"]["completion_tokens"] == 4
