"""Strangers at the ports: each is refused, the coordinator's memory stays bounded, and streams that
run are not disturbed. Every attack prints what it cost."""
import contextlib
import pathlib
import resource
import socket
import ssl
import subprocess
import threading
import time

import grpc
import pytest

from support import raw_http2
from support.cluster import MODEL, wait_until
from support.secure_cluster import SecureCluster

pytestmark = pytest.mark.timeout(300)

GENERATE = "/headlong.v1.Inference/Generate"
QUIET_SECONDS = 4
MEMORY_BOUND_MB = 400  # that one attack may add to the coordinator


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    return SecureCluster(module_sandbox)


def memory_mb(pid, what="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{pid} has no {what}")


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class Streams:
    """Clients that read one answer after the other, compare it with the first, and time tokens."""

    def __init__(self, cluster, count=3):
        from headlong.v1 import inference_pb2, inference_pb2_grpc

        self.request = inference_pb2.GenerateRequest(text="Once upon a time", temperature=0,
                                                     max_tokens=400, ignore_eos=True)
        self.stub = inference_pb2_grpc.InferenceStub
        self.cluster, self.gaps, self.failures, self.answers = cluster, [], [], 0
        self._stop = threading.Event()
        self._expected = None
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self):
        with self.cluster.channel(self.cluster.alice) as channel:
            stub = self.stub(channel)
            while not self._stop.is_set():
                tokens, last = [], None
                try:
                    for response in stub.Generate(self.request, timeout=60):
                        if response.WhichOneof("event") != "chunk":
                            continue
                        now = time.monotonic()
                        if last is not None:
                            self.gaps.append((now, now - last))
                        last = now
                        tokens.extend(response.chunk.token_ids)
                        if self._stop.is_set():
                            return
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code()}: {error.details()}")
                    continue
                self._expected = self._expected or tokens
                if tokens != self._expected:
                    self.failures.append("other tokens")
                self.answers += 1

    def p99_ms(self, begin, end):
        gaps = [gap for at, gap in list(self.gaps) if begin <= at < end]
        assert len(gaps) > 50, f"only {len(gaps)} tokens came"
        return 1000 * percentile(gaps, 0.99)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.answers > 0, 60, "an undisturbed answer")
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def undisturbed(cluster, name):
    """Streams run before and during what happens inside, at least as long as they were watched."""
    with Streams(cluster) as streams:
        begin = time.monotonic()
        time.sleep(QUIET_SECONDS)
        attack = time.monotonic()
        memory = memory_mb(cluster.coordinator.pid)
        pathlib.Path(f"/proc/{cluster.coordinator.pid}/clear_refs").write_text("5")  # the peak
        yield
        time.sleep(max(0, QUIET_SECONDS - (time.monotonic() - attack)))
        end = time.monotonic()
        before, during = streams.p99_ms(begin, attack), streams.p99_ms(attack, end)
        peak = memory_mb(cluster.coordinator.pid, "VmHWM")
        print(f"\n{name}: p99 between tokens {before:.1f} ms before, {during:.1f} ms during; "
              f"coordinator {memory:.0f} MB before, at most {peak:.0f} MB")
    assert streams.failures == []
    # The strangers run on the same cores as the cluster.
    assert during < max(20 * before, 500), "streams were disturbed"
    assert peak - memory < MEMORY_BOUND_MB


def still_served(cluster):
    result = cluster.run("generate", "--prompt", "Once", "--max-tokens", "4")
    assert result.code == 0, f"{result}\n{cluster.coordinator.err[-1000:]}"


def handshake_fails(address, context):
    """Whether the server turns this client away. In TLS 1.3 the client learns it when it reads."""
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                secure.sendall(raw_http2.PREFACE + raw_http2.frame(raw_http2.SETTINGS, 0, 0))
                secure.settimeout(10)
                return secure.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def expired_certificate(cluster, folder):
    """Of our own authority, for a worker, over since yesterday."""
    key, request, certificate = folder / "e.key", folder / "e.csr", folder / "e.crt"
    extensions = folder / "e.ext"
    extensions.write_text("subjectAltName=URI:spiffe://headlong/worker/e\n")
    quiet = dict(check=True, capture_output=True)
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-subj", "/CN=e",
                    "-out", request], **quiet)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", cluster.folder / "ca.crt",
                    "-CAkey", cluster.folder / "ca.key", "-days", "-1", "-extfile", extensions,
                    "-out", certificate], **quiet)
    return certificate, key


def test_wrong_certificates(cluster, tmp_path):
    """None, a foreign one, an expired one and plaintext at the workers' port; a worker's at the
    clients', where it is worth nothing."""
    def context(*chain):
        made = ssl.create_default_context(cafile=str(cluster.folder / "ca.crt"))
        made.set_alpn_protocols(["h2"])
        if chain:
            made.load_cert_chain(*map(str, chain))
        return made

    assert cluster.sandbox.run("certs", "init", tmp_path).code == 0
    cluster.issue("w9", "worker", folder=tmp_path)
    own = context(cluster.folder / "w0.crt", cluster.folder / "w0.key")
    with undisturbed(cluster, "certificates"):
        assert not handshake_fails(cluster.worker_address, own), "the check itself is broken"
        assert handshake_fails(cluster.worker_address, context())
        assert handshake_fails(cluster.worker_address,
                               context(tmp_path / "w9.crt", tmp_path / "w9.key"))
        assert handshake_fails(cluster.worker_address,
                               context(*expired_certificate(cluster, tmp_path)))
        for address in (cluster.address, cluster.worker_address):
            with grpc.insecure_channel(address) as plain, pytest.raises(grpc.FutureTimeoutError):
                grpc.channel_ready_future(plain).result(timeout=1)
        for method, allowed in ((GENERATE, cluster.alice),
                                ("/headlong.v1.Admin/GetCluster", cluster.root)):
            credentials = grpc.ssl_channel_credentials(
                (cluster.folder / "ca.crt").read_bytes(),
                (cluster.folder / "w0.key").read_bytes(), (cluster.folder / "w0.crt").read_bytes())
            with grpc.secure_channel(cluster.address, credentials) as channel:
                assert code_of(channel, method) == grpc.StatusCode.UNAUTHENTICATED
            with cluster.channel(allowed) as channel:
                assert code_of(channel, method) in (grpc.StatusCode.OK,
                                                    grpc.StatusCode.INVALID_ARGUMENT)
        with cluster.channel(cluster.alice) as channel:  # a token without the scope
            assert code_of(channel, "/headlong.v1.Admin/GetCluster") == (
                grpc.StatusCode.PERMISSION_DENIED)


def code_of(channel, method, message=b""):
    try:
        channel.unary_unary(method)(message, timeout=30)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_ten_thousand_connections(cluster):
    own_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(10000, own_limit - 200)
    host, port = cluster.address.rsplit(":", 1)
    held = []
    with undisturbed(cluster, f"{count} connections (file limit {own_limit})"):
        try:
            for _ in range(count):
                held.append(socket.create_connection((host, int(port)), timeout=10))
            still_served(cluster)
        finally:
            for connection in held:
                connection.close()
    # A first try may meet the server while it takes leave of all of them.
    wait_until(lambda: cluster.run("generate", "--prompt", "Once", "--max-tokens", "4").code == 0,
               20, "an answer after all have gone")


def test_more_connections_than_descriptors(sandbox):
    """Beyond its file limit the coordinator refuses connections, keeps its own, and recovers."""
    cluster = SecureCluster(sandbox, launcher=["prlimit", "--nofile=256:256"])
    host, port = cluster.address.rsplit(":", 1)
    with undisturbed(cluster, "400 connections under a file limit of 256"):
        held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(400)]
        wait_until(lambda: "are refused" in cluster.coordinator.err, 10, "a word of it")
        cluster.issue("w2", "worker")
        spare = cluster.start_worker("w2", "w2")
        wait_until(lambda: "registered" in spare.err, 20, "a worker at its own port")
        for connection in held:
            connection.close()
        wait_until(lambda: cluster.run("cluster", "status").code == 0, 20, "the port to recover")


def open_raw(cluster, count):
    return [raw_http2.Connection(cluster.address, cluster.folder / "ca.crt") for _ in range(count)]


def refused_stream(connection, seconds=5):
    """Whether stream 1 was reset or answered with an error, or the connection is gone."""
    for kind, stream, _ in connection.frames(seconds):
        if kind == raw_http2.GOAWAY or (stream == 1 and kind in (raw_http2.RST_STREAM,
                                                                 raw_http2.HEADERS)):
            return True
    return connection.closed


@pytest.mark.parametrize("name, more", [
    ("headers of 1 MB", lambda: raw_http2.header("x-large", "v" * (1 << 20))),
    ("a million metadata keys",
     lambda: b"".join(raw_http2.header(f"k{i}", "v") for i in range(1000000))),
    # Accept-encoding, which HTTP/2 knows by a number: one byte each.
    ("16 million metadata keys of one byte", lambda: b"\x90" * (16 << 20)),
], ids=["1 MB", "million keys", "keys of one byte"])
def test_metadata(cluster, name, more):
    block = raw_http2.request_headers(GENERATE) + more()
    octets = b"".join(raw_http2.header_frames(1, block))
    with undisturbed(cluster, f"{name}, 4 at once"):
        connections = open_raw(cluster, 4)
        senders = [threading.Thread(target=connection.send, args=(octets,))
                   for connection in connections]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for connection in connections:
            assert refused_stream(connection), name
            connection.close()
    still_served(cluster)


def test_slow_loris(cluster):
    """Connections that say nothing, and calls whose headers come byte by byte."""
    host, port = cluster.address.rsplit(":", 1)
    with undisturbed(cluster, "slow-loris, 200 silent and 50 slow"):
        silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
        slow = open_raw(cluster, 50)
        octets = b"".join(raw_http2.header_frames(1, raw_http2.request_headers(GENERATE)))
        for i in range(40):
            for connection in slow:
                connection.send(octets[i:i + 1])
            time.sleep(0.1)
        still_served(cluster)
        for connection in silent:  # no handshake within ten seconds
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
            connection.close()
        for connection in slow:
            connection.close()


def test_health_does_not_make_a_client(cluster):
    """Anybody may ask for it, as often as he likes; a million keys are no less refused."""
    headers = raw_http2.request_headers("/grpc.health.v1.Health/Check")
    million = b"".join(raw_http2.header(f"k{i}", "v") for i in range(1000000))
    asked = range(1, 6000, 2)
    with undisturbed(cluster, "3,000 checks of health, then a million metadata keys"):
        [connection] = open_raw(cluster, 1)
        for stream in asked:
            connection.send(b"".join(raw_http2.header_frames(stream, headers))
                            + raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, stream,
                                              bytes(5)))
            assert any((kind, of) == (raw_http2.HEADERS, stream)
                       for kind, of, _ in connection.frames(5)), f"stream {stream}"
        last = b"".join(raw_http2.header_frames(asked.stop + 1, headers + million))
        if connection.send(last):
            for _ in connection.frames(5):
                pass
        assert connection.closed
    still_served(cluster)


def test_large_first_messages_of_clients(cluster):
    """Nobody takes them for headers without end: 15 MB on a new connection, or 50 KB 64 times."""
    from headlong.v1 import inference_pb2, inference_pb2_grpc

    def codes(count, octets):
        request = inference_pb2.GenerateRequest()
        request.token_ids.ids.extend([300] * (octets // 2))  # more than the context
        with cluster.channel(cluster.alice,
                             options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            calls = [stub.Generate(request, timeout=60) for _ in range(count)]
            return {call.code().name for call in calls}

    with undisturbed(cluster, "first messages of 15 MB, then 64 at once of 50 KB"):
        for _ in range(4):
            assert codes(1, 15 << 20) == {"INVALID_ARGUMENT"}
        for _ in range(10):
            assert codes(64, 50 << 10) == {"INVALID_ARGUMENT"}


def test_messages_of_64_mb(cluster):
    message = bytes(64 << 20)
    nobody = grpc.ssl_channel_credentials((cluster.folder / "ca.crt").read_bytes())
    unlimited = [("grpc.max_send_message_length", -1)]
    with undisturbed(cluster, "messages of 64 MB, 4 strangers and 2 clients"):
        codes = []

        def send(channel):
            codes.append(code_of(channel, GENERATE, message))

        with contextlib.ExitStack() as stack:
            channels = [grpc.secure_channel(cluster.address, nobody, options=unlimited)
                        for _ in range(4)]
            channels += [cluster.channel(cluster.alice, options=unlimited) for _ in range(2)]
            threads = [threading.Thread(target=send, args=(stack.enter_context(channel),))
                       for channel in channels]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(code.name for code in codes) == (
            ["RESOURCE_EXHAUSTED"] * 2 + ["UNAUTHENTICATED"] * 4), codes
    still_served(cluster)
