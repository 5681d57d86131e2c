"""Strangers at the ports: certificates of workers, TLS and access tokens of clients."""
import ssl

import grpc
import pytest

from support.cluster import MODEL, Stream, wait_until
from support.secure_cluster import SecureCluster


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    return SecureCluster(module_sandbox)


def generate(cluster, *options, **more):
    return cluster.run("generate", "--prompt", "Once upon a time", "--max-tokens", "8", *options,
                       **more)


def test_a_known_client_is_answered(cluster):
    answer = generate(cluster, "-o", "json").json()
    assert len(answer["token_ids"]) == 8
    plain = cluster.sandbox.run("generate", "--model", MODEL, "--prompt", "Once upon a time",
                                "--max-tokens", "8", "-o", "json").json()
    assert answer["token_ids"] == plain["token_ids"]


def test_serve_speaks_tls_and_asks_for_tokens(cluster, tmp_path):
    certs = cluster.folder
    server = cluster.sandbox.serve(
        "--workers", "1", "--access-tokens", cluster.tokens, "--tls-cert",
        certs / "coordinator.crt", "--tls-key", certs / "coordinator.key")
    try:
        known = ["--tls-ca", certs / "ca.crt", "--token-file", cluster.root]
        answer = server.json("generate", "--prompt", "Once", "--max-tokens", "4", *known)
        assert len(answer["token_ids"]) == 4
        assert server.run("cluster", "status", *known[:2]).code == 4
    finally:
        assert server.stop() == 0


def test_scopes_say_what_a_token_is_for(cluster):
    assert generate(cluster, token=cluster.alice).code == 0
    denied = cluster.run("workers", "list", token=cluster.alice)
    assert denied.code == 4 and "scopes" in denied.err
    assert cluster.run("requests", "cancel", "nobody", token=cluster.alice).code == 4
    assert cluster.run("requests", "cancel", "nobody", token=cluster.root).code == 3
    log = cluster.coordinator.err
    [line] = [line for line in log.splitlines() if "audit: root" in line]
    for part in ('called /headlong.v1.Admin/CancelRequest request_id="nobody"', "from ipv4:",
                 "in epoch 1: NOT_FOUND"):
        assert part in line
    assert "refused: alice called /headlong.v1.Admin/CancelRequest" in log


def test_a_foreign_client_program_streams(cluster):
    with cluster.channel(cluster.alice) as channel:
        stream = Stream(channel, text="Once upon a time", max_tokens=5, ignore_eos=True)
        assert len(stream.result()) == 5


def test_clients_that_are_refused(cluster, tmp_path):
    nobody = tmp_path / "nobody"
    nobody.write_text("x" * 43)
    refused = generate(cluster, token=nobody)
    assert refused.code == 4 and "token is not known" in refused.err
    without = cluster.sandbox.run("cluster", "status", "--server", cluster.address,
                                  "--tls-ca", cluster.folder / "ca.crt")
    assert without.code == 4 and "access token is needed" in without.err
    plaintext = cluster.sandbox.run("cluster", "status", "--server", cluster.address)
    assert plaintext.code == 5 and "--tls-ca" in plaintext.err
    assert cluster.sandbox.run("certs", "init", tmp_path / "other").code == 0
    foreign = cluster.sandbox.run("cluster", "status", "--server", cluster.address,
                                  "--tls-ca", tmp_path / "other" / "ca.crt",
                                  "--token-file", cluster.root)
    assert foreign.code == 5, "a server that our authority did not sign for"
    in_the_clear = cluster.sandbox.run("cluster", "status", "--server", cluster.address,
                                       "--token-file", cluster.root)
    assert in_the_clear.code != 0 and "in the clear" in in_the_clear.err


def test_tokens_come_and_go_while_it_runs(cluster):
    carol = cluster.create_token("carol", "infer")
    wait_until(lambda: generate(cluster, token=carol).code == 0, 10, "the new token")
    assert cluster.sandbox.run("auth", "token", "revoke", cluster.tokens, "carol").code == 0
    wait_until(lambda: generate(cluster, token=carol).code == 4, 10, "the token's end")
    listed = cluster.sandbox.run("auth", "token", "list", cluster.tokens, "-o", "json").json()
    assert [entry["name"] for entry in listed] == ["alice", "root"]


def worker_is_refused(cluster, files):
    worker = cluster.start_worker("w0", "stranger", "--coordinator-timeout", "2", files=files)
    code = worker.wait(30)
    assert code != 0
    return worker.err


def test_workers_that_are_refused(cluster, tmp_path):
    assert "coordinator" in worker_is_refused(cluster, [])  # plaintext
    assert cluster.sandbox.run("certs", "init", tmp_path).code == 0
    cluster.issue("w9", "worker", folder=tmp_path)
    worker_is_refused(cluster, cluster.files("w9", folder=tmp_path))  # a foreign authority's
    role = worker_is_refused(cluster, cluster.files("coordinator"))
    assert "not a worker's" in role
    assert {worker["id"] for worker in cluster.run("workers", "list", "-o", "json").json()} == {
        "w0", "w1"}


def test_a_renewed_certificate_needs_no_restart(cluster):
    def serial():
        host, port = cluster.address.split(":")
        return ssl.get_server_certificate((host, int(port)))

    before = serial()
    cluster.issue("coordinator", "coordinator", "--host", "127.0.0.1", "--host", "localhost")
    wait_until(lambda: serial() != before, 20, "the renewed certificate")
    assert generate(cluster).code == 0


def test_flags_that_do_not_fit_are_named(sandbox, tmp_path):
    certs = tmp_path / "c"
    assert sandbox.run("certs", "init", certs).code == 0
    again = sandbox.run("certs", "init", certs)
    assert again.code == 6 and "there already" in again.err
    no_host = sandbox.run("certs", "issue", certs, "c", "--role", "coordinator")
    assert no_host.code != 0 and "--host" in no_host.err
    for name in ("a", "b"):
        assert sandbox.run("certs", "issue", certs, name, "--role", "worker").code == 0
    assert (certs / "a.key").stat().st_mode & 0o777 == 0o600

    def refused(*options):
        result = sandbox.run("coordinator", "--model", MODEL, "--worker-listen", "127.0.0.1:0",
                             *options)
        assert result.code not in (0, 130), result
        return result.err

    assert "--tls-key: --tls-cert needs it" in refused("--tls-cert", certs / "a.crt")
    assert "is not the key of" in refused("--tls-cert", certs / "a.crt", "--tls-key",
                                          certs / "b.key")
    assert "cannot be read" in refused("--tls-ca", certs / "none.crt")
    assert "holds no PEM" in refused("--tls-cert", certs / "a.key", "--tls-key", certs / "a.key")
    assert "in the clear" in refused("--access-tokens", certs / "t")
    beyond = refused("--listen", "0.0.0.0:0", "--tls-cert", certs / "a.crt",
                     "--tls-key", certs / "a.key")
    assert "--listen" in beyond and "--access-tokens" in beyond


def test_what_makes_them_answers_in_json(sandbox, tmp_path):
    made = sandbox.run("certs", "init", tmp_path, "-o", "json").json()
    assert made == {"certificate": str(tmp_path / "ca.crt"), "key": str(tmp_path / "ca.key")}
    issued = sandbox.run("certs", "issue", tmp_path, "w0", "--role", "worker", "--host", "gpu-7",
                         "-o", "json").json()
    assert issued["identity"] == "spiffe://headlong/worker/w0" and issued["hosts"] == ["gpu-7"]
    assert issued["certificate"] == str(tmp_path / "w0.crt")
    tokens = tmp_path / "tokens"
    token = sandbox.run("auth", "token", "create", tokens, "a", "--scopes", "infer,read",
                        "--max-concurrent", 4, "-o", "json").json()
    assert len(token.pop("token")) == 43
    assert token == {"name": "a", "scopes": ["infer", "read"], "max_concurrent": 4}
    assert sandbox.run("auth", "token", "list", tokens, "-o", "json").json() == [token]
    revoked = sandbox.run("auth", "token", "revoke", tokens, "a", "-o", "json").json()
    assert revoked == {"name": "a", "revoked": True}
    assert sandbox.run("auth", "token", "list", tokens, "-o", "json").json() == []


def test_show_says_how_long(sandbox, tmp_path):
    assert sandbox.run("certs", "init", tmp_path, "--days", "100").code == 0
    assert sandbox.run("certs", "issue", tmp_path, "w", "--role", "worker", "--host", "10.0.0.1",
                       "--host", "gpu-7.cluster", "--days", "3").code == 0
    authority = sandbox.run("certs", "show", tmp_path / "ca.crt", "-o", "json").json()
    assert authority["authority"] and 99 < authority["days_left"] <= 100
    worker = sandbox.run("certs", "show", tmp_path / "w.crt", "-o", "json").json()
    assert worker["names"] == ["URI:spiffe://headlong/worker/w", "IP Address:10.0.0.1",
                               "DNS:gpu-7.cluster"]
    assert not worker["authority"] and 2 < worker["days_left"] <= 3
    assert "spiffe://headlong/worker/w" in sandbox.run("certs", "show", tmp_path / "w.crt").out
