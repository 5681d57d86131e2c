"""Every overlay renders, is what Kubernetes takes, holds together, and names flags that exist; and
mistakes planted in it are found."""
import copy
import re

import pytest
import yaml

from deploy.invariants import violations
from deploy.rendering import (
    ADDED, KUBERNETES, OVERLAYS, container, needs_kubectl, one, pod, render, render_with,
    schema_errors)
from deploy.workloads import component, containers, serves, workloads
from support.cluster import ROOT

pytestmark = needs_kubectl


@pytest.fixture(scope="module", params=[*OVERLAYS, *(f"{each} and more" for each in ADDED)])
def overlay(request, tmp_path_factory):
    name = request.param.split()[0]
    if name == request.param:
        return render(name)
    return render_with(name, ADDED[name], tmp_path_factory.mktemp(name))


def test_every_component_is_rendered():
    used = {each for added in ADDED.values() for each in added}
    for name in OVERLAYS:
        text = (KUBERNETES / "overlays" / name / "kustomization.yaml").read_text()
        used |= {path.rsplit("/", 1)[-1] for path in yaml.safe_load(text).get("components", [])}
    assert used == {path.name for path in (KUBERNETES / "components").iterdir()}


def test_what_the_readme_applies_is_there():
    text = (ROOT / "deploy" / "README.md").read_text()
    paths = re.findall(r"(?:-k|-f) (deploy/\S+)", text)
    assert {f"deploy/kubernetes/overlays/{name}" for name in OVERLAYS} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_loader_of_weights_fits(mixed):
    loader = yaml.safe_load(
        (KUBERNETES / "components" / "weights-claim" / "loader.yaml").read_text())
    assert schema_errors([loader]) == []
    claim = loader["spec"]["volumes"][0]["persistentVolumeClaim"]
    assert one(mixed, "PersistentVolumeClaim", claim["claimName"]) and not claim.get("readOnly")
    [container] = loader["spec"]["containers"]
    assert container["volumeMounts"][0]["mountPath"] == "/model"
    for field in ("securityContext", "automountServiceAccountToken"):
        assert loader["spec"][field] == pod(mixed)[field], "its namespace is restricted"
    assert container["securityContext"] == containers(workloads(mixed)[0])[0]["securityContext"]


def test_the_rules_are_those_of_the_file(mixed):
    rules = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text())
    assert one(mixed, "PrometheusRule", "headlong")["spec"] == rules


@pytest.fixture(scope="module")
def mixed():
    return render("mixed-pools")


def test_schema(overlay):
    assert schema_errors(overlay) == []


def test_invariants(overlay):
    assert violations(overlay) == []


def test_flags_are_the_programs(overlay, module_sandbox):
    known = {role: set(re.findall(r"--[a-z][-a-z]*", module_sandbox.run(role, "--help").out))
             for role in ("coordinator", "worker", "serve")}
    for workload in workloads(overlay):
        for container in containers(workload):
            role, *flags = container["args"]
            assert role == ("serve" if serves(workload) else component(workload))
            assert {flag.split("=")[0] for flag in flags} <= known[role]


def affinity(objects, name):
    return pod(objects, name)["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0][
        "matchExpressions"][0]


# Each plants one mistake.
MISTAKES = {
    "misspelt field": lambda o: container(o).update(imagePullpolicy="Always"),
    "management policy": lambda o: one(o, "StatefulSet", "worker-compute")["spec"].update(
        podManagementPolicy="Paralel"),
    "toleration effect": lambda o: pod(o)["tolerations"][0].update(effect="NoShedule"),
    "affinity operator": lambda o: affinity(o, "worker-compute").update(operator="Existz"),
    "pools exchanged": lambda o: affinity(o, "worker-memory-rich").update(operator="Lt"),
    "memory with a unit": lambda o: affinity(o, "worker-compute").update(values=["24Gi"]),
    "quantity": lambda o: container(o)["resources"]["limits"].update(memory="16GiB"),
    "GPU count": lambda o: container(o)["resources"]["limits"].update({"nvidia.com/gpu": "one"}),
    "GPU requests": lambda o: container(o)["resources"]["requests"].update({"nvidia.com/gpu": 2}),
    "memory requests": lambda o: container(o)["resources"]["requests"].update(memory="1Gi"),
    "port number": lambda o: container(o)["ports"][0].update(containerPort=70099),
    "service port": lambda o: one(o, "Service", "headlong")["spec"]["ports"][0].update(
        targetPort="client"),
    "policy port": lambda o: one(o, "NetworkPolicy", "coordinator")["spec"]["ingress"][1][
        "ports"][0].update(port="worker"),
    "policy protocol": lambda o: one(o, "NetworkPolicy", "names")["spec"]["egress"][0]["ports"][
        0].update(protocol="UPD"),
    "policy of nobody": lambda o: one(o, "NetworkPolicy", "workers")["spec"]["podSelector"].update(
        matchLabels={"app.kubernetes.io/component": "workers"}),
    "open by default": lambda o: o.remove(one(o, "NetworkPolicy", "deny-all")),
    "service name": lambda o: one(o, "StatefulSet", "worker-compute")["spec"].update(
        serviceName="worker"),
    "service with an address": lambda o: one(o, "Service", "workers")["spec"].pop("clusterIP"),
    "names only when ready": lambda o: one(o, "Service", "coordinator")["spec"].pop(
        "publishNotReadyAddresses"),
    "service of nobody": lambda o: one(o, "Service", "headlong")["spec"]["selector"].update(
        {"app.kubernetes.io/component": "coordinater"}),
    "budget of nobody": lambda o: one(o, "PodDisruptionBudget", "workers")["spec"]["selector"][
        "matchLabels"].update({"app.kubernetes.io/name": "headlon"}),
    "selector of other pods": lambda o: one(o, "StatefulSet", "worker-compute")["spec"]["selector"][
        "matchLabels"].update({"headlong.dev/pool": "memory-rich"}),
    "object name": lambda o: one(o, "Service", "headlong")["metadata"].update(name="Headlong_1"),
    "object twice": lambda o: o.append(copy.deepcopy(one(o, "Service", "headlong"))),
    "mount without volume": lambda o: container(o)["volumeMounts"][0].update(name="models"),
    "unknown secret": lambda o: pod(o)["volumes"][1]["secret"].update(secretName="worker-tsl"),
    "unknown claim": lambda o: pod(o)["volumes"][0]["persistentVolumeClaim"].update(
        claimName="weights"),
    "no shared memory": lambda o: container(o).update(
        volumeMounts=container(o)["volumeMounts"][:2]),
    "probe of another service": lambda o: container(o)["readinessProbe"]["grpc"].update(
        service="liveness"),
    "probe of another port": lambda o: container(o)["livenessProbe"]["grpc"].update(port=7010),
    "no startup probe": lambda o: container(o).pop("startupProbe"),
    "root": lambda o: pod(o)["securityContext"].update(runAsUser=0),
    "capabilities": lambda o: container(o)["securityContext"].pop("capabilities"),
    "root filesystem": lambda o: container(o)["securityContext"].update(
        readOnlyRootFilesystem=False),
    "grace": lambda o: pod(o, "coordinator").update(terminationGracePeriodSeconds=30),
    "grace of workers": lambda o: pod(o).update(terminationGracePeriodSeconds=30),
    "scraped elsewhere": lambda o: one(o, "StatefulSet", "worker-compute")["spec"]["template"][
        "metadata"]["annotations"].update({"prometheus.io/port": "9091"}),
    "metrics nowhere": lambda o: container(o)["args"].remove("--metrics-listen=$(POD_IP):9090"),
    "metrics behind the policy": lambda o: one(o, "NetworkPolicy", "workers")["spec"]["ingress"][
        1]["ports"].pop(),
    "workers counted wrong": lambda o: one(o, "StatefulSet", "worker-compute")["spec"].update(
        replicas=5),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mixed, mistake):
    planted = copy.deepcopy(mixed)
    MISTAKES[mistake](planted)
    assert planted != mixed, "nothing was planted"
    assert schema_errors(planted) or violations(planted)
