"""Signals: what runs ends in order, or at once when asked twice, and takes its workers along."""
import signal
import time

import pytest

from support.cluster import MODEL, Stream, wait_until

LONG = dict(text="Once upon a time", temperature=0, max_tokens=20000, ignore_eos=True)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_idle_server_ends(sandbox, number, code):
    server = sandbox.serve("--workers", 2)
    begin = time.monotonic()
    assert server.stop(number) == code
    assert time.monotonic() - begin < 5
    sandbox.assert_nothing_left(1)


def test_server_lets_running_requests_finish(sandbox):
    server = sandbox.serve("--workers", 2)
    stream = Stream(server.channel, text="Once upon a time", max_tokens=400, ignore_eos=True)
    stream.wait_for_tokens(1)
    server.signal(signal.SIGTERM)
    assert len(stream.result()) == 400
    assert server.wait(10) == 0
    sandbox.assert_nothing_left(1)


def test_drain_has_an_end(sandbox):
    server = sandbox.serve("--workers", 2, "--drain", 1)
    stream = Stream(server.channel, **LONG)
    stream.wait_for_tokens(1)
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait(15) == 0
    assert time.monotonic() - begin < 8
    stream._thread.join(5)
    assert stream.error is not None or stream.finished is not None
    sandbox.assert_nothing_left(1)


def test_second_signal_ends_at_once(sandbox):
    server = sandbox.serve("--workers", 2)
    stream = Stream(server.channel, **LONG)
    stream.wait_for_tokens(1)
    server.signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.popen.poll() is None, "it drains"
    begin = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.wait(5) == 130
    assert time.monotonic() - begin < 2
    sandbox.assert_nothing_left(2)


@pytest.mark.parametrize("embedded", [True, False])
def test_generate_is_interrupted(sandbox, embedded):
    target = ["--model", MODEL, "--workers", 2]
    if not embedded:
        server = sandbox.serve("--workers", 2)
        target = ["--server", server.address]
    command = sandbox.spawn("generate", "--prompt", "Once upon a time", "--max-tokens", 20000,
                            "--ignore-eos", *target)
    command.wait_for_output(" ", 30)
    begin = time.monotonic()
    command.signal(signal.SIGINT)
    assert command.wait(10) == 130
    assert time.monotonic() - begin < 5
    if not embedded:
        wait_until(lambda: server.json("cluster", "status")["cache_bytes_used"] == 0, 3,
                   "the interrupted request's cache to be freed")
        server.stop()
    sandbox.assert_nothing_left(2)


def test_interrupt_while_the_cluster_starts(sandbox):
    for delay in [0.0, 0.05, 0.2, 0.5]:
        command = sandbox.spawn("serve", "--model", MODEL, "--workers", 3, "--listen",
                                "127.0.0.1:0")
        time.sleep(delay)
        command.signal(signal.SIGINT)
        # Before its handler stands the signal ends it as any program.
        assert command.wait(10) in (130, -signal.SIGINT)
        sandbox.assert_nothing_left(3)
