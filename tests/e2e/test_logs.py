"""Logs of all roles, as text and as JSON: a request's id and trace in them, never what it said."""
import json
import re
import time

import grpc
import pytest

from support.cluster import MODEL, connect, wait_until
from support.roles import Roles

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
PROMPT = "The secret of Katharina is turquoise"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def generate(channel, metadata=(), **fields):
    """The ids that the answer came under, and its text."""
    from headlong.v1 import inference_pb2, inference_pb2_grpc

    fields = {"text": PROMPT, "max_tokens": 12, "ignore_eos": True, **fields}
    ids, text = set(), ""
    for response in inference_pb2_grpc.InferenceStub(channel).Generate(
            inference_pb2.GenerateRequest(**fields), metadata=metadata, timeout=60):
        ids.add(response.request_id)
        text += response.chunk.text
    return ids, text


def json_lines(process):
    return [json.loads(line) for line in process.err.splitlines()]


def line_of(process, request_id):
    def found():
        return [line for line in json_lines(process) if line.get("request_id") == request_id]

    wait_until(found, 10, f"the line of {request_id}")
    [line] = [line for line in found() if line["level"] == "info"]
    return line


@pytest.fixture(scope="module")
def roles(module_sandbox):
    options = ["--log-format", "json", "--log-level", "debug"]
    return Roles(module_sandbox, workers=2, timeout=60, coordinator_options=options,
                 worker_options=options)


def test_every_line_is_an_object_that_says_who_wrote_it(roles):
    for component, process in (("coordinator", roles.coordinator), ("worker", roles.workers[1])):
        lines = json_lines(process)
        assert lines
        for line in lines:
            assert TIME.fullmatch(line["ts"]) and line["component"] == component
            assert line["level"] in ("debug", "info", "warning", "error") and line["msg"]
            assert line.get("worker") == ("alone-1" if component == "worker" else None)


def test_ids_come_from_metadata(roles):
    channel = connect(roles.clients)
    metadata = [("x-request-id", "from-a-proxy"), ("traceparent", PARENT)]
    ids, _ = generate(channel, metadata)
    assert ids == {"from-a-proxy"}
    line = line_of(roles.coordinator, "from-a-proxy")
    assert line["trace_id"] == TRACE
    assert re.match(r"request ended: length; \d+ prompt tokens, 12 generated", line["msg"])
    ids, _ = generate(channel, [("x-request-id", "x"), ("traceparent", "00-nonsense")],
                      request_id="of-the-message")
    assert ids == {"of-the-message"}
    assert "trace_id" not in line_of(roles.coordinator, "of-the-message")
    ids, _ = generate(channel, [("x-request-id", "no name!")])
    assert re.fullmatch(r"r-[0-9a-f]{16}", ids.pop())


def test_refusals_are_logged_by_their_code(roles):
    with pytest.raises(grpc.RpcError):
        generate(connect(roles.clients), request_id="too-hot", temperature=77)
    wait_until(lambda: "request failed: INVALID_ARGUMENT" in roles.coordinator.err, 10, "the line")


def test_nothing_of_prompts_and_answers_is_logged(roles, sandbox):
    """Also not at level debug, nor of requests that are refused."""
    channel = connect(roles.clients)
    _, text = generate(channel, max_tokens=40, stop=["Katharina's stop"])
    for wrong in (dict(model=PROMPT), dict(stop=[""]), dict(text=PROMPT * 40000)):
        with pytest.raises(grpc.RpcError):
            generate(channel, **wrong)
    serve = sandbox.serve("--workers", "1", "--log-level", "debug")
    serve.run("generate", "--prompt", PROMPT, "--max-tokens", "40")
    time.sleep(0.5)
    logs = "".join(process.err for process in (roles.coordinator, *roles.workers, serve))
    assert "request ended" in logs
    for said in ("Katharina", "turquoise", text[:20], "stop\""):
        assert said not in logs


def test_serve_passes_the_lines_of_its_workers_on(sandbox):
    serve = sandbox.spawn("serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--workers", "2",
                          "--log-format", "json", "-o", "json")
    serve.wait_for_output("\n", 60)
    serve.popen.terminate()
    assert serve.wait(20) == 0
    lines = json_lines(serve)
    assert {(line["component"], line.get("worker")) for line in lines} == {
        ("serve", None), ("worker", "w0"), ("worker", "w1")}


def test_text_lines_carry_the_ids(sandbox):
    serve = sandbox.serve("--workers", "1")
    generate(serve.channel, [("traceparent", PARENT)], request_id="plain")
    wait_until(lambda: f"request_id=plain trace_id={TRACE}" in serve.err, 10, "the line")
