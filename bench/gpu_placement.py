#!/usr/bin/env python3
"""What placement brings on GPUs: the step of many long sequences with heads in order, with whole
heads placed, and with stripes, beside what the placement's model says.

Llama-3-8B shapes with dummy weights; which heads are full comes from a table of head scores, one
line per layer, of which the upper half become retrieval heads (DuoAttention's are published so).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import gpu_bench

SINKS, WINDOW = 4, 256


def plan_of(scores):
    rows = [[float(cell) for cell in line.split()] for line in scores.splitlines() if line.strip()]
    ranked = sorted((score for row in rows for score in row), reverse=True)
    threshold = ranked[len(ranked) // 2 - 1]
    heads = [{"layer": layer, "heads": [head for head, score in enumerate(row)
                                        if score >= threshold], "policy": "full"}
             for layer, row in enumerate(rows)]
    return {"version": 1, "layers": len(rows), "kv_heads": len(rows[0]),
            "policies": {"full": {}, "local": {"sinks": SINKS, "window_tokens": WINDOW}},
            "default": "local", "heads": [entry for entry in heads if entry["heads"]]}


def heads_in_order(workers):
    """Every layer's heads, columns and rows cut into equal ranges: tensor parallelism."""
    model = gpu_bench.LLAMA
    layers, heads = model["num_hidden_layers"], model["num_key_value_heads"]
    each = heads // workers
    return {"workers": [
        {"id": f"w{i}",
         "heads": [{"layer": layer, "head": head}
                   for layer in range(layers) for head in range(i * each, (i + 1) * each)],
         "mlp_columns": [model["intermediate_size"] // workers] * layers,
         "vocab_rows": model["vocab_size"] // workers} for i in range(workers)]}


def measure(bench, args, options):
    """Milliseconds of a decode step of all sequences, and the placement's own figures."""
    requests = bench.folder / "requests.jsonl"
    lines = [{"id": str(i), "max_tokens": 3000, "ignore_eos": True, "temperature": 0,
              "prompt_ids": json.loads(bench.prompt(args.context, seed=i).read_text())}
             for i in range(args.sequences)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = bench.folder / "results.jsonl"
    out.unlink(missing_ok=True)
    with bench.server(*bench.model("Llama-3-8B"), "--dtype", "bf16", "--plan", bench.plan,
                      "--workers", args.gpus, "--max-sequences", args.sequences, "--max-context",
                      args.context + 4096, "--max-batch-tokens", 4096, *options) as address:
        shown = bench.run("placement", "show", "--server", address)
        client = subprocess.Popen(
            [bench.headlong, "batch", "--server", address, "--in", requests, "--out", out,
             "--concurrency", str(args.sequences)], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            gpu_bench.wait_until_all_decode(bench, address, args.sequences, 120)
            time.sleep(1.5)  # graphs are made
            first, begin = gpu_bench.steps_of(bench, address)
            time.sleep(4)
            last, end = gpu_bench.steps_of(bench, address)
        finally:
            client.kill()
            client.wait()
    return 1e3 * (end - begin) / (last - first), shown


def split_heads(placement):
    return len({(head["layer"], head["head"]) for worker in placement["workers"]
                for head in worker["heads"] if head["stripe"][1] > 1})


def compare(bench, args):
    in_order = bench.folder / "in_order.json"
    in_order.write_text(json.dumps(heads_in_order(args.gpus)))
    cases = {"heads in order": ["--placement", in_order], "whole heads": ["--stripes", "off"],
             "stripes": ["--stripes", "auto"]}
    rows = [["placement", "heads split", "modelled ms", "bound ms", "measured ms",
             "measured / modelled"]]

    def one(_, name, options):
        measured, shown = measure(bench, args, options)
        rows.append([name, split_heads(shown), f"{shown['step_ms']:.2f}",
                     f"{shown['lower_bound_ms']:.2f}", f"{measured:.2f}",
                     f"{measured / shown['step_ms']:.2f}"])

    for name, options in cases.items():
        gpu_bench.attempt(bench, name, one, name, options)
    bench.table(f"A decode step of {args.sequences} sequences of {args.context:,} tokens, "
                f"Llama-3-8B, bf16, {args.gpus} GPUs, {pathlib.Path(args.scores).name}:", rows)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", help="table of head scores, one line per layer")
    parser.add_argument("--headlong", default="build/headlong", help="the binary")
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--context", type=int, default=65536)
    parser.add_argument("--results", help="append the table to this file")
    args = parser.parse_args(arguments)
    args.needle = ""
    with tempfile.TemporaryDirectory() as folder:
        bench = gpu_bench.Bench(args, pathlib.Path(folder))
        bench.plan = bench.folder / "plan.json"
        bench.plan.write_text(json.dumps(plan_of(pathlib.Path(args.scores).read_text())))
        for gpu in gpu_bench.gpus():
            bench.say(f"{gpu['name']}, driver {gpu['driver']}")
        compare(bench, args)
        if args.results:
            with open(args.results, "a") as results:
                results.write("\n".join(bench.text) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
