"""A client in another language: Python's grpcio with stubs generated from proto/."""
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

from headlong.v1 import admin_pb2, admin_pb2_grpc, inference_pb2, inference_pb2_grpc
from support.cluster import Stream, wait_until

LONG = dict(text="Once upon a time", temperature=0, max_tokens=8000, ignore_eos=True)


@pytest.fixture
def admin(server):
    return admin_pb2_grpc.AdminStub(server.channel)


def is_idle(admin):
    cluster = admin.GetCluster(admin_pb2.GetClusterRequest())
    return cluster.requests_running == cluster.requests_waiting == cluster.cache_bytes_used == 0


def test_streams_an_answer(server, admin):
    stream = Stream(server.channel, text="Once upon a time", temperature=0, max_tokens=40,
                    ignore_eos=True, request_id="a-story")
    assert len(stream.result()) == 40
    assert stream.accepted.request_id == "a-story"
    finished = stream.finished
    assert finished.reason == inference_pb2.FINISH_REASON_LENGTH
    assert finished.usage.completion_tokens == 40
    assert finished.usage.prompt_tokens == stream.accepted.accepted.prompt_tokens == 6
    assert 0 < finished.usage.cache_bytes <= finished.usage.full_cache_bytes
    timing = finished.timing
    assert 0 < timing.prefill_ms and 0 < timing.decode_ms
    assert timing.total_ms >= timing.decode_ms
    inference = inference_pb2_grpc.InferenceStub(server.channel)
    request = inference_pb2.DetokenizeRequest(token_ids=stream.tokens)
    assert inference.Detokenize(request).text.strip() == stream.text.strip()
    wait_until(lambda: is_idle(admin), 2, "an idle cluster")


def test_cancel_frees_the_cache(server, admin):
    stream = Stream(server.channel, request_id="to-cancel", **LONG)
    stream.wait_for_tokens(20)
    listed = admin.ListRequests(admin_pb2.ListRequestsRequest()).requests
    assert [(r.request_id, r.state) for r in listed] == [("to-cancel", "decode")]
    assert listed[0].cache_bytes > 0
    stream.cancel()
    with pytest.raises(grpc.RpcError) as error:
        stream.result()
    assert error.value.code() == grpc.StatusCode.CANCELLED
    wait_until(lambda: is_idle(admin), 2, "an idle cluster after a cancelled call")


def test_cancel_during_a_long_prompt(server, admin):
    stream = Stream(server.channel, prompt_ids=[0] + [300 + i % 7000 for i in range(24000)],
                    temperature=0, max_tokens=4)
    wait_until(lambda: not is_idle(admin), 10, "a running request")
    stream.cancel()
    wait_until(lambda: is_idle(admin), 5, "an idle cluster after a cancelled prompt")


def test_admin_cancels_a_request(server, admin):
    stream = Stream(server.channel, request_id="from-outside", **LONG)
    stream.wait_for_tokens(5)
    assert server.run("requests", "cancel", "from-outside").code == 0
    stream.result(10)
    assert stream.finished.reason == inference_pb2.FINISH_REASON_CANCELLED
    assert server.run("requests", "cancel", "from-outside").code == 3
    wait_until(lambda: is_idle(admin), 2, "an idle cluster")


def test_deadline(server, admin):
    begin = time.monotonic()
    stream = Stream(server.channel, timeout=1.0, **LONG)
    with pytest.raises(grpc.RpcError) as error:
        stream.result()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.5 < time.monotonic() - begin < 5
    assert stream.tokens
    wait_until(lambda: is_idle(admin), 2, "an idle cluster after a deadline")


def test_stop_strings_and_unicode(server):
    whole = Stream(server.channel, text="Once upon a time", temperature=0, max_tokens=40)
    whole.result()
    stop = whole.text[10:14]
    stopped = Stream(server.channel, text="Once upon a time", temperature=0, max_tokens=40,
                     stop=[stop])
    stopped.result()
    assert stopped.finished.reason == inference_pb2.FINISH_REASON_STOP
    assert stopped.text == whole.text[:whole.text.index(stop)]
    odd = "naïve “quotes” 日本語 👩‍👩‍👧 \u0000 end"
    inference = inference_pb2_grpc.InferenceStub(server.channel)
    ids = inference.Tokenize(inference_pb2.TokenizeRequest(text=odd)).token_ids
    assert inference.Detokenize(inference_pb2.DetokenizeRequest(token_ids=ids)).text == odd


def test_model_describes_itself(server):
    inference = inference_pb2_grpc.InferenceStub(server.channel)
    model = inference.GetModel(inference_pb2.GetModelRequest())
    assert model.name == "needle-10m"
    assert (model.shape.layers, model.shape.kv_heads, model.shape.head_dim) == (8, 4, 64)
    assert model.dtype == "fp32"
    assert len(model.shape.fingerprint) == 64


def test_health_and_reflection(server):
    health = health_pb2_grpc.HealthStub(server.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ["", "headlong.v1.Inference"]:
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
    services = ProtoReflectionDescriptorDatabase(server.channel).get_services()
    assert {"headlong.v1.Inference", "headlong.v1.Admin"} <= set(services)
