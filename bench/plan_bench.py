#!/usr/bin/env python3
"""A model's plan against the full cache, in one run on this machine.

Recall and cache bytes come from `headlong bench needle`; prefill and decode times from two servers
of one worker each, asked in turns, so that what else the machine does hits both alike. What the
full cache reaches is held against the ceilings of `headlong bench kernels`, measured in between.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile

PLANS = {"full": ["--plan", "full"], "plan": [], "local": ["--plan", "local"]}
NEEDLES = [(4096, 40), (8192, 40), (16384, 40), (30720, 10)]  # length, trials
QUICK_NEEDLES = [(4096, 10), (8192, 4)]
SPEED_TOKENS = [8192, 30720]
QUICK_SPEED_TOKENS = [8192]
DECODE_TOKENS = 129
REPETITIONS, QUICK_REPETITIONS = 5, 3


class Server:
    """A `headlong serve`; ends with the `with` block."""

    def __init__(self, headlong, model, options, workers=1):
        self._command = [headlong, "serve", "--model", model, "--workers", str(workers), "--listen",
                         "127.0.0.1:0", "--max-sequences", "1", "--log-level", "error", "-o",
                         "json", *options]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self._command)} did not start")
        self.address = json.loads(line)["address"]
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def peak_memory(self, headlong):
        """Bytes the worker's process held at most; None where the system does not say."""
        worker = run_json(headlong, "workers", "list", "--server", self.address, "-o", "json")[0]
        try:
            status = pathlib.Path(f"/proc/{worker['pid']}/status").read_text()
        except OSError:
            return None
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def run_json(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"{command[:3]} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def machine():
    cpus = pathlib.Path("/proc/cpuinfo").read_text()
    names = [line.split(":", 1)[1].strip() for line in cpus.splitlines()
             if line.startswith("model name")]
    return {"processor": names[0] if names else platform.processor(),
            "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}


def print_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def mebibytes(count):
    return f"{count / 2**20:.2f} MiB"


# --- recall ---------------------------------------------------------------------------------------


def measure_recall(args):
    report = []
    for length, trials in QUICK_NEEDLES if args.quick else NEEDLES:
        for plan, options in PLANS.items():
            found = run_json(args.headlong, "bench", "needle", "--model", args.model, "--lengths",
                             length, "--trials", trials, "-o", "json", *options)
            key = str(length)
            report.append({
                "length": length, "plan": plan, "trials": trials,
                "correct": sum(row["correct"] for row in found["rows"]),
                "cache_bytes": found["cache_bytes"][key],
                "full_cache_bytes": found["full_cache_bytes"][key]})
    return report


def print_recall(report):
    print("Needle recall: a fact planted in a novel, and the cache of one sequence")
    rows = [["tokens", "plan", "found", "recall", "cache", "of full"]]
    for row in report:
        rows.append([f"{row['length']:,}", row["plan"], f"{row['correct']} of {row['trials']}",
                     f"{row['correct'] / row['trials']:.3f}", mebibytes(row["cache_bytes"]),
                     f"{100 * row['cache_bytes'] / row['full_cache_bytes']:.1f} %"])
    print_table(rows)


# --- speed ----------------------------------------------------------------------------------------


def write_prompt(args, length, path):
    ids = run_json(args.headlong, "tokenize", "--special", "--model", args.model, "--file",
                   pathlib.Path(args.model) / "hay.txt", "-o", "json")["token_ids"]
    path.write_text(json.dumps(ids[:length]))


def time_once(args, server, prompt):
    answer = run_json(args.headlong, "generate", "--server", server.address, "--prompt-ids", prompt,
                      "--max-tokens", DECODE_TOKENS, "--ignore-eos", "-o", "json")
    usage, timing = answer["usage"], answer["timing_ms"]
    assert usage["cached_tokens"] == 0
    return {"prefill_ms": timing["prefill"],
            "decode_ms_per_token": timing["decode"] / (usage["completion_tokens"] - 1),
            "cache_bytes": usage["cache_bytes"]}


def ceilings(args):
    """Bytes per second of reading memory, flops per second of a large matrix product."""
    found = run_json(args.headlong, "bench", "kernels", "-o", "json")["ceilings"]
    return {"read_bytes_per_s": found["read_bytes_per_second"],
            "matmul_flops": found["matmul_flops_per_second"]}


def prefill_flops(args, tokens):
    """Of all products and of causal attention over the full cache; the head is for one row."""
    config = json.loads((pathlib.Path(args.model) / "config.json").read_text())
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    attention = 2 * heads * width * tokens * tokens  # scores and values, half of them visible
    return config["num_hidden_layers"] * (2 * layer_weights(config) * tokens + attention)


def layer_weights(config):
    """How many weights the matrices of a layer have."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    width = config.get("head_dim") or hidden // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return 2 * hidden * width * (heads + kv_heads) + 3 * hidden * config["intermediate_size"]


def measure_speed(args, length):
    repetitions = QUICK_REPETITIONS if args.quick else REPETITIONS
    runs = {"full": [], "plan": []}
    with tempfile.TemporaryDirectory() as folder, \
            Server(args.headlong, args.model, PLANS["full"]) as full, \
            Server(args.headlong, args.model, PLANS["plan"]) as plan:
        prompt = pathlib.Path(folder) / "prompt.json"
        write_prompt(args, length, prompt)
        reached = []
        for repetition in range(repetitions + 1):
            reached.append(ceilings(args))  # they change with what else the machine does
            for name, server in (("full", full), ("plan", plan)):
                timed = time_once(args, server, prompt)
                if repetition > 0:  # the first warms both up
                    runs[name].append(timed)
        report = {"prompt_tokens": length, "decode_tokens": DECODE_TOKENS - 1,
                  "repetitions": repetitions, "runs": runs,
                  "ceilings": {key: statistics.median(once[key] for once in reached)
                               for key in reached[0]},
                  "ceiling_runs": reached,
                  "peak_memory": {"full": full.peak_memory(args.headlong),
                                  "plan": plan.peak_memory(args.headlong)}}
    for what in ("prefill_ms", "decode_ms_per_token"):
        ratios = [a[what] / b[what] for a, b in zip(runs["full"], runs["plan"])]
        report[f"{what.split('_')[0]}_ratio"] = spread(ratios)
        for name in runs:
            report[f"{name}_{what}"] = spread([run[what] for run in runs[name]])
    add_shares(args, report)
    return report


def add_shares(args, report):
    """By the median times: flops of the full cache's prefill, what decode steps read (keys, values
    and weights, each once) and the time of a token that this reading does not explain."""
    prefill = report["full_prefill_ms"]["median"] / 1000
    report["prefill_flops_per_s"] = prefill_flops(args, report["prompt_tokens"]) / prefill
    rate = report["ceilings"]["read_bytes_per_s"]
    for name, runs in report["runs"].items():
        read = runs[0]["cache_bytes"] + weight_bytes(args)
        decode = report[f"{name}_decode_ms_per_token"]["median"]
        report[f"{name}_decode_bytes"] = read
        report[f"{name}_decode_bytes_per_s"] = 1000 * read / decode
        report[f"{name}_beside_reading_ms"] = decode - 1000 * read / rate


def weight_bytes(args):
    """Of the matrices that a decode step reads, as the worker keeps them (16 bits a weight)."""
    config = json.loads((pathlib.Path(args.model) / "config.json").read_text())
    layers = config["num_hidden_layers"]
    return 2 * (layers * layer_weights(config) + config["vocab_size"] * config["hidden_size"])


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def print_speed(report):
    print(f"Speed with {report['prompt_tokens']:,} tokens, one worker, "
          f"{report['repetitions']} turns")
    rows = [["", "min", "median", "max"]]

    def add(label, values, form):
        rows.append([label, *(form.format(values[key]) for key in ("min", "median", "max"))])

    for what, label in (("prefill_ms", "prefill ms"), ("decode_ms_per_token", "decode ms/token")):
        for plan in ("full", "plan"):
            add(f"{label}, {plan}", report[f"{plan}_{what}"], "{:.2f}")
        part = what.split("_")[0]
        add(f"{part}, full / plan", report[f"{part}_ratio"], "{:.2f} x")
    print_table(rows)
    for name, peak in report["peak_memory"].items():
        if peak is not None:
            print(f"peak memory of the worker, {name}: {mebibytes(peak)}")
    ceiling = report["ceilings"]
    flops, most_flops = report["prefill_flops_per_s"], ceiling["matmul_flops"]
    most = ceiling["read_bytes_per_s"]
    print(f"full cache, prefill: {flops / 1e9:.0f} GFLOP/s, {100 * flops / most_flops:.0f} % of a "
          f"large product's {most_flops / 1e9:.0f}")
    for name in report["runs"]:
        rate = report[f"{name}_decode_bytes_per_s"]
        print(f"{name}, decode: reads {mebibytes(report[f'{name}_decode_bytes'])} a token at "
              f"{rate / 1e9:.1f} GB/s, {100 * rate / most:.0f} % of reading's {most / 1e9:.1f}; "
              f"{report[f'{name}_beside_reading_ms']:.2f} ms beside it")
    print()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="speed, needle (default: both)")
    parser.add_argument("--headlong", default="build/headlong", help="the binary")
    parser.add_argument("--model", default="models/needle-10m", help="a folder with hay.txt")
    parser.add_argument("--quick", action="store_true", help="fewer trials, two minutes")
    parser.add_argument("--json", metavar="FILE", help="write everything measured here")
    args = parser.parse_args(arguments)
    unknown = set(args.parts) - {"speed", "needle"}
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}: use speed or needle")
    args.parts = args.parts or ["speed", "needle"]
    return args


def main(arguments):
    args = parse(arguments)
    report = {"machine": machine()}
    print(f"{report['machine']['processor']}, {report['machine']['cores']} cores, "
          f"load {report['machine']['load']:.2f}\n")
    if "speed" in args.parts:
        report["speed"] = []
        for length in QUICK_SPEED_TOKENS if args.quick else SPEED_TOKENS:
            report["speed"].append(measure_speed(args, length))
            print_speed(report["speed"][-1])
    if "needle" in args.parts:
        report["needle"] = measure_recall(args)
        print_recall(report["needle"])
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
