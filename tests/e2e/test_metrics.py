"""GET /metrics on a live server: what Prometheus reads, and what dashboard and alerts ask for."""
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.cluster import MODEL, ROOT, Stream, connect, free_port, wait_until
from support.roles import Roles
from support.secure_cluster import SecureCluster

MONITORING = ROOT / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def server(module_sandbox):
    return module_sandbox.serve("--workers", "2", "--threads", "1", "--max-context", "1024",
                                "--metrics-listen", "127.0.0.1:0")


@pytest.fixture(scope="module")
def roles(module_sandbox):
    """A coordinator and two workers that are scraped, each at a port of its own."""
    ports = [free_port() for _ in range(2)]
    made = Roles(module_sandbox, workers=2, timeout=60, worker_options=lambda i: [
        "--metrics-listen", f"127.0.0.1:{ports[i]}"])
    made.metrics = [f"127.0.0.1:{port}" for port in ports]
    return made


@pytest.fixture(scope="module")
def secure(module_sandbox):
    """A coordinator and a worker with certificates, scraped: [coordinator's, worker's]."""
    ports = [free_port() for _ in range(2)]
    made = SecureCluster(module_sandbox, "--metrics-listen", f"127.0.0.1:{ports[0]}")
    made.start_worker("w0", "w2", "--metrics-listen", f"127.0.0.1:{ports[1]}")
    made.metrics = [f"127.0.0.1:{port}" for port in ports]
    return made


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return response.read().decode()


def address_of(server):
    return json.loads(server.out)["metrics_address"]


def samples_at(address):
    """{(name, labels): value}"""
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(scrape(address))
            for sample in family.samples}


def samples(server):
    return samples_at(address_of(server))


def test_counts_what_clients_see(server):
    before = samples(server)
    done = server.json("generate", "--prompt", "Once upon a time", "--max-tokens", "12",
                       "--ignore-eos")
    refused = server.run("generate", "--prompt", "Once", "--max-tokens", "5000")
    assert refused.code != 0
    after = samples(server)

    def grew(name, **labels):
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0)

    assert grew("headlong_generation_tokens_total") == 12
    assert grew("headlong_prompt_tokens_total") == done["usage"]["prompt_tokens"]
    assert grew("headlong_requests_finished_total", reason="length") == 1
    assert grew("headlong_requests_finished_total", reason="error") == 0
    assert grew("headlong_requests_rejected_total", code="INVALID_ARGUMENT") == 1
    assert grew("headlong_time_to_first_token_seconds_count") == 1
    assert grew("headlong_inter_token_latency_seconds_count") == 11
    assert grew("headlong_e2e_request_latency_seconds_count") == 1
    waited = grew("headlong_e2e_request_latency_seconds_sum")
    assert 0 < grew("headlong_time_to_first_token_seconds_sum") <= waited < 60
    assert grew("headlong_step_tokens_total") == done["usage"]["prompt_tokens"] + 11
    assert grew("headlong_steps_total") in (12, 13)  # with the one that ends the sequence
    for worker in ("w0", "w1"):
        assert grew("headlong_worker_compute_seconds_total", worker=worker) > 0


def test_tells_the_state_of_the_cluster(server):
    now = samples(server)
    assert now[("headlong_serving", ())] == 1
    assert now[("headlong_placement_epoch", ())] == server.json("cluster", "status")["epoch"]
    assert now[("headlong_workers", (("state", "ready"),))] == 2
    assert now[("headlong_requests_running", ())] == 0
    assert now[("headlong_kv_cache_usage_ratio", ())] == 0
    heads = [value for (name, _), value in now.items() if name == "headlong_worker_heads"]
    # A head that is split into stripes counts on each of its workers.
    assert len(heads) == 2 and 32 <= sum(heads) <= 40


def test_a_worker_counts_its_steps(roles):
    before = samples_at(roles.metrics[0])
    stream = Stream(connect(roles.clients), text="Once upon a time", max_tokens=200,
                    ignore_eos=True)
    stream.wait_for_tokens(20)
    during = samples_at(roles.metrics[0])
    stream.result()
    after = samples_at(roles.metrics[0])

    def value(seen, name, **labels):
        return seen[(name, tuple(sorted(dict(labels, worker="alone-0").items())))]

    assert value(after, "headlong_worker_epoch") == 1
    assert value(after, "headlong_model_weights_bytes") > 1e6
    assert value(after, "headlong_sum_latency_seconds") > 0
    steps = [value(after, "headlong_worker_step_seconds_count", phase=phase)
             - value(before, "headlong_worker_step_seconds_count", phase=phase)
             for phase in ("compute", "collective")]
    assert steps[0] == steps[1] >= 200
    assert value(after, "headlong_iteration_tokens_sum") - value(
        before, "headlong_iteration_tokens_sum") == stream.finished.usage.prompt_tokens + 199
    assert value(after, "headlong_worker_faults_total", code="UNAVAILABLE") == 0
    used = sum(value(during, "headlong_kv_blocks_used", role=role)
               for role in ("retrieval", "local"))
    total = sum(value(during, "headlong_kv_blocks", role=role)
                for role in ("retrieval", "local"))
    assert 0 < used < total
    for role in ("retrieval", "local"):
        assert value(during, "headlong_cache_used_bytes", role=role) <= value(
            during, "headlong_cache_bytes", role=role)


def ends_of_certificates(address):
    """{(worker, own or authority): [seconds since 1970]}"""
    ends = {}
    for (name, labels), value in samples_at(address).items():
        if name == "headlong_cert_expiry_timestamp_seconds":
            labels = dict(labels)
            assert re.fullmatch("[0-9A-F]+", labels["serial"])
            ends.setdefault((labels.get("worker"), labels["certificate"]), []).append(value)
    return ends


def test_says_until_when_certificates_are_valid(secure):
    def days_left(name):
        shown = secure.sandbox.run("certs", "show", secure.folder / f"{name}.crt", "-o", "json")
        return shown.json()["days_left"]

    for address, worker, name in ((secure.metrics[0], None, "coordinator"),
                                  (secure.metrics[1], "w2", "w0")):
        ends = ends_of_certificates(address)
        assert set(ends) == {(worker, "own"), (worker, "authority")}
        for which, file in (("own", name), ("authority", "ca")):
            [end] = ends[worker, which]
            assert (end - time.time()) / 86400 == pytest.approx(days_left(file), abs=1e-3)
    [before] = ends_of_certificates(secure.metrics[0])[None, "own"]
    secure.issue("coordinator", "coordinator", "--host", "127.0.0.1", "--days", 3)
    authority = secure.folder / "ca.crt"
    assert secure.sandbox.run("certs", "init", secure.sandbox.folder / "next").code == 0
    authority.write_text(authority.read_text()
                         + (secure.sandbox.folder / "next" / "ca.crt").read_text())
    after = ends_of_certificates(secure.metrics[0])
    assert after[None, "own"][0] < before - 80 * 86400, "renewed, for shorter"
    assert len(after[None, "authority"]) == 2, "the old one and the next"


def test_without_certificates_nothing_is_said_of_them(server):
    assert ends_of_certificates(address_of(server)) == {}


def test_dashboard_and_alerts_ask_for_metrics_that_are_there(server, roles, secure):
    subprocess.run([sys.executable, MONITORING / "make.py", "--check"], check=True)
    names = {name for address in (address_of(server), roles.metrics[0], secure.metrics[0])
             for name, _ in samples_at(address)}
    queries = [target["expr"]
               for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
               for target in panel["targets"]]
    queries += re.findall(r"expr: (.*)", (MONITORING / "alerts.yaml").read_text())
    asked = {name for query in queries for name in re.findall(r"headlong_\w+", query)}
    assert len(asked) > 15
    assert asked <= names, f"nobody exports {sorted(asked - names)}"


def test_a_worker_counts_faults_and_bytes_that_move(roles):
    def total(name):
        return sum(value for (found, _), value in samples_at(roles.metrics[0]).items()
                   if found == name)

    stream = Stream(connect(roles.clients), text="Once", max_tokens=3000, ignore_eos=True)
    stream.wait_for_tokens(500)
    assert roles.sandbox.run("workers", "drain", "alone-1", "--server", roles.clients).code == 0
    assert roles.sandbox.run("workers", "return", "alone-1", "--server", roles.clients).code == 0
    assert total("headlong_worker_epoch") == 3
    assert total("headlong_lane_transfer_bytes_total") > 0
    roles.workers[1].popen.kill()
    wait_until(lambda: total("headlong_worker_faults_total") == 1, 20, "the fault")
    assert total("headlong_worker_epoch") == 0, "no epoch is ready"
    roles.workers[1].wait(5)
    roles.workers[1] = roles.start_worker(1)
    wait_until(lambda: total("headlong_worker_epoch") > 3, 30, "the next epoch")
    stream.cancel()


def test_promtool_agrees(server, roles, secure):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (of Debian's package prometheus) is not installed")
    subprocess.run([promtool, "check", "rules", MONITORING / "alerts.yaml"], check=True)
    for address in (address_of(server), roles.metrics[0], secure.metrics[1]):
        subprocess.run([promtool, "check", "metrics"], input=scrape(address).encode(), check=True)


def test_a_port_in_use_is_named(server, sandbox):
    address = address_of(server)
    worker = sandbox.run("worker", "--id", "w9", "--model", MODEL, "--metrics-listen", address)
    assert worker.code != 0 and "--metrics-listen" in worker.err and address in worker.err
    second = sandbox.run("serve", "--listen", "127.0.0.1:0", "--metrics-listen", address,
                         "--workers", "1")
    assert second.code == 1
    assert "--metrics-listen" in second.err and address in second.err
