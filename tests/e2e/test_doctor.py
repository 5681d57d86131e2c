"""`headlong doctor` names the cause of faults that are planted, one at a time."""
import concurrent.futures
import http.server
import json
import shutil
import stat
import struct
import subprocess
import tarfile
import threading

import grpc
import pytest

from support.cluster import MODEL, free_port, wait_until
from support.doctor import checks, copy_model, doctor, fails_at

HOSTS = ["--host", "127.0.0.1", "--host", "localhost"]


class Secured:
    """A coordinator with certificates and tokens, and one of the two workers it expects."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.certs = sandbox.folder / "certs"
        self.run("certs", "init", self.certs)
        self.run("certs", "issue", self.certs, "coordinator", "--role", "coordinator", *HOSTS)
        self.run("certs", "issue", self.certs, "w0", "--role", "worker")
        self.tokens = sandbox.folder / "tokens"
        self.root = self.create_token("root", "infer,read")
        self.alice = self.create_token("alice", "infer")
        coordinator = sandbox.spawn(
            "coordinator", "--model", MODEL, "--expected-workers", "2", "--max-context", "1024",
            "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0",
            "--access-tokens", self.tokens, *self.files("coordinator"))
        coordinator.wait_for_output("\n", 30)
        words = coordinator.out.replace(",", " ").split()
        self.address, self.worker_address = words[words.index("at") + 1], words[-1]
        sandbox.spawn("worker", "--model", MODEL, "--id", "w0", "--coordinator",
                      self.worker_address, "--device", "cpu", "--threads", "1", *self.files("w0"))

    def run(self, *args):
        result = self.sandbox.run(*args)
        assert result.code == 0, result
        return result.out

    def create_token(self, name, scopes):
        path = self.sandbox.folder / f"{name}.token"
        path.write_text(self.run("auth", "token", "create", self.tokens, name, "--scopes", scopes))
        path.chmod(0o600)
        return path

    def files(self, name, folder=None):
        folder = folder or self.certs
        return ["--tls-cert", folder / f"{name}.crt", "--tls-key", folder / f"{name}.key",
                "--tls-ca", self.certs / "ca.crt"]

    def doctor(self, *args, ca=None, token=None):
        return doctor(self.sandbox, "--server", self.address, "--tls-ca",
                      ca or self.certs / "ca.crt", "--token-file", token or self.root, *args)


@pytest.fixture(scope="module")
def secured(module_sandbox):
    return Secured(module_sandbox)


# --- all is well ----------------------------------------------------------------------------------


def test_nothing_is_found_where_all_is_well(server):
    result = server.run("doctor")
    assert result.code == 0 and " 0 failures" in result.out, result
    # A placement follows speeds that were measured, maybe beside other programs.
    assert set(checks(server.run("doctor", "-o", "json"))) <= {"placement"}, result.out


# --- the way to a server --------------------------------------------------------------------------


def test_nothing_listens(sandbox):
    found = doctor(sandbox, "--server", f"127.0.0.1:{free_port()}")
    fails_at(found, "port", "nothing listens", "7000")
    assert len(found) == 1, "what needs a server is left out"


def test_a_name_that_nobody_knows(sandbox):
    fails_at(doctor(sandbox, "--server", "no-such-host.invalid:7000"), "address",
             "no-such-host.invalid", "DNS")


def test_a_web_server_listens(sandbox):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        found = doctor(sandbox, "--server", f"127.0.0.1:{web.server_port}")
        web.shutdown()
    fails_at(found, "protocol", "not Headlong", "web server")


def test_another_grpc_server_listens(sandbox):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = doctor(sandbox, "--server", f"127.0.0.1:{port}")
    server.stop(None).wait()
    fails_at(found, "access", "not a Headlong server")


def test_plaintext_where_tls_is_spoken(secured):
    fails_at(doctor(secured.sandbox, "--server", secured.address), "protocol", "speaks TLS",
             "--tls-ca")


def test_tls_where_none_is_spoken(server, secured):
    fails_at(doctor(secured.sandbox, "--server", server.address, "--tls-ca",
                    secured.certs / "ca.crt"), "protocol", "does not speak TLS")


def test_the_wrong_authority(secured, tmp_path):
    secured.run("certs", "init", tmp_path / "other")
    fails_at(secured.doctor(ca=tmp_path / "other" / "ca.crt"), "certificate", "wrong authority",
             "--tls-ca")


def test_the_port_for_workers(secured):
    found = doctor(secured.sandbox, "--server", secured.worker_address, "--tls-ca",
                   secured.certs / "ca.crt")
    fails_at(found, "certificate", "wants to see a certificate", "the port for workers")


def openssl_issue(certs, folder, begin, end, host):
    """A certificate of the cluster's authority with dates of our own."""
    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], cwd=folder, check=True, capture_output=True)

    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("7001")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\npolicy=p\n"
        "default_md=sha256\ncopy_extensions=copy\n[p]\ncommonName=supplied\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            "s.key", "-out", "s.csr", "-subj", "/CN=headlong", "-addext",
            f"subjectAltName={host},URI:spiffe://headlong/coordinator")
    openssl("ca", "-batch", "-config", "ca.cnf", "-cert", certs / "ca.crt", "-keyfile",
            certs / "ca.key", "-in", "s.csr", "-out", "s.crt", "-startdate", begin, "-enddate", end)
    return folder / "s.crt", folder / "s.key"


@pytest.mark.parametrize("begin, end, host, words", [
    ("20200101000000Z", "20210101000000Z", "IP:127.0.0.1", ("has expired", "2021-01-01", "clock")),
    ("20900101000000Z", "20910101000000Z", "IP:127.0.0.1", ("not valid before", "2090", "clock")),
    ("20200101000000Z", "20910101000000Z", "DNS:elsewhere", ("DNS:elsewhere", "not for 127.0.0.1")),
])
def test_certificates_of_another_time_or_place(secured, tmp_path, begin, end, host, words):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = openssl_issue(secured.certs, tmp_path, begin, end, host)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    found = doctor(secured.sandbox, "--server", f"127.0.0.1:{port}", "--tls-ca",
                   secured.certs / "ca.crt")
    server.stop(None).wait()
    fails_at(found, "certificate", *words)


# --- who asks -------------------------------------------------------------------------------------


def test_no_token(secured):
    found = doctor(secured.sandbox, "--server", secured.address, "--tls-ca",
                   secured.certs / "ca.crt")
    fails_at(found, "access", "no access token was shown", "--token-file")


def test_a_token_that_nobody_knows(secured, tmp_path):
    (tmp_path / "t").write_text("x" * 43)
    (tmp_path / "t").chmod(0o600)
    fails_at(secured.doctor(token=tmp_path / "t"), "access", "not known", "revoked")


def test_a_token_without_the_scope(secured):
    fails_at(secured.doctor(token=secured.alice), "access", "scopes do not include read",
             "auth token create")


def test_a_token_file_that_others_may_read(secured, tmp_path):
    shutil.copy(secured.root, tmp_path / "t")
    (tmp_path / "t").chmod(0o644)
    assert secured.doctor(token=tmp_path / "t")["token file"][0] == "warn"
    fails_at(secured.doctor(token=tmp_path / "none"), "token file", "none")


# --- the cluster ----------------------------------------------------------------------------------


def test_a_worker_that_is_missing(secured):
    wait_until(lambda: "1 of 2" in str(secured.doctor()) or "0 of 2" in str(secured.doctor()), 30,
               "an answer")
    found = secured.doctor()
    fails_at(found, "cluster", "does not serve", "waiting")
    assert found["workers"][0] == "warn" and "--worker-of" in found["workers"][2]


def then_wait(event):
    yield event
    threading.Event().wait(5)


def test_a_worker_of_another_version(server):
    """It is refused, and whoever asks later learns why."""
    from headlong.v1 import worker_pb2, worker_pb2_grpc

    port = json.loads(server.out)["worker_address"]
    event = worker_pb2.WorkerEvent(register=worker_pb2.Register(
        protocol=99, worker_id="w7", pid=1, host="10.1.2.3", device="cpu", version="9.9.9"))
    with grpc.insecure_channel(port) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            stub = worker_pb2_grpc.WorkerLinkStub(channel)
            list(stub.Connect(then_wait(event), timeout=10))  # open until it is refused
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    found = checks(server.run("doctor", "-o", "json"))
    fails_at(found, "workers", "w7 of 10.1.2.3", "speaks protocol 99", "different versions")
    assert "w7" in server.run("cluster", "status").out
    assert server.run("workers", "get", "w7").code == 3


def test_workers_too_small_for_the_model(sandbox):
    coordinator = sandbox.spawn("coordinator", "--model", MODEL, "--listen", "127.0.0.1:0",
                                "--worker-listen", "127.0.0.1:0", "--plan", "full")
    coordinator.wait_for_output("\n", 30)
    words = coordinator.out.replace(",", " ").split()
    sandbox.spawn("worker", "--model", MODEL, "--id", "small", "--coordinator", words[-1],
                  "--device", "cpu", "--threads", "1", "--memory-limit", "8MiB")
    address = words[words.index("at") + 1]

    def refused():
        found = doctor(sandbox, "--server", address)
        return found if "bytes" in str(found.get("cluster")) else None

    found = wait_until(refused, 30, "a placement that is refused")
    fails_at(found, "cluster", "does not serve", "--memory-limit")


# --- a worker's way -------------------------------------------------------------------------------


def test_a_worker_that_would_be_taken(secured):
    assert doctor(secured.sandbox, "--worker-of", secured.worker_address, "--model", MODEL,
                  "--device", "cpu", *secured.files("w0")) == {}


def test_a_worker_with_the_wrong_certificate(secured, tmp_path):
    fails_at(doctor(secured.sandbox, "--worker-of", secured.worker_address,
                    *secured.files("coordinator")), "identity", "not a worker's", "--role worker")
    secured.run("certs", "init", tmp_path)
    secured.run("certs", "issue", tmp_path, "w0", "--role", "worker")
    fails_at(doctor(secured.sandbox, "--worker-of", secured.worker_address,
                    *secured.files("w0", tmp_path)), "certificate", "does not take", "w0.crt")
    fails_at(doctor(secured.sandbox, "--worker-of", secured.address, *secured.files("w0")),
             "registration", "worker port")


def rewrite_header(path, change):
    """The safetensors file with its JSON header changed; the numbers stay."""
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8:8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob[8 + length:])


def test_a_worker_with_another_model(secured, tmp_path):
    other = copy_model(tmp_path / "other")
    rewrite_header(other / "model.safetensors",
                   lambda header: header.setdefault("__metadata__", {}).update(of="another one"))
    found = doctor(secured.sandbox, "--worker-of", secured.worker_address, "--model", other,
                   "--device", "cpu", *secured.files("w0"))
    fails_at(found, "registration", "refuses this model", "--model folder")


def test_a_coordinator_of_another_version(sandbox):
    from headlong.v1 import worker_pb2_grpc

    class Newer(worker_pb2_grpc.WorkerLinkServicer):
        def CheckRegister(self, request, context):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION,
                          f"speaks protocol {request.protocol}, this coordinator 99")

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    worker_pb2_grpc.add_WorkerLinkServicer_to_server(Newer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = doctor(sandbox, "--worker-of", f"127.0.0.1:{port}")
    server.stop(None).wait()
    fails_at(found, "registration", "versions do not fit", "this coordinator 99")


# --- the bundle -----------------------------------------------------------------------------------


def test_a_bundle_holds_no_secret(secured, tmp_path):
    path = tmp_path / "b.tar"
    assert "bundle" not in secured.doctor("--bundle", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as tar:
        texts = {name.split("/")[1]: tar.extractfile(name).read().decode()
                 for name in tar.getnames()}
    assert {"README.txt", "findings.json", "findings.txt", "machine.json", "config.json",
            "cluster.json", "workers.json", "requests.json", "epochs.json",
            "model.json"} <= set(texts)
    assert json.loads(texts["cluster.json"])["workers_expected"] == 2
    assert json.loads(texts["findings.json"])["ok"] is False
    token = secured.root.read_text().strip()
    assert not any(token in text or "PRIVATE KEY" in text for text in texts.values())
