"""A request's answer does not depend on what else is computed beside it."""
import json

from support.cluster import GOLDEN, MODEL, Stream

PROMPTS = [case["prompt_ids"] for case in
           json.loads((GOLDEN / "needle-10m.transformers.json").read_text())]
REQUESTS = ([dict(prompt_ids=ids, temperature=0, max_tokens=48, ignore_eos=True)
             for ids in PROMPTS] +
            [dict(prompt_ids=ids, temperature=0.8, top_p=0.95, seed=7 + len(ids), max_tokens=48,
                  ignore_eos=True) for ids in PROMPTS])


def test_concurrent_requests_equal_single_ones(server):
    alone = [Stream(server.channel, **request).result() for request in REQUESTS]
    together = [Stream(server.channel, **request) for request in REQUESTS]
    assert [stream.result() for stream in together] == alone


def test_more_requests_than_sequences(sandbox):
    server = sandbox.serve("--workers", 2, "--max-sequences", 2, "--dtype", "fp32")
    alone = Stream(server.channel, **REQUESTS[3]).result()
    together = [Stream(server.channel, **REQUESTS[3]) for _ in range(7)]
    assert [stream.result() for stream in together] == [alone] * 7
    cluster = server.json("cluster", "status")
    assert cluster["requests_running"] == cluster["requests_waiting"] == 0
    assert cluster["cache_bytes_used"] == 0


def test_seeds(server):
    request = dict(text="Once upon a time", temperature=1, max_tokens=32, ignore_eos=True)
    seeded = Stream(server.channel, seed=11, **request).result()
    assert Stream(server.channel, seed=11, **request).result() == seeded
    assert Stream(server.channel, seed=12, **request).result() != seeded
    # The server's own seed is returned and repeats the answer.
    unseeded = Stream(server.channel, **request)
    tokens = unseeded.result()
    chosen = unseeded.accepted.accepted.seed
    assert Stream(server.channel, seed=chosen, **request).result() == tokens


def test_resumed_stream_goes_on_where_it_stopped(server):
    request = dict(text="It was a dark and stormy night", temperature=0.7, seed=3, max_tokens=40,
                   ignore_eos=True)
    whole = Stream(server.channel, **request).result()
    resumed = Stream(server.channel, resume_token_ids=whole[:25], **request)
    assert resumed.result() == whole


def test_batch_command_can_be_stopped_and_started(sandbox):
    requests, results = sandbox.folder / "in.jsonl", sandbox.folder / "out.jsonl"
    lines = [json.dumps({"id": f"r{i}", "prompt": "The sea", "max_tokens": 8}) for i in range(6)]
    requests.write_text("\n".join(lines[:3]) + "\n")
    command = ["batch", "--in", requests, "--out", results, "--model", MODEL, "-o", "json"]
    assert sandbox.run(*command).json()["done"] == 3
    requests.write_text("\n".join(lines) + "\n")
    results.write_text(results.read_text()[:-10])  # torn by a crash
    assert sandbox.run(*command).json() == {"done_before": 2, "done": 4, "failed": 0}
    answers = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(answer["id"] for answer in answers) == [f"r{i}" for i in range(6)]
