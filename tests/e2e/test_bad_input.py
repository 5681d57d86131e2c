"""Everything a client or operator can get wrong: one clear error, within seconds, non-zero exit."""
import math
import shutil
import socket

import grpc
import pytest

from headlong.v1 import inference_pb2, inference_pb2_grpc
from support.cluster import MODEL, Stream, connect

SECONDS = 10
CONTEXT = 32768


def check_refused(result, code, *words):
    """One line that names the matter, on stderr only."""
    assert result.code == code, result
    assert result.seconds < SECONDS, result
    assert result.err.startswith("headlong: ") or code == 2, result
    for word in words:
        assert word in result.err, result
    assert "terminate called" not in result.err and "Aborted" not in result.err


def refusal(stream):
    with pytest.raises(grpc.RpcError) as error:
        stream.result(SECONDS)
    return error.value.code(), error.value.details()


# --- requests -------------------------------------------------------------------------------------


def test_empty_prompt(server):
    check_refused(server.run("generate", "--prompt", ""), 1, "prompt")
    (server.sandbox.folder / "empty.txt").write_text("")
    check_refused(server.run("generate", "--prompt-file", "empty.txt"), 1, "prompt")
    code, details = refusal(Stream(server.channel, prompt_ids=[]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "prompt" in details


def test_prompt_over_the_context(server):
    code, details = refusal(Stream(server.channel, prompt_ids=[5] * (CONTEXT + 1)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and str(CONTEXT) in details
    code, details = refusal(Stream(server.channel, prompt_ids=[5] * (CONTEXT - 8), max_tokens=9))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and str(CONTEXT) in details
    (server.sandbox.folder / "long.txt").write_text("the sea and the ship " * 40000)
    check_refused(server.run("generate", "--prompt-file", "long.txt"), 1, str(CONTEXT))


@pytest.mark.parametrize("field, value", [
    ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf),
    ("temperature", 2.5), ("top_p", 0.0), ("top_p", 1.5), ("top_p", math.nan), ("top_k", -2),
    ("min_p", -0.1), ("min_p", math.nan), ("max_tokens", 0), ("max_tokens", -1),
    ("max_tokens", 2**62), ("logprobs", -1), ("logprobs", 21), ("stop", [""]),
    ("stop", ["x" * 257]), ("stop", ["x"] * 17), ("request_id", "a b"), ("request_id", "x" * 65),
    ("prompt_tokens", 7), ("resume_token_ids", [1 << 30])])
def test_parameters_out_of_range(server, field, value):
    fields = dict(dict(prompt_ids=[0, 5, 6], max_tokens=4), **{field: value})
    code, details = refusal(Stream(server.channel, **fields))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in details, details


@pytest.mark.parametrize("flag, value, word", [
    ("--temperature", "-1", "temperature"), ("--temperature", "nan", "temperature"),
    ("--top-p", "nan", "top_p"), ("--max-tokens", "-3", "max_tokens"),
    ("--logprobs", "99", "logprobs")])
def test_flags_out_of_range(server, flag, value, word):
    check_refused(server.run("generate", "--prompt", "x", flag, value), 1, word)


def test_token_ids_beyond_the_vocabulary(server):
    code, details = refusal(Stream(server.channel, prompt_ids=[0, 8192]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "8192" in details


def test_prompt_of_100_megabytes(server):
    big = b"word " * (20 << 20)
    code, details = refusal(Stream(server.channel, text=big.decode()))
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    (server.sandbox.folder / "big.txt").write_bytes(big)
    refused = server.run("generate", "--prompt-file", "big.txt", timeout=60)
    assert refused.code == 1 and refused.err.startswith("headlong: "), refused
    assert refused.seconds < SECONDS
    assert server.run("cluster", "status").code == 0  # and still serves


def test_invalid_utf8(server):
    (server.sandbox.folder / "bad.txt").write_bytes(b"good \xff\xfe bad")
    check_refused(server.run("generate", "--prompt-file", "bad.txt"), 1, "bad.txt", "UTF-8", "5")
    # The Python stubs refuse to send it, so the message goes as raw bytes.
    raw = server.channel.unary_stream("/headlong.v1.Inference/Generate")
    with pytest.raises(grpc.RpcError) as error:
        list(raw(b"\x12\x02\xff\xfe", timeout=SECONDS))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "text: must be UTF-8" in error.value.details()


def test_two_requests_of_one_id(server):
    request = dict(text="x", max_tokens=4000, ignore_eos=True, request_id="twin")
    first = Stream(server.channel, **request)
    first.wait_for_tokens(1)
    code, details = refusal(Stream(server.channel, **request))
    assert code == grpc.StatusCode.ALREADY_EXISTS and "twin" in details
    first.cancel()


def test_unknown_model_in_a_request(server):
    code, details = refusal(Stream(server.channel, text="x", model="gpt-17"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "gpt-17" in details


def test_broken_batch_lines(sandbox):
    (sandbox.folder / "in.jsonl").write_text('{"id":"a","prompt":"x"}\n{"id":"b"\n')
    refused = sandbox.run("batch", "--in", "in.jsonl", "--out", "out.jsonl", "--model", MODEL)
    check_refused(refused, 1, "in.jsonl", "2")


# --- models and plans -----------------------------------------------------------------------------


def serve_refused(sandbox, *args, timeout=30):
    result = sandbox.run("serve", "--listen", "127.0.0.1:0", *args, timeout=timeout)
    sandbox.assert_nothing_left()
    return result


def test_unknown_model(sandbox):
    check_refused(serve_refused(sandbox, "--model", "no/such/folder"), 3, "no/such/folder")
    check_refused(sandbox.run("generate", "--model", "no/such/folder", "--prompt", "x"), 3,
                  "no/such/folder")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_half_a_model_folder(sandbox, missing):
    folder = sandbox.folder / "half"
    shutil.copytree(MODEL, folder)
    (folder / missing).unlink()
    refused = serve_refused(sandbox, "--model", folder, "--workers", 2)
    assert refused.code in (1, 3), refused
    check_refused(refused, refused.code, missing)


def test_truncated_weights(sandbox):
    folder = sandbox.folder / "short"
    shutil.copytree(MODEL, folder)
    with open(folder / "model.safetensors", "r+b") as weights:
        weights.truncate(10_000_000)
    check_refused(serve_refused(sandbox, "--model", folder), 1, "model.safetensors")


@pytest.mark.parametrize("plan, word", [
    ("no-plan.json", "no-plan.json"), ('{"version":1', "plan.json"),
    ('{"version":2,"layers":8,"kv_heads":4}', "version"),
    ('{"version":1,"layers":9,"kv_heads":4,"policies":{"r":{}},"default":"r","heads":[]}', "9")])
def test_broken_plans(sandbox, plan, word):
    path = sandbox.folder / "plan.json"
    if plan.startswith("{"):
        path.write_text(plan)
    refused = serve_refused(sandbox, "--model", MODEL, "--plan",
                            path if plan.startswith("{") else plan)
    assert refused.code in (1, 3), refused
    check_refused(refused, refused.code, word)


# --- addresses, commands --------------------------------------------------------------------------


def test_port_in_use(sandbox):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = sandbox.run("serve", "--model", MODEL, "--listen", f"127.0.0.1:{port}")
    check_refused(refused, 1, str(port))
    sandbox.assert_nothing_left()


def test_listening_beyond_this_machine_needs_a_word(sandbox):
    refused = sandbox.run("serve", "--model", MODEL, "--listen", "0.0.0.0:0")
    check_refused(refused, 1, "--insecure")
    sandbox.assert_nothing_left()


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(sandbox):
    refused = sandbox.run("serve", "--model", MODEL, "--device", "cuda", "--listen", "127.0.0.1:0",
                          timeout=30)
    assert refused.code not in (0, 2), refused
    check_refused(refused, 1, "--device cuda")
    assert refused.err.count("\n") == 1, refused


def test_worker_without_a_coordinator(sandbox):
    refused = sandbox.run("worker", "--coordinator", "127.0.0.1:1", "--id", "lonely", "--model",
                          MODEL, "--coordinator-timeout", 2, "--log-level", "error", timeout=30)
    check_refused(refused, 5, "127.0.0.1:1")


@pytest.mark.parametrize("command", [
    ["generate", "--prompt", "x"], ["cluster", "status"], ["workers", "list"],
    ["placement", "show"], ["requests", "list"]])
def test_no_server(sandbox, command):
    refused = sandbox.run(*command, "--server", "127.0.0.1:1", timeout=30)
    check_refused(refused, 5, "127.0.0.1:1")


@pytest.mark.parametrize("command", [
    ["generat"], ["generate"], ["generate", "--prompt", "x", "--prompt-file", "y"],
    ["serve", "--workers", "0"], ["serve", "--workers", "two"], ["serve", "--listen", "nonsense"],
    ["serve", "--memory-limit", "2 parsecs"], ["generate", "--prompt", "x", "-o", "xml"],
    ["serve", "--device", "abacus"], ["worker"],
    ["serve", "--model", str(MODEL), "--workers", "3", "--memory-limit", "1GiB,2GiB"]])
def test_usage_mistakes(sandbox, command):
    check_refused(sandbox.run(*command), 2)


def test_garbage_on_the_wire(server):
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    generate = inference_pb2_grpc.InferenceStub(connect(server.address)).GetModel
    assert generate(inference_pb2.GetModelRequest(), timeout=SECONDS).name == "needle-10m"
