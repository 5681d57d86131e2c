"""The coordinator dies: clients hear of it, children of `serve` die with it, and workers that were
started alone keep their weights for a while and register again."""
import os
import signal
import time

import pytest

from support.cluster import MODEL, Stream, connect, is_alive, wait_until
from support.roles import Roles


def test_killed_serve_takes_its_workers_along(sandbox):
    server = sandbox.serve("--workers", 2)
    pids = [worker["pid"] for worker in server.workers().values()]
    stream = Stream(server.channel, text="x", max_tokens=20000, ignore_eos=True)
    stream.wait_for_tokens(5)
    os.kill(server.pid, signal.SIGKILL)
    server.wait(5)
    wait_until(lambda: not any(map(is_alive, pids)), 5, "the workers to end")
    with pytest.raises(Exception, match="UNAVAILABLE"):
        stream.result(10)


def test_client_hears_of_a_killed_coordinator(sandbox):
    roles = Roles(sandbox, workers=2, timeout=2)
    client = sandbox.spawn("generate", "--server", roles.clients, "--prompt", "Once upon a time",
                           "--max-tokens", 20000, "--ignore-eos", "--reconnect", 1)
    client.wait_for_output(" ", 30)
    os.kill(roles.coordinator.pid, signal.SIGKILL)
    assert client.wait(5) == 5
    assert "headlong: " in client.err
    for worker in roles.workers:
        assert worker.wait(15) == 5
        assert roles.links in worker.err
    sandbox.assert_nothing_left(1)


def test_workers_register_again_with_a_new_coordinator(sandbox):
    roles = Roles(sandbox, workers=2, timeout=60)
    request = dict(text="Once upon a time", temperature=0, max_tokens=32, ignore_eos=True)
    before = Stream(connect(roles.clients), **request).result()
    os.kill(roles.coordinator.pid, signal.SIGKILL)
    roles.coordinator.wait(5)
    time.sleep(0.5)
    roles.coordinator = roles.start_coordinator()
    roles.wait_until_serving()
    assert all(worker.popen.poll() is None for worker in roles.workers)
    assert Stream(connect(roles.clients), **request).result() == before


def test_worker_of_another_model_is_refused(sandbox):
    other = sandbox.folder / "other"
    other.mkdir()
    for name in ["config.json", "tokenizer.json", "model.safetensors"]:
        (other / name).write_bytes((MODEL / name).read_bytes())
    # The same tensors in a header of other bytes: another fingerprint.
    raw = (other / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8:8 + length] + b" " * 8
    (other / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + raw[8 + length:])
    roles = Roles(sandbox, workers=1, timeout=60)
    refused = sandbox.run("worker", "--coordinator", roles.links, "--id", "stranger", "--model",
                          other, "--coordinator-timeout", 5, timeout=30)
    assert refused.code not in (0, 130) and "fingerprint" in refused.err, refused


def test_survivor_goes_on_alone(sandbox):
    roles = Roles(sandbox, workers=2, timeout=60)
    request = dict(text="Once upon a time", temperature=0, max_tokens=300, ignore_eos=True)
    whole = Stream(connect(roles.clients), **request).result()
    stream = Stream(connect(roles.clients), **request)
    stream.wait_for_tokens(40)
    os.kill(roles.workers[1].pid, signal.SIGKILL)  # nobody starts it again
    assert stream.result(30) == whole
