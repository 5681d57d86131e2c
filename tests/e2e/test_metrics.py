"""GET /metrics on a live server: what Prometheus reads, and what dashboard and alerts ask for."""
import json
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.cluster import ROOT

MONITORING = ROOT / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def server(module_sandbox):
    return module_sandbox.serve("--workers", "2", "--threads", "1", "--max-context", "1024",
                                "--metrics-listen", "127.0.0.1:0")


def scrape(server):
    address = json.loads(server.out)["metrics_address"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return response.read().decode()


def samples(server):
    """{(name, labels): value}"""
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(scrape(server))
            for sample in family.samples}


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
    assert len(heads) == 2 and sum(heads) == 32


def test_dashboard_and_alerts_ask_for_metrics_that_are_there(server):
    subprocess.run([sys.executable, MONITORING / "make.py", "--check"], check=True)
    names = {name for name, _ in samples(server)}
    queries = [target["expr"]
               for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
               for target in panel["targets"]]
    queries += re.findall(r"expr: (.*)", (MONITORING / "alerts.yaml").read_text())
    asked = {name for query in queries for name in re.findall(r"headlong_\w+", query)}
    assert len(asked) > 15
    assert asked <= names, f"nobody exports {sorted(asked - names)}"


def test_promtool_agrees(server):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (of Debian's package prometheus) is not installed")
    subprocess.run([promtool, "check", "rules", MONITORING / "alerts.yaml"], check=True)
    subprocess.run([promtool, "check", "metrics"], input=scrape(server).encode(), check=True)


def test_a_port_in_use_is_named(server, sandbox):
    address = json.loads(server.out)["metrics_address"]
    second = sandbox.run("serve", "--listen", "127.0.0.1:0", "--metrics-listen", address,
                         "--workers", "1")
    assert second.code == 1
    assert "--metrics-listen" in second.err and address in second.err
