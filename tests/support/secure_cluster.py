"""A cluster as strangers may reach it: certificates for workers, tokens for clients."""
import json

import grpc

from support.cluster import MODEL, wait_until


class SecureCluster:
    """A coordinator and two workers that know each other by certificates."""

    def __init__(self, sandbox, *options, launcher=()):
        self.sandbox = sandbox
        self.folder = sandbox.folder / "certs"
        assert sandbox.run("certs", "init", self.folder).code == 0
        self.issue("coordinator", "coordinator", "--host", "127.0.0.1", "--host", "localhost")
        self.tokens = sandbox.folder / "tokens"
        self.alice = self.create_token("alice", "infer")
        self.root = self.create_token("root", "infer,admin")
        self.options, self.launcher = options, launcher
        self.address = self.worker_address = "127.0.0.1:0"  # until it says which
        self.coordinator = self.start_coordinator()
        self.workers = {}
        for name in ("w0", "w1"):
            self.issue(name, "worker")
            self.workers[name] = self.start_worker(name, name)
        wait_until(lambda: self.run("cluster", "status").code == 0, 60, "two workers")

    def start_coordinator(self):
        """At the ports that it had, if it had any."""
        started = self.sandbox.spawn(
            "coordinator", "--model", MODEL, "--expected-workers", "2", "--max-context", "1024",
            "--listen", self.address, "--worker-listen", self.worker_address,
            "--access-tokens", self.tokens, *self.files("coordinator"), "-o", "json",
            *self.options, launcher=self.launcher)
        started.wait_for_output("\n", 30)
        listening = json.loads(started.out)
        self.address, self.worker_address = listening["address"], listening["worker_address"]
        return started

    def issue(self, name, role, *options, folder=None):
        issued = self.sandbox.run("certs", "issue", folder or self.folder, name, "--role", role,
                                  *options)
        assert issued.code == 0, issued

    def files(self, name, folder=None, ca=None):
        folder = folder or self.folder
        return ["--tls-cert", folder / f"{name}.crt", "--tls-key", folder / f"{name}.key",
                "--tls-ca", ca or self.folder / "ca.crt"]

    def create_token(self, name, scopes, *limits):
        """The file that holds it."""
        made = self.sandbox.run("auth", "token", "create", self.tokens, name, "--scopes", scopes,
                                *limits)
        assert made.code == 0, made
        path = self.sandbox.folder / f"{name}.token"
        path.write_text(made.out)
        return path

    def start_worker(self, name, id, *options, files=None):
        return self.sandbox.spawn(
            "worker", "--model", MODEL, "--id", id, "--coordinator", self.worker_address,
            "--threads", "1", "--device", "cpu", *(self.files(name) if files is None else files),
            *options)

    def run(self, *args, token=None, **options):
        return self.sandbox.run(*args, "--server", self.address, "--tls-ca", self.folder / "ca.crt",
                                "--token-file", token or self.root, **options)

    def channel(self, token, **options):
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials((self.folder / "ca.crt").read_bytes()),
            grpc.access_token_call_credentials(token.read_text().strip()))
        return grpc.secure_channel(self.address, credentials, **options)
