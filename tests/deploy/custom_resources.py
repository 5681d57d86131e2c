"""What must hold of objects whose kinds are not Kubernetes' own: cert-manager's, Prometheus'
operator's and KEDA's. Their schemas are no package; those here are closed and hold the fields that
are used, so a field that is misspelt is found. References are held against the other objects.
"""
import json
import re

import jsonschema

from deploy.workloads import (
    argument, component, containers, pod_labels, pod_of, selects, serves, workloads)

COORDINATOR_URI = "spiffe://headlong/coordinator"
WORKER_URI = "spiffe://headlong/worker"
TLS_KEYS = {"tls.crt", "tls.key", "ca.crt"}  # of the Secrets that cert-manager writes


def closed(required, **optional):
    return {"type": "object", "required": list(required), "additionalProperties": False,
            "properties": {**required, **optional}}


def items(schema):
    return {"type": "array", "minItems": 1, "items": schema}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
DURATION = {"type": "string", "pattern": r"^(\d+(h|m|s|ms))+$"}
ISSUER = closed({"name": TEXT, "kind": {"enum": ["Issuer", "ClusterIssuer"]}})
KEY = closed({"algorithm": {"const": "ECDSA"}, "size": {"const": 256}},
             rotationPolicy={"enum": ["Always", "Never"]})
USAGE = {"enum": ["digital signature", "server auth", "client auth", "cert sign", "crl sign"]}
SCALING = closed({"stabilizationWindowSeconds": COUNT, "policies": items(closed({
    "type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": COUNT}))})
RULE = closed({"alert": TEXT, "expr": TEXT, "for": DURATION,
               "labels": closed({"severity": {"enum": ["warning", "critical"]}}),
               "annotations": closed({"summary": TEXT})})

SPECS = {
    "cert-manager.io/v1 Issuer": {"oneOf": [
        closed({"selfSigned": closed({})}), closed({"ca": closed({"secretName": TEXT})})]},
    "cert-manager.io/v1 Certificate": closed(
        {"secretName": TEXT, "issuerRef": ISSUER, "privateKey": KEY, "duration": DURATION,
         "usages": items(USAGE)},
        isCA={"type": "boolean"}, commonName=TEXT, uris=items(TEXT), dnsNames=items(TEXT),
        renewBefore=DURATION),
    "monitoring.coreos.com/v1 PodMonitor": closed(
        {"selector": closed({"matchLabels": {"type": "object"}}),
         "podMetricsEndpoints": items(closed({"port": TEXT, "path": {"const": "/metrics"},
                                              "interval": DURATION, "scrapeTimeout": DURATION}))}),
    "monitoring.coreos.com/v1 PrometheusRule": closed(
        {"groups": items(closed({"name": TEXT, "rules": items(RULE)}))}),
    "keda.sh/v1alpha1 ScaledObject": closed(
        {"scaleTargetRef": closed({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}),
         "minReplicaCount": {"type": "integer", "minimum": 1}, "maxReplicaCount": COUNT,
         "pollingInterval": COUNT,
         "advanced": closed({"horizontalPodAutoscalerConfig": closed({"behavior": closed(
             {"scaleUp": SCALING, "scaleDown": SCALING})})}),
         "triggers": items(closed(
             {"type": {"const": "prometheus"}, "metricType": {"enum": ["Value", "AverageValue"]},
              "metadata": closed({"serverAddress": {"type": "string", "pattern": "^https?://."},
                                  "query": TEXT,
                                  "threshold": {"type": "string", "pattern": r"^\d+$"}})}))}),
}


def kind_of(o):
    return f"{o['apiVersion']} {o['kind']}"


def is_custom(o):
    return "." in o["apiVersion"].split("/")[0] and not re.match(
        r"(apps|policy|[a-z]+\.k8s\.io)(/|$)", o["apiVersion"])


def schema_error(o):
    """None, or what is wrong."""
    if kind_of(o) not in SPECS:
        return f"{kind_of(o)}: no schema for it"
    shape = closed({"apiVersion": TEXT, "kind": TEXT, "metadata": closed(
        {"name": TEXT, "namespace": TEXT}, labels={"type": "object"}), "spec": SPECS[kind_of(o)]})
    errors = list(jsonschema.Draft7Validator(shape).iter_errors(o))
    return errors[0].message if errors else None


def specs(objects, kind):
    return {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == kind}


def seconds(duration):
    unit = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(int(n) * unit[u] for n, u in re.findall(r"(\d+)(ms|h|m|s)", duration))


def mounted_secrets(workload):
    return {v["secret"]["secretName"] for v in pod_of(workload).get("volumes", [])
            if "secret" in v}


def check_certificates(objects):
    certificates, issuers = specs(objects, "Certificate"), specs(objects, "Issuer")
    if not certificates:
        return
    by_secret = {spec["secretName"]: spec for spec in certificates.values()}
    if len(by_secret) != len(certificates):
        yield "two Certificates write one Secret"
    for name, spec in certificates.items():
        if spec["issuerRef"]["kind"] == "Issuer" and spec["issuerRef"]["name"] not in issuers:
            yield f"Certificate {name}: no Issuer {spec['issuerRef']['name']}"
        if seconds(spec.get("renewBefore", "1s")) >= seconds(spec["duration"]) / 2:
            yield f"Certificate {name}: renewed again and again"
    for name, spec in issuers.items():
        secret = spec.get("ca", {}).get("secretName")
        if secret and not by_secret.get(secret, {}).get("isCA"):
            yield f"Issuer {name}: {secret} is no authority's"
    for w in workloads(objects):
        tls = [s for s in mounted_secrets(w) if s.endswith("-tls")]
        for secret in tls:
            if secret not in by_secret:
                yield f"{w['metadata']['name']}: nobody makes the Secret {secret}"
            else:
                yield from check_identity(w, by_secret[secret], objects)


def check_identity(workload, certificate, objects):
    """A certificate is what the other end will ask of it."""
    name, uris = workload["metadata"]["name"], certificate.get("uris", [])
    if component(workload) == "worker":
        if len(uris) != 1 or not re.fullmatch(WORKER_URI + r"(/[\w.-]+)?", uris[0]):
            yield f"{name}: the coordinator does not take {uris} for a worker"
        if "client auth" not in certificate["usages"]:
            yield f"{name}: a certificate that no client may show"
        return
    if uris != [COORDINATOR_URI] or "server auth" not in certificate["usages"]:
        yield f"{name}: not a coordinator's certificate"
    dialled = {argument(w, "--coordinator").split(":")[0] for w in workloads(objects)
               if component(w) == "worker"}
    dialled |= {f"{o['metadata']['name']}.{o['metadata']['namespace']}.svc" for o in objects
                if o["kind"] == "Service" and o["spec"].get("clusterIP") != "None"}
    missing = dialled - set(certificate.get("dnsNames", []))
    if missing:
        yield f"{name}: dialled as {sorted(missing)}, which its certificate does not name"


def check_tls_files(objects):
    """Flags name files that the Secret of their mount has."""
    for w in workloads(objects):
        secrets = {v["name"] for v in pod_of(w).get("volumes", []) if "secret" in v}
        for c in containers(w):
            folders = [m["mountPath"] for m in c["volumeMounts"] if m["name"] in secrets]
            for flag in ("--tls-cert", "--tls-key", "--tls-ca"):
                if flag == "--tls-ca" and serves(w):  # its workers are on its own loopback
                    continue
                folder, _, file = argument(w, flag).rpartition("/")
                if folder not in folders or file not in TLS_KEYS:
                    yield f"{w['metadata']['name']}: {flag} is in no Secret"


def check_pod_monitors(objects):
    for name, spec in specs(objects, "PodMonitor").items():
        labels = spec["selector"]["matchLabels"]
        for endpoint in spec["podMetricsEndpoints"]:
            if seconds(endpoint["scrapeTimeout"]) > seconds(endpoint["interval"]):
                yield f"PodMonitor {name}: its timeout is longer than its interval"
            for w in workloads(objects):
                ports = {p["name"] for c in containers(w) for p in c["ports"]}
                if not selects(labels, pod_labels(w)) or endpoint["port"] not in ports:
                    yield f"PodMonitor {name}: does not scrape {w['metadata']['name']}"


def check_dashboards(objects):
    for o in objects:
        if o["kind"] != "ConfigMap" or "dashboard" not in o["metadata"]["name"]:
            continue
        if o["metadata"].get("labels", {}).get("grafana_dashboard") != "1":
            yield f"ConfigMap {o['metadata']['name']}: Grafana does not find it"
        for file, text in o["data"].items():
            if not file.endswith(".json") or not json.loads(text).get("panels"):
                yield f"{file}: no dashboard"


def check_scaling(objects):
    for name, spec in specs(objects, "ScaledObject").items():
        target = spec["scaleTargetRef"]
        found = [w for w in workloads(objects) if component(w) == "worker"
                 and (w["apiVersion"], w["kind"], w["metadata"]["name"])
                 == (target["apiVersion"], target["kind"], target["name"])]
        if not found:
            yield f"ScaledObject {name}: no workers {target}"
        elif found[0]["spec"]["replicas"] != spec["minReplicaCount"]:
            yield f"ScaledObject {name}: the coordinator waits for others than it starts with"
        if spec["maxReplicaCount"] <= spec["minReplicaCount"]:
            yield f"ScaledObject {name}: never scales"
        namespaces = {o["metadata"].get("namespace") for o in objects} - {None}
        for trigger in spec["triggers"]:
            asked = set(re.findall(r'namespace="([^"]*)"', trigger["metadata"]["query"]))
            if asked != namespaces:
                yield f"ScaledObject {name}: asks for namespace {sorted(asked)}"


CHECKS = [check_certificates, check_tls_files, check_pod_monitors, check_dashboards,
          check_scaling]
