"""Runs rendered pods on this machine as a kubelet would, without a cluster.

Every pod has the image's files as its root, a network namespace with an address of its own behind
the policies of the render, the volumes and environment of its manifest, names and addresses of the
services, the manifest's user and none of the machine's files. Probes are asked over gRPC, from the
node. Needs root.
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

from deploy.pod_network import PodNetwork
from deploy.policies import policy_chains, port_numbers, ruleset, service_chains
from deploy.workloads import component, containers, pod_labels, pod_of, selects, workloads
from support.cluster import wait_until


def make_root(image, root):
    subprocess.run(["cp", "-a", image, root], check=True)
    (root / "proc").mkdir()
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / "null").touch()


def with_mounts(root, command):
    """`command` with what a container runtime mounts."""
    script = 'mount -t proc proc "$0/proc" && mount --bind /dev/null "$0/dev/null" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, root, *command]


class Pod:
    """One replica of a workload: its network from start to delete, its container while it runs."""

    def __init__(self, kubelet, workload, name):
        self.kubelet, self.workload, self.name = kubelet, workload, name
        self.container = containers(workload)[0]
        self.process = self.network = self.address = self.root = None
        self.ready = False

    def start(self):
        """A new pod; or, where its container was killed, the container again."""
        if self.network is None:
            self.network, self.address = self.kubelet.network.add()
            self.root = self.kubelet.folder / f"{self.name}-{self.address}"
            make_root(self.kubelet.image, self.root)
            self._mount_volumes()
            self.kubelet.pods_changed()
        context = pod_of(self.workload)["securityContext"]
        user = f"{context['runAsUser']}:{context['runAsGroup']}"
        command = ["chroot", f"--userspec={user}", self.root, "/bin/headlong", *self.arguments()]
        self.log = self.root.with_name(self.root.name + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.network.enter(*with_mounts(self.root, command)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self.environment())
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

    def environment(self):
        fields = {"metadata.name": self.name, "status.podIP": self.address}
        values = {}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                values[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
            elif "configMapKeyRef" in source:
                ref = source["configMapKeyRef"]
                values[variable["name"]] = self.kubelet.config_maps[ref["name"]][ref["key"]]
            else:
                values[variable["name"]] = variable["value"]
        return values

    def arguments(self):
        """With $(NAME) replaced by what the environment of the manifest says."""
        values = self.environment()
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
        self._set_ready(True)

    def _set_ready(self, ready):
        self.ready = ready
        self.kubelet.pods_changed()

    def delete(self):
        """As a rolling update does: SIGTERM, and SIGKILL after the grace period. Seconds taken."""
        begin = time.monotonic()
        self._set_ready(False)
        time.sleep(self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get(
            "seconds", 0))
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(pod_of(self.workload)["terminationGracePeriodSeconds"])
        self.network.close()
        self.network = self.address = None
        self.kubelet.pods_changed()
        return time.monotonic() - begin

    def kill(self):
        """Of the container alone: the pod keeps its address."""
        self.process.kill()
        self.process.wait()
        self._set_ready(False)


class Client:
    """A pod of another namespace with the program in it, which no policy speaks of."""

    def __init__(self, kubelet, files):
        self.network, self.address = kubelet.network.add()
        self.root = kubelet.folder / f"client-{self.address}"
        make_root(kubelet.image, self.root)
        for name, content in files.items():
            (self.root / name).write_bytes(content)
        kubelet.clients.append(self)
        kubelet.pods_changed()

    def begin(self, *args):
        command = ["chroot", "--userspec=65532:65532", self.root, "/bin/headlong", *args]
        return subprocess.Popen(
            self.network.enter(*with_mounts(self.root, command)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={})

    def run(self, *args, timeout=60):
        """What it printed; fails where it fails."""
        process = self.begin(*args)
        out, error = process.communicate(timeout=timeout)
        assert process.returncode == 0, error
        return out


class Kubelet:
    """The pods of a render. `secrets`: folder by name of Secret. `more_arguments`: by component."""

    def __init__(self, objects, image, folder, secrets, more_arguments):
        self.objects, self.image, self.folder = objects, image, pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.secrets, self.more_arguments = secrets, more_arguments
        self.config_maps = {o["metadata"]["name"]: o["data"] for o in objects
                            if o["kind"] == "ConfigMap"}
        self.network = PodNetwork()
        self.services = [o for o in objects if o["kind"] == "Service"]
        self.service_addresses = {o["metadata"]["name"]: self.network.free_address()
                                  for o in self.services}
        self.pods, self.clients = {}, []
        for workload in workloads(objects):
            for i in range(workload["spec"]["replicas"]):
                name = f"{workload['metadata']['name']}-{i}"
                self.pods[name] = Pod(self, workload, name)

    def living(self):
        return [pod for pod in self.pods.values() if pod.network is not None]

    def addresses_of(self, service):
        """Of the pods that it selects: those that are ready, unless it says otherwise."""
        [found] = [o for o in self.services if o["metadata"]["name"] == service]
        early = found["spec"].get("publishNotReadyAddresses", False)
        return [pod.address for pod in self.living() if (pod.ready or early)
                and selects(found["spec"]["selector"], pod_labels(pod.workload))]

    def pods_changed(self):
        """Names, services and policies follow the addresses, before a container begins."""
        lines = ["127.0.0.1 localhost"]
        for service in self.services:
            name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
            addresses = ([self.service_addresses[service["metadata"]["name"]]]
                         if service["spec"].get("clusterIP") != "None"
                         else self.addresses_of(service["metadata"]["name"]))
            lines += [f"{address} {name}" for address in addresses]
        proxied = service_chains(list(self.proxied_ports()))
        addresses = [(pod.workload, pod.address) for pod in self.living()]
        for each in [*self.living(), *self.clients]:
            (each.root / "etc" / "hosts").write_text("\n".join(lines) + "\n")
            policies = [] if each in self.clients else policy_chains(
                self.objects, each.workload, addresses, self.network.node_address)
            each.network.run("nft", "-f", "-", text=ruleset([*proxied, *policies]))

    def proxied_ports(self):
        """(address, port, [(address, port) of a pod]) of Services with an address of their own."""
        for service in self.services:
            name = service["metadata"]["name"]
            if service["spec"].get("clusterIP") == "None":
                continue
            chosen = [pod for pod in self.living() if pod.address in self.addresses_of(name)]
            for port in service["spec"]["ports"]:
                yield (self.service_addresses[name], port["port"],
                       [(pod.address, number) for pod in chosen
                        for number in port_numbers(port["targetPort"], pod.workload)])

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
        for each in [*self.living(), *self.clients]:
            each.network.close()
        self.network.close()
