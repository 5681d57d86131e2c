"""The CPU overlay's pods, really running: probed, asked through the service, killed, rolled."""
import json
import shutil
import subprocess
import threading

import grpc
import pytest

from deploy.pod_network import missing, reaches
from deploy.pods import Client, Kubelet
from deploy.rendering import needs_kubectl, render
from deploy.workloads import containers, workloads
from support.cluster import ROOT, Stream, wait_until

needs_networks = pytest.mark.skipif(missing() is not None,
                                    reason=f"no network namespaces here: {missing()}")
needs_nft = pytest.mark.skipif(shutil.which("nft") is None,
                               reason="nft, which enforces policies, is not installed")
pytestmark = [needs_kubectl, needs_networks, needs_nft]

# Rounding that does not depend on who else is in a batch: tokens can be compared.
EXACT = ["--dtype=fp32", "--max-context=1024"]
TOKENS = 60


class Cluster(Kubelet):
    def __init__(self, sandbox):
        subprocess.run([ROOT / "dev", "image", "--files"], check=True, capture_output=True)
        self.sandbox = sandbox
        secrets = self._make_secrets()
        super().__init__(render("cpu-demo"), ROOT / "build" / "image" / "root", sandbox.folder,
                         secrets, {"coordinator": EXACT, "worker": ["--threads=1"]})

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

    def running_tokens(self):
        """Of the request that has most."""
        from headlong.v1 import admin_pb2, admin_pb2_grpc

        with self.channel() as channel:
            listed = admin_pb2_grpc.AdminStub(channel).ListRequests(
                admin_pb2.ListRequestsRequest(), timeout=10)
        return max((each.completion_tokens for each in listed.requests), default=0)

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
    return Stream(channel, text="Once upon a time", temperature=0.8, top_k=5, seed=seed,
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


@pytest.fixture(scope="module")
def client(cluster):
    return Client(cluster, {"ca.crt": cluster.authority, "token": cluster.token.encode()})


GENERATE = ["generate", "--server", "headlong.headlong.svc:7000", "--tls-ca", "/ca.crt",
            "--token-file", "/token", "--prompt", "Once upon a time", "--temperature", "0.8",
            "--top-k", "5", "--seed", "3", "--ignore-eos", "-o", "json"]


def test_a_prompt_through_the_service(cluster, client):
    for pod in cluster.pods.values():
        assert pod.probe("startup") and pod.probe("liveness") and pod.probe("readiness")
    answer = json.loads(client.run(*GENERATE, "--max-tokens", TOKENS))
    assert len(answer["token_ids"]) == TOKENS
    with cluster.channel() as channel:
        assert ask(channel, 3).result() == answer["token_ids"]


def test_policies_keep_strangers_out(cluster, client):
    coordinator, worker = cluster.pods["coordinator-0"], cluster.workers()[0]
    assert reaches(client.network, coordinator.address, 7000)
    assert reaches(client.network, worker.address, 9090)
    assert not reaches(client.network, coordinator.address, 7001), "the workers' port"
    # Sums go over ports that the workers choose: any of them, for workers alone.
    listener = subprocess.Popen(worker.network.enter("python3", "-m", "http.server", 23456),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        other = cluster.workers()[1]
        wait_until(lambda: reaches(other.network, worker.address, 23456), 10, "the listener")
        assert not reaches(client.network, worker.address, 23456)
        assert not reaches(coordinator.network, worker.address, 23456)
    finally:
        listener.kill()
        listener.wait()


def test_a_coordinator_that_is_killed_finds_its_workers_again(cluster, client):
    coordinator = cluster.pods["coordinator-0"]
    processes = [pod.process.pid for pod in cluster.workers()]
    whole = json.loads(client.run(*GENERATE, "--max-tokens", 250))
    asked = client.begin(*GENERATE, "--max-tokens", 250)
    wait_until(lambda: cluster.running_tokens() > 50, 60, "tokens")
    coordinator.kill()
    coordinator.start().wait_until_ready()
    out, error = asked.communicate(timeout=60)
    assert asked.returncode == 0 and "lost the server" in error, error
    assert json.loads(out)["token_ids"] == whole["token_ids"]
    old = coordinator.address
    coordinator.delete()
    coordinator.start().wait_until_ready()
    assert coordinator.address != old, "a new pod"
    again = json.loads(client.run(*GENERATE, "--max-tokens", TOKENS))
    assert again["token_ids"] == whole["token_ids"][:TOKENS]
    assert [pod.process.pid for pod in cluster.workers()] == processes
    assert all(pod.process.poll() is None for pod in cluster.workers())


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
            pod.start().wait_until_ready()
        before = load.answers
        wait_until(lambda: load.answers >= before + 8, 90, "answers after the last restart")
    assert load.failures == []


def test_one_machine_serves_from_one_pod(cluster):
    """The pod of eight GPUs, with two workers on CPUs in their stead."""
    objects = render("single-node-8gpu")
    [workload] = workloads(objects)
    arguments = containers(workload)[0]["args"]
    arguments[arguments.index("--workers=8")] = "--workers=2"
    arguments[arguments.index("--device=cuda")] = "--device=cpu"
    machine = Kubelet(objects, cluster.image, cluster.folder / "machine", cluster.secrets,
                      {"coordinator": ["--threads=1", *EXACT]})
    try:
        machine.start()
        [pod] = machine.pods.values()
        assert pod.probe("startup") and pod.probe("liveness")
        client = Client(machine, {"ca.crt": cluster.authority, "token": cluster.token.encode()})
        answer = json.loads(client.run(*GENERATE, "--max-tokens", 20))
        assert len(answer["token_ids"]) == 20
        assert reaches(client.network, pod.address, 9090)
        assert pod.delete() < 25
    finally:
        machine.close()
