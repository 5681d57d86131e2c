"""Mistakes planted in what components and the overlay of one machine add are found, too."""
import copy

import pytest

from deploy.invariants import violations
from deploy.rendering import (
    ADDED, container, needs_kubectl, one, pod, render, render_with, schema_errors)

pytestmark = needs_kubectl


def certificate(objects, name):
    return one(objects, "Certificate", name)["spec"]


def endpoint(objects):
    return one(objects, "PodMonitor", "headlong")["spec"]["podMetricsEndpoints"][0]


def rule(objects):
    return one(objects, "PrometheusRule", "headlong")["spec"]["groups"][0]["rules"][0]


def scaling(objects):
    return one(objects, "ScaledObject", "worker")["spec"]


def query(objects):
    return scaling(objects)["triggers"][0]["metadata"]


def volume(objects, name):
    [found] = [v for v in pod(objects, "worker-compute")["volumes"] if v["name"] == name]
    return found


# cpu-demo with certificates, monitoring and autoscaling.
DEMO = {
    "no authority": lambda o: certificate(o, "authority").pop("isCA"),
    "issuer that is not there": lambda o: certificate(o, "worker")["issuerRef"].update(
        name="authorities"),
    "issuer of another secret": lambda o: one(o, "Issuer", "authority")["spec"]["ca"].update(
        secretName="ca"),
    "issuer of two kinds": lambda o: one(o, "Issuer", "authority")["spec"].update(selfSigned={}),
    "secret that nobody mounts": lambda o: certificate(o, "worker").update(
        secretName="workers-tls"),
    "two of one secret": lambda o: certificate(o, "worker").update(secretName="coordinator-tls"),
    "worker's role": lambda o: certificate(o, "worker").update(uris=["spiffe://headlong/workers"]),
    "coordinator's role": lambda o: certificate(o, "coordinator").update(
        uris=["spiffe://headlong/worker"]),
    "no role": lambda o: certificate(o, "coordinator").pop("uris"),
    "name that workers dial": lambda o: certificate(o, "coordinator")["dnsNames"].pop(0),
    "name that clients dial": lambda o: certificate(o, "coordinator")["dnsNames"].pop(1),
    "certificate of no server": lambda o: certificate(o, "coordinator").update(
        usages=["client auth"]),
    "certificate of no client": lambda o: certificate(o, "worker").update(usages=["server auth"]),
    "usage": lambda o: certificate(o, "worker").update(usages=["client-auth"]),
    "duration in days": lambda o: certificate(o, "worker").update(duration="90d"),
    "renewed at once": lambda o: certificate(o, "worker").update(renewBefore="2159h"),
    "misspelt field": lambda o: certificate(o, "worker").update(secretname="x"),
    "another key": lambda o: certificate(o, "worker")["privateKey"].update(algorithm="Ecdsa"),
    "file that the secret lacks": lambda o: container(o, "worker")["args"].__setitem__(
        7, "--tls-cert=/tls/worker.crt"),
    "version of the kind": lambda o: one(o, "PodMonitor", "headlong").update(
        apiVersion="monitoring.coreos.com/v1alpha1"),
    "monitor of nobody": lambda o: one(o, "PodMonitor", "headlong")["spec"]["selector"].update(
        matchLabels={"app": "headlong"}),
    "port to scrape": lambda o: endpoint(o).update(port="metric"),
    "interval": lambda o: endpoint(o).update(interval="15 seconds"),
    "misspelt interval": lambda o: endpoint(o).update(intervall="15s"),
    "timeout": lambda o: endpoint(o).update(scrapeTimeout="30s"),
    "rule without expression": lambda o: rule(o).pop("expr"),
    "rule's severity": lambda o: rule(o)["labels"].update(severity="warn"),
    "dashboard unseen": lambda o: one(o, "ConfigMap", "headlong-dashboard")["metadata"]["labels"]
    .clear(),
    "dashboard cut off": lambda o: one(o, "ConfigMap", "headlong-dashboard")["data"].update(
        {"dashboard.json": "{}"}),
    "scales nobody": lambda o: scaling(o)["scaleTargetRef"].update(name="workers"),
    "scales the coordinator": lambda o: scaling(o)["scaleTargetRef"].update(name="coordinator"),
    "starts with others": lambda o: scaling(o).update(minReplicaCount=1),
    "never scales": lambda o: scaling(o).update(maxReplicaCount=2),
    "threshold": lambda o: query(o).update(threshold=16),
    "address of Prometheus": lambda o: query(o).update(serverAddress="prometheus:9090"),
    "another namespace": lambda o: query(o).update(
        query='max(headlong_requests_waiting{namespace="default"})'),
    "trigger": lambda o: scaling(o)["triggers"][0].update(type="promtheus"),
}

# mixed-pools with adapters and the model as an image.
POOLS = {
    "adapters that differ": lambda o: container(o)["resources"]["requests"].update(
        {"rdma/hca_shared_devices_a": 2}),
    "half an adapter": lambda o: [container(o)["resources"][part].update(
        {"rdma/hca_shared_devices_a": "0.5"}) for part in ("requests", "limits")],
    "adapters unused": lambda o: container(o)["env"].pop(2),
    "no adapters": lambda o: [container(o)["resources"][part].pop("rdma/hca_shared_devices_a")
                              for part in ("requests", "limits")],
    "image without a tag": lambda o: volume(o, "model")["image"].update(
        reference="registry.example/models/llama"),
    "pull policy": lambda o: volume(o, "model")["image"].update(pullPolicy="IfMissing"),
    "image volume's field": lambda o: volume(o, "model")["image"].update(ref="x"),
}

# One machine.
MACHINE = {
    "workers and GPUs": lambda o: container(o, "coordinator")["args"].__setitem__(
        2, "--workers=4"),
    "not on GPUs": lambda o: container(o, "coordinator")["args"].remove("--device=cuda"),
    "GPU limits": lambda o: container(o, "coordinator")["resources"]["limits"].update(
        {"nvidia.com/gpu": 4}),
    "no shared memory": lambda o: container(o, "coordinator")["volumeMounts"].pop(0),
    "no claim": lambda o: o.remove(one(o, "PersistentVolumeClaim", "model")),
    "access mode": lambda o: one(o, "PersistentVolumeClaim", "model")["spec"].update(
        accessMode="ReadWriteMany"),
    "key of no secret": lambda o: pod(o, "coordinator")["volumes"][2].update(name="certs"),
    "policy for workers": lambda o: one(o, "NetworkPolicy", "coordinator")["spec"]["ingress"][0][
        "ports"].append({"port": "workers"}),
}
PLANTED = [(place, mistake) for place, mistakes in (
    ("cpu-demo", DEMO), ("mixed-pools", POOLS), ("single-node-8gpu", MACHINE))
    for mistake in mistakes]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return {name: render(name) if name == "single-node-8gpu" else render_with(
        name, ADDED[name], tmp_path_factory.mktemp(name)) for name in ADDED}


@pytest.mark.parametrize("place, mistake", PLANTED)
def test_a_planted_mistake_is_found(rendered, place, mistake):
    planted = copy.deepcopy(rendered[place])
    assert not schema_errors(planted) and not violations(planted)
    {"cpu-demo": DEMO, "mixed-pools": POOLS, "single-node-8gpu": MACHINE}[place][mistake](planted)
    assert planted != rendered[place], "nothing was planted"
    assert schema_errors(planted) or violations(planted)
