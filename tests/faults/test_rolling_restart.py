"""Workers are told to end (SIGTERM) and started again one after the other, under load: they hand
their caches over and leave; no request fails, no token changes, and streams pause for less than a
second."""
import os
import signal
import time

import pytest

from support.cluster import Stream, connect, wait_until
from support.roles import Roles

pytestmark = pytest.mark.timeout(300)

STREAMS = 8
PAUSE_SECONDS = 3  # on a machine that does something else, too; below one on a quiet one


class TimedStream(Stream):
    """Remembers the longest wait for a token after the first."""

    longest, last = 0, None

    def _take(self, response):
        super()._take(response)
        if response.WhichOneof("event") == "chunk":
            now = time.monotonic()
            if self.last is not None:
                self.longest = max(self.longest, now - self.last)
            self.last = now


def request(i):
    return dict(text=f"Story number {i}: once upon a time", seed=i,
                temperature=0.8 if i % 2 else 0, top_k=5, ignore_eos=True)


def status(roles):
    return roles.sandbox.run("cluster", "status", "--server", roles.clients, "-o", "json").json()


def ready_workers(roles):
    listed = roles.sandbox.run("workers", "list", "--server", roles.clients, "-o", "json").json()
    return {worker["id"] for worker in listed if worker["state"] == "ready"}


def test_every_worker_is_restarted_under_eight_streams(sandbox):
    roles = Roles(sandbox, workers=3, timeout=60)
    channel = connect(roles.clients)
    streams = [TimedStream(channel, timeout=300, max_tokens=20000, **request(i))
               for i in range(STREAMS)]
    for stream in streams:
        stream.wait_for_tokens(30)
    for i in range(len(roles.workers)):
        restart(roles, i)
        reached = [len(stream.tokens) for stream in streams]
        for stream, tokens in zip(streams, reached):
            stream.wait_for_tokens(tokens + 10)
    for stream in streams:
        assert stream.error is None and stream.finished is None
        stream.cancel()
    longest = max(stream.longest for stream in streams)
    print(f"{STREAMS} streams of {min(map(len, (s.tokens for s in streams)))} tokens or more: "
          f"longest pause {longest * 1000:.0f} ms")
    now = status(roles)
    assert now["recoveries"] == 0, "a restart was taken for a failure"
    assert longest < PAUSE_SECONDS
    undisturbed = [Stream(channel, timeout=300, max_tokens=len(stream.tokens), **request(i))
                   for i, stream in enumerate(streams)]
    assert [each.result(200) for each in undisturbed] == [stream.tokens for stream in streams]


def restart(roles, i):
    """By the book: SIGTERM, its end with code 0, a new process of the same name."""
    begin = time.monotonic()
    roles.workers[i].signal(signal.SIGTERM)
    assert roles.workers[i].wait(30) == 0, roles.workers[i].err
    gone = time.monotonic() - begin
    assert "told to end" in roles.workers[i].err
    assert ready_workers(roles) == {f"alone-{j}" for j in range(roles.count) if j != i}
    roles.workers[i] = roles.start_worker(i)
    wait_until(lambda: len(ready_workers(roles)) == roles.count, 60, "the worker's return")
    print(f"\nalone-{i}: left after {gone:.2f} s, back after {time.monotonic() - begin:.2f} s")


def test_the_last_worker_does_not_wait_for_others(sandbox):
    roles = Roles(sandbox, workers=1, timeout=60)
    stream = Stream(connect(roles.clients), text="Once upon a time", max_tokens=300, temperature=0,
                    ignore_eos=True)
    stream.wait_for_tokens(20)
    begin = time.monotonic()
    roles.workers[0].signal(signal.SIGTERM)
    assert roles.workers[0].wait(10) == 0
    assert time.monotonic() - begin < 5
    roles.workers[0] = roles.start_worker(0)
    assert len(stream.result(120)) == 300, "the stream waits for the worker's return"


def test_a_worker_that_nobody_lets_go_ends_within_its_grace(sandbox):
    roles = Roles(sandbox, workers=2, timeout=60, worker_options=["--drain", 1])
    roles.coordinator.signal(signal.SIGSTOP)
    begin = time.monotonic()
    roles.workers[1].signal(signal.SIGTERM)
    assert roles.workers[1].wait(10) == 0
    assert time.monotonic() - begin < 6
    roles.coordinator.signal(signal.SIGCONT)


def test_a_second_signal_ends_it_at_once(sandbox):
    roles = Roles(sandbox, workers=2, timeout=60)
    roles.coordinator.signal(signal.SIGSTOP)
    roles.workers[1].signal(signal.SIGTERM)
    wait_until(lambda: "told to end" in roles.workers[1].err, 10, "the first signal")
    os.kill(roles.workers[1].pid, signal.SIGTERM)
    assert roles.workers[1].wait(5) == 128 + signal.SIGTERM
    roles.coordinator.signal(signal.SIGCONT)
