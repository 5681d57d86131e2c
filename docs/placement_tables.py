#!/usr/bin/env python3
"""Writes docs/placement.md: what placement makes of published head patterns and unequal clusters.

Every figure comes from `headlong placement simulate` or is recounted here from the heads, stripes,
columns and rows that it lists. Needs the binary and a folder with the published patterns and
configurations; without it nothing is written.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTEXT = 131072
PAGE, LOCAL_PAGE, SINKS, WINDOW = 64, 16, 4, 256
RAZOR_WINDOW = CONTEXT // 5 // 16 * 16  # RazorAttention: a fifth of the prompt
BANDWIDTH = 3.35e12
FLOPS = 9e14
LINK = {"sum_latency_s": 1e-5, "bandwidth_bytes_per_s": 3e11}
FREE_LINK = {"sum_latency_s": 0}
FREE = 1e30  # a rate at which weights cost nothing
GB = 10 ** 9

# KV heads, layers and the other dimensions of a model whose configuration is not among the files.
GLM_4_9B = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 4,
            "hidden_size": 4096, "intermediate_size": 13696, "vocab_size": 151552,
            "max_position_embeddings": 1048576, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "head_dim": 128}


class Model:
    def __init__(self, name, config, plan, sparsity=None, window=WINDOW):
        self.window = window
        self.name, self.config_path, self.plan_path, self.sparsity = name, config, plan, sparsity
        self.config = json.loads(config.read_text())
        self.layers = self.config["num_hidden_layers"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.q_heads = self.config["num_attention_heads"]
        self.hidden = self.config["hidden_size"]
        self.head_dim = self.config.get("head_dim") or self.hidden // self.q_heads
        self.group = self.q_heads // self.kv_heads
        scores = [[float(x) for x in line.split()] for line in plan.read_text().splitlines()
                  if line.split()]
        order = sorted(((-score, layer, head) for layer, row in enumerate(scores)
                        for head, score in enumerate(row)))
        if sparsity is None:
            self.full = {(layer, head) for score, layer, head in order if -score >= 0.5}
        else:
            kept = len(order) - math.floor(sparsity * len(order) + 0.5)
            self.full = {(layer, head) for _, layer, head in order[:kept]}

    def head_weight_bytes(self):
        return 2 * (self.group + 1) * self.head_dim * self.hidden * 2

    def token_bytes(self):
        return 2 * self.head_dim * 2

    def lane_read_bytes(self, full, context=CONTEXT, share=1.0):
        if full:
            return math.ceil(context / PAGE) * PAGE * self.token_bytes() * share
        begin = max(SINKS, (context - self.window) // LOCAL_PAGE * LOCAL_PAGE)
        tokens = math.ceil(SINKS / LOCAL_PAGE) * LOCAL_PAGE + context - begin
        return tokens * self.token_bytes() + 2 * self.head_dim * 4


class Simulator:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def run(self, model, workers, *arguments, plan=None, context=CONTEXT, concurrency=1,
            link=LINK):
        cluster = self.folder / "cluster.json"
        cluster.write_text(json.dumps({"workers": workers, "link": link}))
        command = [self.binary, "placement", "simulate", "--cluster", cluster, "--model",
                   model.config_path, "--plan", plan or model.plan_path, "--context", context,
                   "--concurrency", concurrency, "--sinks", SINKS, "--window", model.window, "-o",
                   "json", *arguments]
        if model.sparsity is not None and plan is None:
            command += ["--sparsity", model.sparsity]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return json.loads(done.stdout)


def worker(memory_gb, count=1, name="w"):
    return {"id": name, "memory_bytes": int(memory_gb * GB), "bandwidth_bytes_per_s": BANDWIDTH,
            "flops": FLOPS, "count": count}


def slowest_cache_bytes(model, placement):
    """Cache bytes of a step at the slowest worker, summed over layers."""
    pages = math.ceil(CONTEXT / PAGE)
    total = 0
    for layer in range(model.layers):
        slowest = 0
        for each in placement["workers"]:
            held = 0
            for head in each["heads"]:
                if head["layer"] != layer:
                    continue
                index, count = head["stripe"]
                owned = pages // count + (index < pages % count)
                held += model.lane_read_bytes(head["role"] == "retrieval", share=owned / pages)
            slowest = max(slowest, held)
        total += slowest
    return total


def contiguous_cache_bytes(model, workers, full):
    """The same for consecutive heads: worker i has the heads from i * H / W on."""
    total = 0
    for layer in range(model.layers):
        by_worker = [0] * workers
        for head in range(model.kv_heads):
            owner = head * workers // model.kv_heads
            by_worker[owner] += model.lane_read_bytes((layer, head) in full)
        total += max(by_worker)
    return total


def perfect_cache_bytes(model, workers, local_heads_split):
    """Every layer's cache split evenly; a local head's may have to stay in one piece."""
    total = 0
    for layer in range(model.layers):
        full = sum((layer, head) in model.full for head in range(model.kv_heads))
        local = model.lane_read_bytes(False)
        even = (full * model.lane_read_bytes(True) + (model.kv_heads - full) * local) / workers
        total += even if local_heads_split or full == model.kv_heads else max(even, local)
    return total


def pattern_rows(simulator, model, concurrency):
    everything = {(layer, head) for layer in range(model.layers) for head in
                  range(model.kv_heads)}
    for workers in (2, 4, 8):
        cluster = [worker(8000, workers)]
        dense = contiguous_cache_bytes(model, workers, everything)
        whole = simulator.run(model, cluster, "--stripes", "off", concurrency=concurrency)
        striped = simulator.run(model, cluster, concurrency=concurrency)
        uncompressed = simulator.run(model, cluster, "--stripes", "off", plan="full",
                                     concurrency=concurrency)
        ideal = dense / perfect_cache_bytes(model, workers, local_heads_split=True)
        reachable = dense / perfect_cache_bytes(model, workers, local_heads_split=False)
        caches_only = simulator.run(model, [dict(worker(8000, workers), weight_bytes_per_s=FREE)],
                                    concurrency=concurrency, link=FREE_LINK)
        attention = striped["attention_ms"] + striped["exchange_ms"]
        with_stripes = dense / slowest_cache_bytes(model, striped)
        for_caches = dense / slowest_cache_bytes(model, caches_only)
        yield [model.name, workers,
               f"{dense / contiguous_cache_bytes(model, workers, model.full):.2f}",
               f"{dense / slowest_cache_bytes(model, whole):.2f}", f"{with_stripes:.2f}",
               f"{ideal:.2f}", f"{100 * with_stripes / ideal:.1f} %",
               f"{100 * with_stripes / reachable:.1f} %", f"{100 * for_caches / ideal:.1f} %",
               f"{100 * for_caches / reachable:.1f} %",
               f"{uncompressed['attention_ms'] / whole['attention_ms']:.2f}",
               f"{uncompressed['attention_ms'] / attention:.2f}",
               f"{striped['exchange_ms']:.2f}",
               f"{uncompressed['step_ms'] / whole['step_ms']:.2f}",
               f"{uncompressed['step_ms'] / striped['step_ms']:.2f}",
               f"{100 * striped['gap']:.1f} %", striped["striped_heads"]]


def tensor_parallel_context(model, memories, scratch):
    """The largest context of equal tensor parallelism: the same plan, consecutive heads, a power
    of two of the largest workers, every one limited by what the smallest of them holds."""
    best, used = 0, 0
    rows = model.config["vocab_size"] * model.hidden * 4
    columns = 3 * model.hidden * model.config["intermediate_size"] * model.layers * 2
    norms = (2 * model.layers + 1) * model.hidden * 4
    heads = model.layers * model.kv_heads * model.head_weight_bytes()
    size = 1
    while size <= min(len(memories), model.kv_heads):
        smallest = sorted(memories, reverse=True)[size - 1]
        by_rank = [0] * size
        for _, head in model.full:
            by_rank[head * size // model.kv_heads] += 1
        local = model.layers * model.kv_heads / size - max(by_rank)
        left = smallest - scratch - norms - (rows + columns + heads) / size
        kept = (model.window // LOCAL_PAGE + 2) * LOCAL_PAGE
        left -= local * (kept * model.token_bytes() + 2 * model.head_dim * 4)
        pages = int(left / (max(by_rank) * PAGE * model.token_bytes())) if left > 0 else 0
        if pages * PAGE > best:
            best, used = pages * PAGE, size
        size *= 2
    return best, used


def cluster_rows(simulator, model):
    for name, cluster in [("1 x 141 + 3 x 48 GB", [worker(141, 1, "a"), worker(48, 3, "b")]),
                          ("2 x 80 + 6 x 24 GB", [worker(80, 2, "a"), worker(24, 6, "b")]),
                          ("3 x 80 GB", [worker(80, 3)]), ("5 x 80 GB", [worker(80, 5)]),
                          ("7 x 80 GB", [worker(80, 7)])]:
        memories = [each["memory_bytes"] for each in cluster for _ in range(each["count"])]
        scout = simulator.run(model, cluster, context=1024)
        pooled = simulator.run(model, [worker(sum(memories) / GB)], context=1024)
        largest = scout["largest_context"]
        placed = simulator.run(model, cluster, context=int(0.95 * largest))
        share = largest / pooled["largest_context"]
        parallel, used = tensor_parallel_context(
            model, memories, scout["workers"][0]["scratch_bytes"])
        gain = f"{largest / parallel:.2f}x" if parallel else "-"
        yield [model.name, name, f"{largest:,}", f"{pooled['largest_context']:,}",
               f"{100 * share:.1f} %", f"{parallel:,}" if parallel else "does not fit",
               used or "-", gain, f"{placed['step_ms']:.2f}", f"{100 * placed['gap']:.1f} %"]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


TEXT = """# What placement makes of published patterns and unequal clusters

Written by `docs/placement_tables.py` with `headlong placement simulate`; nothing here was measured
on GPUs. Anyone can recount it: the JSON of `simulate` lists every head and stripe, MLP columns and
vocabulary rows of every worker. Weights and caches in bf16; workers read {bandwidth:.2f} TB/s; a
sum over workers takes {latency:.0f} us and 300 GB/s. Local heads keep 4 sinks and the last 256
tokens; those of RazorAttention's lists the last {razor:,}, a fifth of the context, as published.

## Published head patterns, {context:,} tokens
Gains are over the uncompressed model with consecutive heads per worker on as many workers. *Cache*:
bytes of cache that the slowest worker of each layer reads, summed over layers; *ideal* is what a
perfect split would read, *reachable* the same with local heads in one piece, as they are (it
differs where a window is a fifth of the context and workers are more than KV heads). *Attention*
adds the projections' weights (every owner of a stripe reads its head's) and the exchange of partial
softmax states, which costs the milliseconds shown. *Step* is the whole modelled decode step.
RazorAttention's lists are used as published; of DuoAttention's scores the upper half are retrieval
heads. The placement minimises the step, not the cache read: of one sequence a head's projections
weigh as much as its part of the cache, every owner reads them, and the exchange takes time too.
*For caches* says what stripes reach where nothing else counts: weights and sums are free.
"""

# What was measured stays as bench/placement_check.py and whoever ran it left it.
MEASURED = "\n## Modelled and measured\n"

CLUSTERS = """
## Unequal clusters: the largest context of one sequence
The same plan on all sides. *Pooled*: one worker with all the memory. *Equal tensor parallelism*:
consecutive heads on a power of two of the largest workers, the smallest of them rules; it may use
fewer workers where that gives more.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=ROOT / "build" / "headlong")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "placement.md")
    arguments = parser.parse_args()
    heads = arguments.data / "heads"
    configs = arguments.data / "configs" / "aiconfigurator"
    if not heads.is_dir() or not configs.is_dir():
        print(f"no patterns in {arguments.data}: nothing written (--data)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(arguments.binary, pathlib.Path(folder))
        glm = pathlib.Path(folder) / "glm.json"
        glm.write_text(json.dumps(GLM_4_9B))
        llama = configs / "meta-llama--Meta-Llama-3.1-70B_config.json"
        small = configs / "meta-llama--Meta-Llama-3.1-8B_config.json"
        razor = Model("Razor, Llama 80 layers", llama, heads / "razor__llama-80-layers.tsv",
                      window=RAZOR_WINDOW)
        duo = Model("Duo, Llama-3.1-8B", small, heads / "duo__Meta-Llama-3.1-8B-Instruct.tsv", 0.5)
        patterns = [razor, Model("Razor, GLM-4-9B", glm, heads / "razor__glm-4-9b.tsv",
                                    window=RAZOR_WINDOW),
                    Model("Duo, Llama-3-8B", small,
                          heads / "duo__Llama-3-8B-Instruct-Gradient-1048k.tsv", 0.5), duo]
        text = TEXT.format(bandwidth=BANDWIDTH / 1e12, latency=LINK["sum_latency_s"] * 1e6,
                           context=CONTEXT, razor=RAZOR_WINDOW)
        header = ["pattern", "workers", "cache: consecutive", "whole heads", "stripes", "ideal",
                  "of ideal", "of reachable", "for caches: of ideal", "of reachable",
                  "attention: whole heads", "stripes", "exchange ms", "step: whole heads",
                  "stripes", "gap to the bound", "heads split"]
        for concurrency in (1, 8, 32):
            text += f"\nWorkload: {concurrency} x {CONTEXT:,} tokens\n\n"
            text += table(header, [row for model in patterns
                                   for row in pattern_rows(simulator, model, concurrency)])
        text += CLUSTERS + "\n"
        text += table(["model and plan", "cluster", "largest context", "pooled", "of pooled",
                       "equal tensor parallelism", "its workers", "gain",
                       "step ms at 95 %", "gap to the bound"],
                      [row for model in (duo, razor) for row in cluster_rows(simulator, model)])
    measured = (ROOT / "docs" / "placement.md").read_text().partition(MEASURED)[2]
    arguments.out.write_text(text + MEASURED + measured if measured else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
