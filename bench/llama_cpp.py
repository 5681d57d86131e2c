#!/usr/bin/env python3
"""Headlong beside llama.cpp on this machine, in one run: prefill and decode of long prompts.

llama.cpp comes from PyPI (llama-cpp-python, built here for this processor, which takes minutes)
into a venv of its own. The same prompt goes in turns to it and to headlong servers of one worker,
with the full cache and with the model's plan. Before that, both must give the same greedy tokens.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import plan_bench

FOLDER = pathlib.Path(__file__).resolve().parent
PACKAGES = ["llama-cpp-python==0.3.36", "gguf", "numpy"]
CHECK_TOKENS, CHECK_GREEDY = 1024, 64
CONTEXT_SPARE = 1024  # beyond a prompt: its answer


def ensure_venv(folder):
    """The Python of the venv that holds llama.cpp."""
    python = folder / "bin" / "python"
    stamp = folder / "packages"
    if stamp.exists() and stamp.read_text() == "\n".join(PACKAGES):
        return python
    print(f"building {PACKAGES[0]} for this processor into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python",
                    *PACKAGES], check=True,
                   env={**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=ON"})
    stamp.write_text("\n".join(PACKAGES))
    return python


class LlamaCpp:
    """A converted model and how it is asked."""

    def __init__(self, args, folder, weights, cache):
        self.name = f"llama.cpp, {weights} weights, {cache} cache"
        self._runner = [args.python, "-P", FOLDER / "llama_cpp_runner.py"]
        self._path = folder / f"{weights}.gguf"
        self._options = {"threads": args.threads, "n_batch": args.batch, "n_ubatch": args.ubatch,
                         "cache_type": cache}
        if not self._path.exists():
            subprocess.run([*self._runner, "convert", args.model, self._path, weights], check=True)

    def ask(self, ids, tokens):
        request = {**self._options, "ids": ids, "tokens": tokens,
                   "n_ctx": len(ids) + CONTEXT_SPARE}
        done = subprocess.run([*self._runner, "run", self._path], input=json.dumps(request),
                              stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)


class Headlong:
    """A server and how it is asked."""

    def __init__(self, args, server, name):
        self.name, self._headlong, self._address = name, args.headlong, server.address

    def ask(self, ids, tokens):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as prompt:
            json.dump(ids, prompt)
            prompt.flush()
            answer = plan_bench.run_json(
                self._headlong, "generate", "--server", self._address, "--prompt-ids", prompt.name,
                "--temperature", 0, "--max-tokens", tokens, "--ignore-eos", "-o", "json")
        timing = answer["timing_ms"]
        return {"tokens": answer["token_ids"], "prefill_s": timing["prefill"] / 1000,
                "decode_s": timing["decode"] / 1000}


def serve(args, plan, dtype):
    options = ["--dtype", dtype] + (["--plan", "full"] if plan == "full" else [])
    return plan_bench.Server(args.headlong, args.model, options)


def check_greedy(args, folder, ids):
    """The same tokens from both, everything in fp32: the conversion is right."""
    llama = LlamaCpp(args, folder, "f32", "f32").ask(ids[:CHECK_TOKENS], CHECK_GREEDY)
    with serve(args, "full", "fp32") as server:
        ours = Headlong(args, server, "headlong").ask(ids[:CHECK_TOKENS], CHECK_GREEDY)
    if llama["tokens"] != ours["tokens"]:
        raise SystemExit(f"greedy tokens differ after {CHECK_TOKENS} tokens of the prompt:\n"
                         f"  llama.cpp {llama['tokens']}\n  headlong  {ours['tokens']}")
    return llama


def measure(args, sides, ids):
    """For every side and length the tokens per second of each turn."""
    rates = []
    for length in args.lengths:
        runs = {side.name: [] for side in sides}
        for _ in range(args.turns):
            for side in sides:
                answer = side.ask(ids[:length], args.decode + 1)
                rate = (length / answer["prefill_s"], args.decode / answer["decode_s"])
                runs[side.name].append(rate)
                print(f"{length:,} tokens, {side.name}: prefill {rate[0]:,.0f} tok/s, decode "
                      f"{rate[1]:,.0f} tok/s", file=sys.stderr, flush=True)
        for name, pairs in runs.items():
            prefill, decode = (statistics.median(column) for column in zip(*pairs))
            rates.append({"length": length, "side": name, "prefill": prefill, "decode": decode})
    return rates


def table(rates):
    """Markdown; ratios are to the first side of the same length."""
    lines = ["| tokens | | prefill tok/s | ratio | decode tok/s | ratio |",
             "|---|---|---|---|---|---|"]
    first = {}
    for row in rates:
        reference = first.setdefault(row["length"], row)
        cells = [f"{row['length']:,}", row["side"]]
        for what in ("prefill", "decode"):
            cells += [f"{row[what]:,.0f}", f"{row[what] / reference[what]:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(args, llama):
    machine = plan_bench.machine()
    version = subprocess.run([args.headlong, "version"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.split("\n")[0]
    return (f"{datetime.date.today()}; {machine['processor']}, {machine['cores']} cores, load "
            f"{machine['load']:.1f}; {version}; llama-cpp-python {llama['version']}, "
            f"{args.threads} threads, flash attention, n_batch {args.batch}, n_ubatch "
            f"{args.ubatch}; {args.turns} turns, medians.\n\nllama.cpp: {llama['system'].strip()}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlong", default="build/headlong", help="the binary")
    parser.add_argument("--model", default="models/needle-10m", help="a folder with hay.txt")
    parser.add_argument("--venv", type=pathlib.Path, default=FOLDER / ".venv",
                        help="made if it is not there")
    parser.add_argument("--lengths", default="8192,30720", help="prompt lengths in tokens")
    parser.add_argument("--decode", type=int, default=128, help="tokens to time after a prompt")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    parser.add_argument("--batch", type=int, default=2048, help="llama.cpp's n_batch")
    parser.add_argument("--ubatch", type=int, default=512, help="llama.cpp's n_ubatch")
    parser.add_argument("--kinds", default="f16:f16,f32:f32",
                        help="llama.cpp's types of weights and cache")
    parser.add_argument("--dtypes", default="auto,fp32", help="headlong's")
    parser.add_argument("--setup", action="store_true", help="make the venv, measure nothing")
    args = parser.parse_args(arguments)
    args.lengths = [int(word) for word in args.lengths.split(",")]
    args.kinds = [tuple(word.split(":")) for word in args.kinds.split(",")]
    args.dtypes = args.dtypes.split(",")
    return args


def main(arguments):
    args = parse(arguments)
    args.python = ensure_venv(args.venv)
    if args.setup:
        return 0
    ids = plan_bench.run_json(args.headlong, "tokenize", "--special", "--model", args.model,
                              "--file", pathlib.Path(args.model) / "hay.txt", "-o",
                              "json")["token_ids"]
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as servers:
        folder = pathlib.Path(scratch)
        checked = check_greedy(args, folder, ids)
        sides = [LlamaCpp(args, folder, *kind) for kind in args.kinds]
        for dtype in args.dtypes:
            for plan in ("full", "plan"):
                server = servers.enter_context(serve(args, plan, dtype))
                sides.append(Headlong(args, server, f"headlong, {plan}, --dtype {dtype}"))
        print(describe(args, checked))
        print(f"\nGreedy tokens after {CHECK_TOKENS:,} tokens, fp32 on both sides: "
              f"{CHECK_GREEDY} of {CHECK_GREEDY} agree.\n")
        print(table(measure(args, sides, ids)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
