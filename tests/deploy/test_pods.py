"""The CPU overlay's pods, really running: probed, asked through the service, killed, rolled."""
import os
import shutil
import subprocess
import threading

import grpc
import pytest

from deploy.pods import Kubelet
from deploy.rendering import needs_kubectl, render
from support.cluster import ROOT, Stream, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing root and user needs root")
needs_unshare = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
    reason="mounting /proc for a pod is not allowed here")
pytestmark = [needs_kubectl, needs_root, needs_unshare]

# Rounding that does not depend on who else is in a batch: tokens can be compared.
EXACT = ["--dtype=fp32", "--max-context=1024"]
TOKENS = 60


class Cluster(Kubelet):
    def __init__(self, sandbox):
        subprocess.run([ROOT / "dev", "image", "--files"], check=True, capture_output=True)
        self.sandbox = sandbox
        secrets = self._make_secrets()
        super().__init__(render("cpu-demo"), ROOT / "build" / "image", sandbox.folder, secrets,
                         {"coordinator": EXACT})

    def _make_secrets(self):
        """As README.md says."""
        folder = self.sandbox.folder / "certs"
        self._run("certs", "init", folder)
        hosts = ["coordinator.headlong.svc", "headlong.headlong.svc", "localhost"]
        self._run("certs", "issue", folder, "coordinator", "--role", "coordinator",
                  *(word for host in hosts for word in ("--host", host)))
        self._run("certs", "issue", folder, "worker", "--role", "worker")
        secrets = {}
        for role in ("coordinator", "worker"):
            secret = self.sandbox.folder / f"{role}-tls"
            secret.mkdir()
            for source, target in ((f"{role}.crt", "tls.crt"), (f"{role}.key", "tls.key"),
                                   ("ca.crt", "ca.crt")):
                shutil.copy(folder / source, secret / target)
            secrets[f"{role}-tls"] = secret
        self.authority = (folder / "ca.crt").read_bytes()
        tokens = self.sandbox.folder / "access"
        tokens.mkdir()
        self.token = self._run("auth", "token", "create", tokens / "tokens", "root", "--scopes",
                               "infer,admin").strip()
        secrets["access-tokens"] = tokens
        return secrets

    def _run(self, *args):
        done = self.sandbox.run(*args)
        assert done.code == 0, done
        return done.out

    def channel(self):
        """To the service, by the name that its certificate has."""
        [address] = self.addresses_of("headlong")
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(self.authority),
            grpc.access_token_call_credentials(self.token))
        options = [("grpc.ssl_target_name_override", "headlong.headlong.svc")]
        return grpc.secure_channel(f"{address}:7000", credentials, options=options)

    def workers(self):
        return [pod for name, pod in self.pods.items() if name.startswith("worker-")]


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    made = Cluster(module_sandbox)
    try:
        made.start()
        yield made
    finally:
        made.close()


def ask(channel, seed):
    return Stream(channel, text="Once upon a time", temperature=0.8, seed=seed,
                  max_tokens=TOKENS, ignore_eos=True)


class Load:
    """So many clients that ask again and again, and hold every answer against the undisturbed."""

    def __init__(self, cluster, clients=8):
        self._stop = threading.Event()
        self.answers, self.failures = 0, []
        with cluster.channel() as channel:
            expected = [ask(channel, seed).result() for seed in range(clients)]
        self._threads = [threading.Thread(target=self._run, args=(cluster, seed, expected[seed]))
                         for seed in range(clients)]

    def _run(self, cluster, seed, expected):
        with cluster.channel() as channel:
            while not self._stop.is_set():
                try:
                    if ask(channel, seed).result(60) != expected:
                        self.failures.append(f"seed {seed}: other tokens")
                except Exception as error:  # whatever a client could meet
                    self.failures.append(f"seed {seed}: {error}")
                self.answers += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_prompt_through_the_service(cluster):
    for pod in cluster.pods.values():
        assert pod.probe("startup") and pod.probe("liveness") and pod.probe("readiness")
    with cluster.channel() as channel:
        assert len(ask(channel, 1).result()) == TOKENS


def test_a_killed_pod_costs_no_request(cluster):
    victim = cluster.workers()[0]
    with Load(cluster, clients=4) as load:
        wait_until(lambda: load.answers >= 4, 60, "answers")
        victim.kill()
        victim.start().wait_until_ready()
        before = load.answers
        wait_until(lambda: load.answers >= before + 8, 90, "answers after the death")
    assert load.failures == []


def test_rolling_all_workers_under_load_fails_no_request(cluster):
    with Load(cluster) as load:
        for pod in cluster.workers():
            before = load.answers
            wait_until(lambda: load.answers >= before + 4, 90, "answers between two restarts")
            assert pod.delete() < 25
            assert pod.start().process.poll() is None
            pod.wait_until_ready()
        before = load.answers
        wait_until(lambda: load.answers >= before + 8, 90, "answers after the last restart")
    assert load.failures == []


def test_the_image_holds_the_program_and_nothing_to_abuse(cluster):
    files = [path for path in cluster.image.rglob("*") if path.is_file()]
    assert {path.name for path in (cluster.image / "bin").iterdir()} == {"headlong"}
    assert not [path for path in files if path.stat().st_mode & 0o6002]
