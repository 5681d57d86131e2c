"""Runs rendered pods on this machine as a kubelet would, without a cluster.

Every pod has the image's files as its root, its own loopback address, the volumes and environment
of its manifest, names of the services in /etc/hosts, the manifest's user and none of the machine's
files. Probes are asked over gRPC. Needs root, to change root and user.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.workloads import component, containers, pod_labels, pod_of, selects, workloads
from support.cluster import wait_until

FIRST_ADDRESS = 10  # 127.77.0.10, .11, ...


class Pod:
    """One replica of a workload: its container, while it runs."""

    def __init__(self, kubelet, workload, name):
        self.kubelet, self.workload, self.name = kubelet, workload, name
        self.container = containers(workload)[0]
        self.process = None

    def start(self):
        self.address = self.kubelet.next_address()
        self.root = self.kubelet.folder / f"{self.name}-{self.address}"
        subprocess.run(["cp", "-a", self.kubelet.image, self.root], check=True)
        (self.root / "proc").mkdir()
        self._mount_volumes()
        self.kubelet.write_hosts()
        context = pod_of(self.workload)["securityContext"]
        user = f"{context['runAsUser']}:{context['runAsGroup']}"
        command = ["chroot", f"--userspec={user}", self.root, "/bin/headlong", *self.arguments()]
        script = f'mount -t proc proc "{self.root}/proc" && exec "$@"'
        self.log = self.root.with_suffix(".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={})
        return self

    def _mount_volumes(self):
        volumes = {v["name"]: v for v in pod_of(self.workload)["volumes"]}
        for mount in self.container["volumeMounts"]:
            target = self.root / mount["mountPath"].lstrip("/")
            secret = volumes[mount["name"]].get("secret", {}).get("secretName")
            if secret is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            shutil.copytree(self.kubelet.secrets[secret], target)
            for file in target.iterdir():
                os.chown(file, 65532, 65532)

    def arguments(self):
        """With $(NAME) replaced by what the environment of the manifest says."""
        fields = {"metadata.name": self.name, "status.podIP": self.address}
        values = {}
        for variable in self.container["env"]:
            source = variable["valueFrom"]
            if "fieldRef" in source:
                values[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
            else:
                ref = source["configMapKeyRef"]
                values[variable["name"]] = self.kubelet.config_maps[ref["name"]][ref["key"]]
        given = [re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], argument)
                 for argument in self.container["args"]]
        return given + self.kubelet.more_arguments.get(component(self.workload), [])

    def probe(self, kind):
        probe = self.container[f"{kind}Probe"]["grpc"]
        with grpc.insecure_channel(f"{self.address}:{probe['port']}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=probe["service"]), timeout=1)
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def wait_until_ready(self, seconds=60):
        def ready():
            assert self.process.poll() is None, f"{self.name}: {self.log.read_text()}"
            return self.probe("readiness")

        wait_until(ready, seconds, f"{self.name} ready: {self.log.read_text()[-2000:]}")

    def delete(self):
        """As a rolling update does: SIGTERM, and SIGKILL after the grace period. Seconds taken."""
        begin = time.monotonic()
        time.sleep(self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get(
            "seconds", 0))
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(pod_of(self.workload)["terminationGracePeriodSeconds"])
        return time.monotonic() - begin

    def kill(self):
        self.process.kill()
        self.process.wait()


class Kubelet:
    """The pods of a render. `secrets`: folder by name of Secret. `more_arguments`: by component."""

    def __init__(self, objects, image, folder, secrets, more_arguments):
        self.objects, self.image, self.folder = objects, image, pathlib.Path(folder)
        self.secrets, self.more_arguments = secrets, more_arguments
        self.config_maps = {o["metadata"]["name"]: o["data"] for o in objects
                            if o["kind"] == "ConfigMap"}
        self._addresses = FIRST_ADDRESS
        self.pods = {}
        for workload in workloads(objects):
            for i in range(workload["spec"]["replicas"]):
                name = f"{workload['metadata']['name']}-{i}"
                self.pods[name] = Pod(self, workload, name)

    def next_address(self):
        self._addresses += 1
        return f"127.77.0.{self._addresses}"

    def addresses_of(self, service):
        [found] = [o for o in self.objects if o["kind"] == "Service"
                   and o["metadata"]["name"] == service]
        return [pod.address for pod in self.pods.values() if hasattr(pod, "address")
                and selects(found["spec"]["selector"], pod_labels(pod.workload))]

    def write_hosts(self):
        """Names of services as pods look them up: `service.namespace.svc`."""
        lines = ["127.0.0.1 localhost"]
        for o in self.objects:
            if o["kind"] == "Service":
                name = f"{o['metadata']['name']}.{o['metadata']['namespace']}.svc"
                lines += [f"{a} {name}" for a in self.addresses_of(o["metadata"]["name"])]
        for pod in self.pods.values():
            if hasattr(pod, "root"):
                (pod.root / "etc" / "hosts").write_text("\n".join(lines) + "\n")

    def start(self):
        for pod in self.pods.values():
            pod.start()
        for pod in self.pods.values():
            pod.wait_until_ready()

    def close(self):
        running = [p for p in self.pods.values() if p.process and p.process.poll() is None]
        for pod in running:
            pod.process.kill()
        for pod in running:
            pod.process.wait()
