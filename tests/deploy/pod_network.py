"""A network namespace for each pod, behind a bridge in one of its own, as on a node.

Namespaces are held by processes that sleep: with them go their interfaces, so nothing is left when
a test is killed. Needs root.
"""
import os
import random
import shutil
import subprocess

from support.cluster import wait_until

PREFIX_BITS = 24


def missing():
    """None where networks can be made; else why not."""
    for tool in ("ip", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "namespaces need root"
    tried = subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", "type", "veth"],
                           capture_output=True, text=True)
    return tried.stderr.strip() or None if tried.returncode != 0 else None


class Namespace:
    """One network, empty but for the loopback."""

    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                        stdin=subprocess.DEVNULL)
        self.path = f"/proc/{self._holder.pid}/ns/net"
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(self.path) != own, 10, "a network namespace")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def pid(self):
        return self._holder.pid

    def enter(self, *command):
        return ["nsenter", f"--net={self.path}", *map(str, command)]

    def run(self, *command, text=None):
        done = subprocess.run(self.enter(*command), input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def close(self):
        self._holder.kill()
        self._holder.wait()


def reaches(namespace, address, port):
    """Whether a connection comes about: not where it is refused, nor where nobody answers."""
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    return subprocess.run(namespace.enter("timeout", "1", "bash", "-c", script),
                          capture_output=True).returncode == 0


class PodNetwork:
    """Addresses of pods, and the node's own, by which this process reaches them."""

    def __init__(self):
        self._prefix = f"10.{random.randrange(100, 200)}.{random.randrange(256)}"
        self._taken = 1
        self.node_address = f"{self._prefix}.1"
        self._bridge = Namespace()
        self._bridge.run("ip", "link", "add", "pods", "type", "bridge")
        self._bridge.run("ip", "link", "set", "pods", "up")
        uplink = f"hl{self._bridge.pid}"
        subprocess.run(["ip", "link", "add", uplink, "type", "veth", "peer", "name", "node",
                        "netns", str(self._bridge.pid)], check=True)
        self._bridge.run("ip", "link", "set", "node", "master", "pods", "up")
        subprocess.run(["ip", "address", "add", f"{self.node_address}/{PREFIX_BITS}", "dev",
                        uplink], check=True)
        subprocess.run(["ip", "link", "set", uplink, "up"], check=True)

    def free_address(self):
        self._taken += 1
        return f"{self._prefix}.{self._taken}"

    def add(self):
        """(namespace, address) of a new pod."""
        address = self.free_address()
        made = Namespace()
        self._bridge.run("ip", "link", "add", f"pod{self._taken}", "type", "veth", "peer", "name",
                         "eth0", "netns", made.pid)
        self._bridge.run("ip", "link", "set", f"pod{self._taken}", "master", "pods", "up")
        made.run("ip", "address", "add", f"{address}/{PREFIX_BITS}", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        return made, address

    def close(self):
        self._bridge.close()
