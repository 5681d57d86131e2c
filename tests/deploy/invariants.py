"""What must hold of a rendered set of manifests beyond the schema of each object.

`violations(objects)` says in words what is wrong; nothing means that the pods can start, find each
other and be probed, and that what was meant to be closed is closed.
"""
import re

from deploy import custom_resources
from deploy.workloads import (
    argument, component, containers, pod_labels, pod_of, selects, serves, workloads)

ENUMS = {
    "podManagementPolicy": {"Parallel", "OrderedReady"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "protocol": {"TCP", "UDP"},
    "medium": {"", "Memory"},
    "unhealthyPodEvictionPolicy": {"AlwaysAllow", "IfHealthyBudget"},
    "pullPolicy": {"Always", "IfNotPresent", "Never"},
}
NODE_OPERATORS = {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"}
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})")
# Secrets that the one who applies brings: README.md names them.
EXTERNAL = {"coordinator-tls", "worker-tls", "access-tokens"}
DRAIN_FLAG = "--drain="
TEARDOWN_SECONDS = 15


def walk(value, path=()):
    yield path, value
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield from walk(item, (*path, key))


def check_values(objects):
    for o in objects:
        for path, value in walk(o):
            key = path[-1] if path else ""
            if key in ENUMS and isinstance(value, str) and value not in ENUMS[key]:
                yield f"{'.'.join(map(str, path))}: {value}"
            if key == "operator" and "matchExpressions" in path and value not in NODE_OPERATORS:
                yield f"operator {value}"
            if len(path) > 1 and path[-2] in ("requests", "limits"):
                if not QUANTITY.fullmatch(str(value)):
                    yield f"{'.'.join(map(str, path))}: {value} is no quantity"
                if "/" in key and not str(value).isdigit():
                    yield f"{value} of {key}"
            if key == "sizeLimit" and not QUANTITY.fullmatch(str(value)):
                yield f"sizeLimit {value}"
            if key in ("containerPort", "port", "targetPort") and isinstance(value, int):
                if not 1 <= value <= 65535:
                    yield f"{'.'.join(map(str, path))}: {value}"
            if key in ("image", "reference") and isinstance(value, str):
                if not IMAGE.fullmatch(value):
                    yield f"{'.'.join(map(str, path))}: {value} has no registry or no tag"


def check_names(objects):
    seen = set()
    for o in objects:
        name = o["metadata"]["name"]
        if not NAME.fullmatch(name):
            yield f"{o['kind']} {name}: no DNS label"
        if (o["kind"], name) in seen:
            yield f"{o['kind']} {name}: twice"
        seen.add((o["kind"], name))
    roles = sorted(c["args"][0] for w in workloads(objects) for c in containers(w))
    if roles != ["serve"] and set(roles) != {"coordinator", "worker"}:
        yield f"neither `serve` nor coordinator and workers: {roles}"


def check_selectors(objects):
    labels = [pod_labels(w) for w in workloads(objects)]
    for w in workloads(objects):
        if not selects(w["spec"]["selector"]["matchLabels"], pod_labels(w)):
            yield f"{w['metadata']['name']}: selector is not of its own pods"
        others = [x for x in workloads(objects) if x is not w]
        if any(selects(w["spec"]["selector"]["matchLabels"], pod_labels(x)) for x in others):
            yield f"{w['metadata']['name']}: selects pods of another"
    for o in objects:
        selector = {"Service": lambda: o["spec"].get("selector"),
                    "PodDisruptionBudget": lambda: o["spec"]["selector"].get("matchLabels"),
                    "NetworkPolicy": lambda: o["spec"]["podSelector"].get("matchLabels"),
                    }.get(o["kind"], lambda: None)()
        if selector and not any(selects(selector, each) for each in labels):
            yield f"{o['kind']} {o['metadata']['name']} selects nothing"
        for path, value in walk(o["spec"] if o["kind"] == "NetworkPolicy" else {}):
            if path and path[-1] == "matchLabels" and not any(selects(value, x) for x in labels):
                yield f"NetworkPolicy {o['metadata']['name']}: {value} is nobody"


def check_ports(objects):
    for o in objects:
        if o["kind"] != "Service":
            continue
        chosen = [w for w in workloads(objects) if selects(o["spec"]["selector"], pod_labels(w))]
        for port in o["spec"]["ports"]:
            for w in chosen:
                names = {p["name"] for c in containers(w) for p in c.get("ports", [])}
                if port["targetPort"] not in names:
                    yield f"Service {o['metadata']['name']}: no port {port['targetPort']}"
    services = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Service"}
    named = {p["name"] for w in workloads(objects) for c in containers(w)
             for p in c.get("ports", [])}
    for o in objects:
        if o["kind"] == "NetworkPolicy":
            for path, value in walk(o["spec"]):
                if path and path[-1] == "port" and isinstance(value, str) and value not in named:
                    yield f"NetworkPolicy {o['metadata']['name']}: no port {value}"
    for w in workloads(objects):
        service = services.get(w["spec"]["serviceName"])
        if service is None or service["spec"].get("clusterIP") != "None":
            yield f"{w['metadata']['name']}: serviceName is no headless Service"
        elif not selects(service["spec"]["selector"], pod_labels(w)):
            yield f"{w['metadata']['name']}: its Service selects other pods"
        elif not service["spec"].get("publishNotReadyAddresses"):
            yield f"{w['metadata']['name']}: no name before it is ready"


def check_references(objects):
    known = {(o["kind"], o["metadata"]["name"]) for o in objects}
    for w in workloads(objects):
        volumes = {v["name"]: v for v in pod_of(w).get("volumes", [])}
        for name, volume in volumes.items():
            secret = volume.get("secret", {}).get("secretName")
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if secret and secret not in EXTERNAL and ("Secret", secret) not in known:
                yield f"volume {name}: no secret {secret}"
            if claim and ("PersistentVolumeClaim", claim) not in known:
                yield f"volume {name}: no claim {claim}"
        for c in containers(w):
            for mount in c.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{w['metadata']['name']}: mounts {mount['name']}, which is no volume"
            for variable in c.get("env", []):
                ref = variable.get("valueFrom", {}).get("configMapKeyRef")
                if ref and ("ConfigMap", ref["name"]) not in known:
                    yield f"{variable['name']}: no ConfigMap {ref['name']}"


def check_probes(objects):
    for w in workloads(objects):
        for c in containers(w):
            ports = {p["containerPort"] for p in c.get("ports", [])}
            for kind in ("startup", "liveness", "readiness"):
                probe = c.get(f"{kind}Probe", {}).get("grpc")
                if probe is None or probe["port"] not in ports or probe["service"] != kind:
                    yield f"{w['metadata']['name']}: {kind} probe"


def check_security(objects):
    for w in workloads(objects):
        pod = pod_of(w)
        name = w["metadata"]["name"]
        context = pod.get("securityContext", {})
        if not context.get("runAsNonRoot") or context.get("runAsUser", 0) < 1000:
            yield f"{name}: may be root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: seccomp"
        if pod.get("automountServiceAccountToken") is not False or pod.get("hostNetwork"):
            yield f"{name}: more of the cluster than it needs"
        for c in containers(w):
            own = c.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{name}: privileges"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name}: capabilities"
            if not own.get("readOnlyRootFilesystem"):
                yield f"{name}: root filesystem can be written"
    denies = [o for o in objects if o["kind"] == "NetworkPolicy" and o["spec"]["podSelector"] == {}
              and set(o["spec"]["policyTypes"]) == {"Ingress", "Egress"} and "ingress"
              not in o["spec"] and "egress" not in o["spec"]]
    if not denies:
        yield "nothing denies by default"


def check_resources(objects):
    for w in workloads(objects):
        name = w["metadata"]["name"]
        for c in containers(w):
            resources = c.get("resources", {})
            devices = {key for part in resources.values() for key in part if "/" in key}
            for what in {"memory", *devices}:
                if resources.get("requests", {}).get(what) != resources.get("limits", {}).get(what):
                    yield f"{name}: requests and limits of {what} differ"
            drain = sum(int(a[len(DRAIN_FLAG):]) for a in c["args"] if a.startswith(DRAIN_FLAG))
            pause = c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if pod_of(w)["terminationGracePeriodSeconds"] < drain + pause + TEARDOWN_SECONDS:
                yield f"{name}: killed while it drains"
            shm = [m for m in c.get("volumeMounts", []) if m["mountPath"] == "/dev/shm"]
            if (component(w) == "worker" or serves(w)) and not shm:
                yield f"{name}: /dev/shm is the default 64 MB"
    for w in filter(serves, workloads(objects)):
        gpus = containers(w)[0]["resources"]["limits"].get("nvidia.com/gpu")
        if argument(w, "--workers") != str(gpus) or argument(w, "--device") != "cuda":
            yield f"{w['metadata']['name']}: {argument(w, '--workers')} workers on {gpus} GPUs"
        return
    workers = sum(w["spec"]["replicas"] for w in workloads(objects) if component(w) == "worker")
    expected = [o["data"]["workers"] for o in objects if o["kind"] == "ConfigMap"
                and o["metadata"]["name"].startswith("cluster")]
    if expected != [str(workers)]:
        yield f"{workers} workers are started, {expected} are expected"


def check_rdma(objects):
    """Who gets an adapter uses it, and the other way round."""
    for w in workloads(objects):
        for c in containers(w):
            adapters = any(key.startswith("rdma/") for key in c["resources"]["limits"])
            env = {e["name"]: e.get("value") for e in c.get("env", [])}
            if adapters != (env.get("NCCL_NET") == "IB"):
                yield f"{w['metadata']['name']}: adapters and NCCL_NET do not fit"


def check_pools(objects):
    for w in workloads(objects):
        pool = pod_labels(w).get("headlong.dev/pool")
        terms = pod_of(w).get("affinity", {}).get("nodeAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
        operators = [e["operator"] for t in terms for e in t["matchExpressions"]
                     if e["key"] == "nvidia.com/gpu.memory" and e["values"][0].isdigit()]
        if pool and operators != [{"compute": "Lt", "memory-rich": "Gt"}.get(pool)]:
            yield f"{w['metadata']['name']}: not bound to the machines of {pool}"


def check_monitoring(objects):
    """Every pod is scraped at a port that it has, that its policy opens and that it listens at."""
    for w in workloads(objects):
        name = w["metadata"]["name"]
        notes = w["spec"]["template"]["metadata"].get("annotations", {})
        if notes.get("prometheus.io/scrape") != "true":
            yield f"{name}: not scraped"
        for c in containers(w):
            ports = {str(p["containerPort"]) for p in c.get("ports", []) if p["name"] == "metrics"}
            listens = [a for a in c["args"] if a.startswith("--metrics-listen=")]
            if {notes.get("prometheus.io/port")} != ports or not any(
                    a.endswith(f":{port}") for a in listens for port in ports):
                yield f"{name}: scraped where nobody answers"
        opened = {port["port"] for o in objects if o["kind"] == "NetworkPolicy"
                  and o["spec"]["podSelector"].get("matchLabels")
                  and selects(o["spec"]["podSelector"]["matchLabels"], pod_labels(w))
                  for rule in o["spec"].get("ingress", []) for port in rule.get("ports", [])}
        if "metrics" not in opened:
            yield f"{name}: no policy lets Prometheus in"


CHECKS = [check_values, check_names, check_selectors, check_ports, check_references, check_probes,
          check_security, check_resources, check_pools, check_rdma, check_monitoring,
          *custom_resources.CHECKS]


def violations(objects):
    found = []
    for check in CHECKS:
        try:
            found += check(objects)
        except (KeyError, TypeError, AttributeError) as missing:
            found.append(f"{check.__name__}: {missing!r}")
    return found
