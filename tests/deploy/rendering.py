"""Overlays as `kubectl kustomize` renders them, their schemas, and ways into their objects."""
import functools
import json
import os
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from deploy import custom_resources
from support.cluster import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
VERSION = "1.32"
# What may be added to an overlay that does not have it.
ADDED = {
    "cpu-demo": ["certificates", "monitoring", "autoscaling"],
    "mixed-pools": ["rdma", "weights-image"],
    "single-node-8gpu": ["monitoring", "weights-image"],
}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None,
                                   reason="kubectl, which renders, is not installed")


def build(folder):
    text = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True,
                          text=True).stdout
    return list(yaml.safe_load_all(text))


def render(overlay):
    return build(KUBERNETES / "overlays" / overlay)


def render_with(overlay, components, folder):
    """With more components, as the overlay of somebody else would add them."""
    def reached(path):
        return os.path.relpath(KUBERNETES / path, folder)

    (folder / "kustomization.yaml").write_text(yaml.safe_dump({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": "headlong", "resources": [reached(f"overlays/{overlay}")],
        "components": [reached(f"components/{each}") for each in components]}))
    return build(folder)


@functools.cache  # most objects of a render are those of another
def schema_error(text):
    o = json.loads(text)
    if custom_resources.is_custom(o):
        return custom_resources.schema_error(o)
    try:
        kubernetes_validate.validate(o, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message
    return None


def schema_errors(objects):
    errors = [(o, schema_error(json.dumps(o))) for o in objects]
    return [f"{o['kind']} {o['metadata']['name']}: {error}" for o, error in errors if error]


def one(objects, kind, name):
    [found] = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pod(objects, name="worker-compute"):
    return one(objects, "StatefulSet", name)["spec"]["template"]["spec"]


def container(objects, name="worker-compute"):
    return pod(objects, name)["containers"][0]
