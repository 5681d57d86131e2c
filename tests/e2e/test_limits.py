"""What the holder of an access token may use: requests at once, tokens per second, a share of the
caches. Who asks for more is refused with a hint when to come back; the file is read while it runs.
"""
import grpc
import pytest

from support.cluster import Stream, wait_until
from support.secure_cluster import SecureCluster


@pytest.fixture(scope="module")
def cluster(module_sandbox):
    return SecureCluster(module_sandbox, "--max-sequences", "4", "--plan", "full")


def start(channel, **fields):
    fields = {"text": "Once upon a time", "max_tokens": 900, "ignore_eos": True, **fields}
    return Stream(channel, **fields)


def refusal(channel, **fields):
    """Status, message and milliseconds until another try, of a request that is refused."""
    stream = start(channel, **fields)
    with pytest.raises(grpc.RpcError) as refused:
        stream.result(30)
    trailing = dict(refused.value.trailing_metadata())
    return (refused.value.code(), refused.value.details(),
            trailing.get("grpc-retry-pushback-ms"))


def wait_until_known(cluster, token):
    def known():
        return cluster.run("tokenize", "--text", "x", token=token).code != 4

    wait_until(known, 10, "the new token")


def test_requests_at_once(cluster):
    carol = cluster.create_token("carol", "infer", "--max-concurrent", "2")
    wait_until_known(cluster, carol)
    with cluster.channel(carol) as channel, cluster.channel(cluster.alice) as other:
        streams = [start(channel), start(channel)]
        for stream in streams:
            stream.wait_for_tokens(1)
        code, why, wait_ms = refusal(channel)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 requests at once" in why and wait_ms == "1000"
        assert len(start(other, max_tokens=3).result()) == 3, "others are not concerned"
        streams[0].cancel()
        wait_until(lambda: not refused_now(channel), 10, "the place of the cancelled one")
        streams[1].cancel()


def refused_now(channel):
    stream = start(channel, max_tokens=1)
    try:
        stream.result(30)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        return True
    return False


def test_tokens_per_second(cluster):
    dave = cluster.create_token("dave", "infer", "--tokens-per-second", "0.5")
    wait_until_known(cluster, dave)
    with cluster.channel(dave) as channel:
        assert len(start(channel, max_tokens=100).result()) == 100, "one that runs goes on"
        code, why, wait_ms = refusal(channel)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "0.5 tokens per second" in why and 1000 < int(wait_ms) < 2 * 110 * 1000
    tokenize = cluster.run("tokenize", "--text", "Once", token=dave)
    assert tokenize.code != 0 and "0.5 tokens per second" in tokenize.err


def test_share_of_the_caches(cluster):
    erin = cluster.create_token("erin", "infer", "--cache-share", "0.3")
    wait_until_known(cluster, erin)
    with cluster.channel(erin) as channel:
        stream = start(channel, max_tokens=700)
        stream.wait_for_tokens(1)
        code, why, wait_ms = refusal(channel, max_tokens=700)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, why
        assert "may hold 30.0 %" in why and wait_ms == "1000"
        assert len(start(channel, max_tokens=8).result()) == 8, "a short one has its place"
        stream.cancel()
        assert len(stream.tokens) < 700
    frank = cluster.create_token("frank", "infer", "--cache-share", "0.01")
    wait_until_known(cluster, frank)
    with cluster.channel(frank) as channel:
        code, why, wait_ms = refusal(channel)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and wait_ms is None
        assert "fewer max_tokens" in why


def test_limits_are_listed_and_changed_while_it_runs(cluster):
    grace = cluster.create_token("grace", "infer", "--max-concurrent", "1", "--tokens-per-second",
                                 "1000", "--cache-share", "0.5")
    listed = cluster.sandbox.run("auth", "token", "list", cluster.tokens, "-o", "json").json()
    [entry] = [entry for entry in listed if entry["name"] == "grace"]
    assert entry == {"name": "grace", "scopes": ["infer"], "max_concurrent": 1,
                     "tokens_per_second": 1000, "cache_share": 0.5}
    wait_until_known(cluster, grace)
    with cluster.channel(grace) as channel:
        first = start(channel, max_tokens=400)
        first.wait_for_tokens(1)
        assert refused_now(channel)
        text = cluster.tokens.read_text()
        cluster.tokens.write_text(text.replace(" max-concurrent=1 ", " max-concurrent=2 "))
        wait_until(lambda: not refused_now(channel), 10, "the new limits")
        first.cancel()


def test_wrong_limits_are_named(sandbox, tmp_path):
    for option, value in (("--max-concurrent", "0"), ("--tokens-per-second", "-3"),
                          ("--cache-share", "2"), ("--cache-share", "x")):
        refused = sandbox.run("auth", "token", "create", tmp_path / "t", "x", option, value)
        assert refused.code == 2 and option in refused.err, refused
    assert not (tmp_path / "t").exists()
