#!/usr/bin/env python3
"""What graphs, sums and compressed caches bring on GPUs, through the headlong binary alone.

Llama-3-8B is its config.json with dummy weights; the compressed plan keeps two of eight KV heads of
every layer in full, the others with 4 sinks and a window of 256. Every table is printed when it is
made, and all are appended to a results file as one dated section.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "max_position_embeddings": 16777216, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "bos_token_id": 128000, "eos_token_id": 128001}
QUARTER = {
    "version": 1, "layers": 32, "kv_heads": 8,
    "policies": {"full": {}, "local": {"sinks": 4, "window_tokens": 256}}, "default": "local",
    "heads": [{"layer": layer, "heads": [0, 4], "policy": "full"} for layer in range(32)]}
CODES = ("int8", "fp8", "int4")
KV_BYTES_PER_TOKEN = 131072  # all heads in full, bf16
WEIGHT_BYTES = 16.1e9
GIB, K = 1 << 30, 1024


class Bench:
    """The binary, the models and where tables go."""

    def __init__(self, args, folder):
        self.headlong = str(pathlib.Path(args.headlong).resolve())
        self.needle = args.needle
        self.llama = folder / "llama-3-8b"
        self.llama.mkdir()
        (self.llama / "config.json").write_text(json.dumps(LLAMA))
        self.quarter = folder / "quarter.json"
        self.quarter.write_text(json.dumps(QUARTER))
        self.coded = {codes: folder / f"quarter-{codes}.json" for codes in CODES}
        for codes, path in self.coded.items():  # the first tokens stay plain
            policies = {name: {**policy, "sinks": 4, "storage": {"k": codes, "v": codes}}
                        for name, policy in QUARTER["policies"].items()}
            path.write_text(json.dumps({**QUARTER, "policies": policies}))
        self.folder = folder
        self.text = []

    def say(self, line=""):
        print(line, flush=True)
        self.text.append(line)

    def table(self, title, rows):
        self.say(f"\n{title}\n")
        self.say("| " + " | ".join(rows[0]) + " |")
        self.say("|" + "---|" * len(rows[0]))
        for row in rows[1:]:
            self.say("| " + " | ".join(str(cell) for cell in row) + " |")

    def prompt(self, tokens, seed=0, vocabulary=4000):
        path = self.folder / f"prompt-{tokens}-{seed}.json"
        path.write_text(json.dumps([(7919 * i + 31 * seed) % vocabulary + 5
                                    for i in range(tokens)]))
        return path

    def run(self, *command, timeout=300):
        done = subprocess.run([self.headlong, *map(str, command), "-o", "json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stderr.decode()[-600:]}")
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def server(self, *options, timeout=180):
        """Yields the address of a server, which ends with the block."""
        errors = open(self.folder / "serve.log", "wb")
        process = subprocess.Popen(
            [self.headlong, "serve", "--device", "cuda", "--listen", "127.0.0.1:0", "--log-level",
             "warn", "-o", "json", *map(str, options)], stdout=subprocess.PIPE, stderr=errors)
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline()
            if not line:
                said = (self.folder / "serve.log").read_text(errors="replace")
                raise RuntimeError(f"no server: {said[-600:]}")
            yield json.loads(line)["address"]
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            errors.close()

    def generate(self, address, prompt, tokens):
        return self.run("generate", "--server", address, "--prompt-ids", prompt, "--max-tokens",
                        tokens, "--ignore-eos")

    def model(self, name):
        if name == "needle-10m":
            return ["--model", self.needle]
        return ["--model", self.llama / "config.json", "--load-format", "dummy"]


def milliseconds_per_token(answer):
    return answer["timing_ms"]["decode"] / (answer["usage"]["completion_tokens"] - 1)


def gpus():
    done = subprocess.run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version",
                           "--format=csv,noheader,nounits"], stdout=subprocess.PIPE, text=True)
    rows = [line.split(", ") for line in done.stdout.splitlines() if line]
    return [{"name": name, "bytes": int(memory) << 20, "driver": driver}
            for name, memory, driver in rows]


def attempt(bench, name, part, *arguments):
    """One part's failure is told and does not keep the others from running."""
    begin = time.monotonic()
    try:
        part(bench, *arguments)
    except (RuntimeError, subprocess.TimeoutExpired, KeyError, AssertionError) as error:
        bench.say(f"\n{name}: FAILED: {error}")
    print(f"({name}: {time.monotonic() - begin:.0f} s)", flush=True)


# --- one sequence ---------------------------------------------------------------------------------


def one_sequence(bench, workers):
    """Milliseconds per token of one sequence, with graphs and without, by every kind of sum."""
    rows = [["model, through `headlong serve`", "GPUs", "graphs", "sums", "ms/token", "tokens"]]
    for model, dtype, prompt, length in (("needle-10m", "fp32", 512, 300),
                                         ("needle-10m", "bf16", 512, 300),
                                         ("Llama-3-8B", "bf16", 256, 100)):
        kinds = [("on", "auto"), ("off", "auto")]
        if workers > 1:
            kinds = [("on", "push"), ("off", "push"), ("on", "nccl"), ("off", "nccl")]
        outputs = {}
        for count in sorted({1, workers}):
            for graphs, sums in kinds if count == workers else [("on", "auto")]:
                with bench.server(*bench.model(model), "--workers", count, "--dtype", dtype,
                                  "--plan", "full", "--max-sequences", 1, "--max-context", 2048,
                                  "--cuda-graphs", graphs, "--sums", sums) as address:
                    answers = [bench.generate(address, bench.prompt(prompt), length)
                               for _ in range(3)]
                outputs[count, graphs, sums] = answers[-1]["token_ids"]
                best = min(milliseconds_per_token(answer) for answer in answers)
                same = outputs[count, graphs, sums] == next(
                    tokens for key, tokens in outputs.items() if key[0] == count)
                rows.append([f"{model}, {dtype}", count, graphs, sums if count > 1 else "-",
                             f"{best:.3f}", "the same" if same else "others"])
    bench.table("One sequence (best of three; tokens beside those of the first row of the same "
                "model and number of GPUs):", rows)


# --- many long sequences --------------------------------------------------------------------------


def steps_of(bench, address):
    return bench.run("cluster", "status", "--server", address)["steps"], time.monotonic()


def wait_until_all_decode(bench, address, count, limit):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        states = [request["state"] for request in
                  bench.run("requests", "list", "--server", address)]
        if len(states) == count and all(state == "decode" for state in states):
            return
        time.sleep(0.3)
    raise RuntimeError("the prompts are not done in time")


def batch_speed(bench, plan, count, context, sampling=None):
    """Tokens per second while `count` sequences of `context` tokens decode side by side."""
    requests = bench.folder / "requests.jsonl"
    lines = [{"id": str(i), "max_tokens": 3000, "ignore_eos": True, "temperature": 0,
              "prompt_ids": json.loads(bench.prompt(context, seed=i).read_text()),
              **(sampling or {})}
             for i in range(count)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = bench.folder / "results.jsonl"
    out.unlink(missing_ok=True)
    with bench.server(*bench.model("Llama-3-8B"), "--dtype", "bf16", "--plan", plan,
                      "--max-sequences", count, "--max-context", context + 4096,
                      "--max-batch-tokens", 4096) as address:
        client = subprocess.Popen(
            [bench.headlong, "batch", "--server", address, "--in", requests, "--out", out,
             "--concurrency", str(count)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_all_decode(bench, address, count, 170)
            time.sleep(1.5)  # graphs are made
            first, begin = steps_of(bench, address)
            time.sleep(4)
            last, end = steps_of(bench, address)
        finally:
            client.kill()
            client.wait()
    return (last - first) * count / (end - begin)


def many_sequences(bench, gpu):
    context = 32 * K
    room = gpu["bytes"] - WEIGHT_BYTES - 5 * GIB
    count = next(n for n in (16, 12, 8, 4) if n * (context + 4096) * KV_BYTES_PER_TOKEN < room)
    full = batch_speed(bench, "full", count, context)
    quarter = batch_speed(bench, bench.quarter, count, context)
    bench.table(f"Decode of {count} sequences of 32K tokens, Llama-3-8B, bf16, one GPU:", [
        ["plan", "tokens/s", "ms per step", "against full"],
        ["full", f"{full:.0f}", f"{1e3 * count / full:.2f}", "1"],
        ["a quarter full", f"{quarter:.0f}", f"{1e3 * count / quarter:.2f}",
         f"{quarter / full:.2f}"]])


def coded_sequences(bench, tokens):
    count = 8
    speeds = {}
    for name, plan in (("bf16", bench.quarter), *bench.coded.items()):
        speeds[name] = batch_speed(bench, plan, count, tokens)
        print(f"{name}: {speeds[name]:.0f} tokens/s", flush=True)
    bench.table(f"Decode of {count} sequences of {tokens // K}K tokens, Llama-3-8B, bf16, a "
                "quarter of the heads full, one GPU:",
                [["keys and values", "tokens/s", "ms per step", "against bf16"],
                 *[[name, f"{speed:.0f}", f"{1e3 * count / speed:.2f}",
                    f"{speed / speeds['bf16']:.2f}"] for name, speed in speeds.items()]])


def sampled_sequences(bench):
    """What drawing tokens costs a step of many sequences."""
    count = 64
    rows = [["tokens", "tokens/s", "ms per step", "against greedy"]]
    greedy = None
    for name, sampling in (("greedy", {}), ("temperature 0.8", {"temperature": 0.8}),
                           ("temperature 0.8, top_p 0.95", {"temperature": 0.8, "top_p": 0.95}),
                           ("temperature 0.8, top_p 0.95, top_k 50",
                            {"temperature": 0.8, "top_p": 0.95, "top_k": 50})):
        speed = batch_speed(bench, "full", count, 256, sampling)
        greedy = greedy or speed
        rows.append([name, f"{speed:.0f}", f"{1e3 * count / speed:.2f}", f"{speed / greedy:.2f}"])
    bench.table(f"Decode of {count} sequences of 256 tokens and more, Llama-3-8B, bf16, one GPU:",
                rows)


# --- a long prompt --------------------------------------------------------------------------------


def long_prompt(bench, tokens):
    rows = [["plan", "prefill s", "tokens/s", "against full", "decode ms/token"]]
    full = None
    plans = [("full", "full"), ("a quarter full", bench.quarter)]
    plans += [(f"a quarter full, {codes}", plan) for codes, plan in bench.coded.items()]
    for name, plan in plans:
        with bench.server(*bench.model("Llama-3-8B"), "--dtype", "bf16", "--plan", plan,
                          "--max-sequences", 1, "--max-context", tokens + 512,
                          "--max-batch-tokens", 4096) as address:
            bench.generate(address, bench.prompt(8 * K, seed=3), 8)  # plans products
            answers = [bench.generate(address, bench.prompt(tokens, seed=seed), 64)
                       for seed in (1, 2)]
        seconds = min(answer["timing_ms"]["prefill"] for answer in answers) / 1e3
        decode = min(milliseconds_per_token(answer) for answer in answers)
        full = full or seconds
        rows.append([name, f"{seconds:.2f}", f"{tokens / seconds:.0f}", f"{full / seconds:.2f}",
                     f"{decode:.2f}"])
        print(*rows[-1], sep=" | ", flush=True)
    bench.table(f"A prompt of {tokens // K}K tokens in chunks of 4,096, Llama-3-8B, bf16, one GPU:",
                rows)


# --- the largest context --------------------------------------------------------------------------


def largest_context(bench):
    """The longest sequence that fits, filled with random keys and values, and decoding there."""
    rows = [["plan", "tokens", "bytes a token", "lanes GB", "free GB", "filled in s", "ms/token",
             "read TB/s", "of the read bandwidth"]]
    for name, plan in (("full", "full"), ("a quarter full", bench.quarter), *bench.coded.items()):
        filled = bench.run("bench", "context", *bench.model("Llama-3-8B"), "--plan", plan,
                           "--dtype", "bf16", "--device", "cuda", timeout=280)
        decode = filled["decode_ms"]["median"]
        rows.append([name, f"{filled['tokens']:,}", f"{filled['cache_bytes_per_token']:,.0f}",
                     f"{filled['cache_bytes_used'] / 1e9:.1f}",
                     f"{filled['memory_free_bytes'] / 1e9:.2f}", f"{filled['fill_seconds']:.1f}",
                     f"{decode:.2f}", f"{filled['read_bytes'] / decode / 1e9:.2f}",
                     f"{100 * filled['share_of_ceiling']:.1f} %"])
    bench.table("The longest context of one sequence of Llama-3-8B that one GPU holds, filled; "
                "bf16 where a row says nothing else, coded rows a quarter full:", rows)


# --- two unequal GPUs -----------------------------------------------------------------------------


def unequal(bench):
    rows = [["--memory-limit", "heads", "weights GB", "ms/token", "tokens"]]
    first = None
    for limits in ("40GiB,40GiB", "40GiB,8GiB"):
        with bench.server(*bench.model("Llama-3-8B"), "--workers", 2, "--dtype", "bf16", "--plan",
                          bench.quarter, "--max-sequences", 1, "--max-context", 32 * K,
                          "--max-batch-tokens", 2048, "--memory-limit", limits) as address:
            placed = bench.run("placement", "show", "--server", address)["workers"]
            answers = [bench.generate(address, bench.prompt(16 * K), 64) for _ in range(2)]
        first = first or answers[-1]["token_ids"]
        rows.append([limits, " + ".join(str(len(worker["heads"])) for worker in placed),
                     " + ".join(f"{worker['weights_bytes'] / 1e9:.1f}" for worker in placed),
                     f"{min(map(milliseconds_per_token, answers)):.2f}",
                     "the same" if answers[-1]["token_ids"] == first else "others"])
    bench.table("Two GPUs, Llama-3-8B, a quarter full, 16K tokens:", rows)


# --- a death --------------------------------------------------------------------------------------


def death(bench):
    """SIGKILL of one of two workers while a stream runs: how long until its next token."""
    tokens = 4000
    outputs, seconds = [], []
    for kill in (False, True):
        with bench.server("--model", bench.needle, "--workers", 2, "--dtype", "fp32", "--plan",
                          "full", "--max-sequences", 1, "--max-context", 6144) as address:
            workers = bench.run("workers", "list", "--server", address)
            begin = time.monotonic()
            client = subprocess.Popen(
                [bench.headlong, "generate", "--server", address, "--prompt-ids",
                 str(bench.prompt(256)), "--max-tokens", str(tokens), "--ignore-eos", "-o", "json"],
                stdout=subprocess.PIPE)
            if kill:
                time.sleep(0.8)
                os.kill(workers[1]["pid"], signal.SIGKILL)
            outputs.append(json.loads(client.communicate(timeout=120)[0])["token_ids"])
            seconds.append(time.monotonic() - begin)
    bench.table(f"SIGKILL of one of two workers in a stream of {tokens:,} tokens, needle-10m:", [
        ["undisturbed", "with the death", "later by", "tokens"],
        [f"{seconds[0]:.2f} s", f"{seconds[1]:.2f} s", f"{seconds[1] - seconds[0]:.2f} s",
         "the same" if outputs[0] == outputs[1] else "others"]])


PARTS = {"one": one_sequence, "many": many_sequences, "coded": coded_sequences,
         "sampled": sampled_sequences,
         "prompt": long_prompt, "context": largest_context, "unequal": unequal, "death": death}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all that the "
                        "number of GPUs allows)")
    parser.add_argument("--headlong", default="build/headlong", help="the binary")
    parser.add_argument("--needle", default="models/needle-10m", help="the folder of needle-10m")
    parser.add_argument("--prompt-tokens", type=int, default=128 * K, help="of the long prompts")
    parser.add_argument("--results", metavar="FILE", help="where the section is appended")
    args = parser.parse_args(arguments)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"no part is called {part}")
    return args


def main(arguments):
    args = parse(arguments)
    found = gpus()
    if not found:
        print("no GPU: nothing measured")
        return 0
    wanted = args.parts or [*PARTS]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, pathlib.Path(folder))
        bench.say(f"\n## Steps on {len(found)} x {found[0]['name']}, "
                  f"{datetime.date.today().isoformat()}")
        bench.say(f"`bench/gpu_bench.py {' '.join(args.parts)}`, driver {found[0]['driver']}.")
        arguments_of = {"one": [min(2, len(found))], "many": [found[0]],
                        "prompt": [args.prompt_tokens], "coded": [args.prompt_tokens]}
        for part in wanted:
            if len(found) < 2 and part in ("unequal", "death"):
                continue
            attempt(bench, part, PARTS[part], *arguments_of.get(part, []))
        if args.results:
            with open(args.results, "a", encoding="utf-8") as file:
                file.write("\n".join(bench.text) + "\n")
    return 1 if any("FAILED" in line for line in bench.text) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
