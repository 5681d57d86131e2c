"""Workloads among rendered objects, and what they say of their pods."""


def workloads(objects):
    return [o for o in objects if o["kind"] in ("StatefulSet", "Deployment")]


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def containers(workload):
    return pod_of(workload)["containers"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"].get("labels", {})


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in (selector or {}).items())


def component(workload):
    return pod_labels(workload).get("app.kubernetes.io/component")


def serves(workload):
    """Coordinator and workers in one container."""
    return containers(workload)[0]["args"][0] == "serve"


def argument(workload, flag):
    """The value of --flag=VALUE; empty where it is not given."""
    given = [a.split("=", 1)[1] for c in containers(workload) for a in c["args"]
             if a.startswith(flag + "=")]
    return given[0] if given else ""
