#!/usr/bin/env python3
"""Whether placements are as fast as their model says: decode steps of one sequence, measured on
clusters of this machine, beside the modelled step of the placement in force for the same workload.

Workers get unequal memory. A row is crowded where its workers' threads are more than the cores that
this process may use. *Others* are cores that processes outside of the cluster took meanwhile: what
comes and goes between a worker's measurements and the steps, no model can know.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import plan_bench

CONTEXTS = [500, 8192, 16384]
CLUSTERS = [(1, 1), (1, 2), (2, 1), (4, 1)]  # workers, threads of each
SHARES = {1: [1024], 2: [1024, 512], 4: [1024, 512, 512, 256]}  # MiB
ANSWER = 8192  # tokens at most: it is cut off
WINDOWS = 5
QUIET = 0.2  # cores that others may take


def wait_until_it_decodes(args, where, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        [request] = plan_bench.run_json(args.headlong, "requests", "list", *where, "-o", "json") \
            or [{"completion_tokens": 0}]
        if request["completion_tokens"] > 3:
            return
        time.sleep(0.05)
    raise SystemExit("the prompt was not computed in time")


def cpu_seconds(process):
    """Of a process and all that it started, those that ended not counted; and of the machine."""
    parents, spent = {}, {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(folder.name)] = int(fields[1])
        spent[int(folder.name)] = int(fields[11]) + int(fields[12])

    def below(pid):
        while pid and pid != process:
            pid = parents.get(pid, 0)
        return pid == process
    own = sum(ticks for pid, ticks in spent.items() if below(pid))
    ticks = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(ticks[3]) + int(ticks[4])
    busy = sum(map(int, ticks[:8])) - idle
    return own / os.sysconf("SC_CLK_TCK"), busy / os.sysconf("SC_CLK_TCK")


def step_ms(args, where, window_s):
    """Milliseconds of a decode step, as the coordinator measures it: the median over windows. And
    the tokens that the sequence has in the middle of them."""
    def look():
        status = plan_bench.run_json(args.headlong, "cluster", "status", *where, "-o", "json")
        [request] = plan_bench.run_json(args.headlong, "requests", "list", *where, "-o", "json")
        return status["steps"], status["step_seconds"], request["computed_tokens"]
    looks = [look()]
    for _ in range(WINDOWS):
        time.sleep(window_s)
        looks.append(look())
    times = [1e3 * (after[1] - before[1]) / (after[0] - before[0])
             for before, after in zip(looks, looks[1:])]
    return statistics.median(times), (looks[0][2] + looks[-1][2]) // 2


def measure(args, server, prompt):
    where = ["--server", server.address]
    client = subprocess.Popen(
        [args.headlong, "generate", *where, "--prompt-ids", prompt, "--max-tokens", str(ANSWER),
         "--temperature", "0", "--ignore-eos"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        wait_until_it_decodes(args, where, 300)
        begin, (own, busy) = time.monotonic(), cpu_seconds(os.getpid())
        measured, tokens = step_ms(args, where, args.window)
        now_own, now_busy = cpu_seconds(os.getpid())
        others = max(0.0, now_busy - busy - (now_own - own)) / (time.monotonic() - begin)
    finally:
        client.terminate()
        client.wait()
    shown = plan_bench.run_json(args.headlong, "placement", "show", *where, "--for-context", tokens,
                                "--for-concurrency", 1, "-o", "json")
    return measured, others, tokens, shown


def quietest(args, options, workers, prompt):
    """Of some clusters, each measured from its start, the one that had the machine for itself."""
    best = None
    for _ in range(args.tries):
        with plan_bench.Server(args.headlong, args.model, options, workers) as server:
            figures = measure(args, server, prompt)
        if best is None or figures[1] < best[1]:
            best = figures
        if best[1] < QUIET:
            break
    return best


def row_of(cluster, plan, figures):
    (workers, threads), (measured, others, tokens, shown) = cluster, figures
    parts = [shown[f"{part}_ms"] for part in ("attention", "exchange", "mlp", "vocabulary", "fixed",
                                              "sums")]
    modelled = shown["step_ms"]
    cores = len(os.sched_getaffinity(0))
    crowd = "yes" if workers * threads > cores else ""
    return [f"{workers} x {threads}", crowd, plan, f"{tokens:,}", f"{others:.2f}",
            f"{modelled:.2f}", f"{measured:.2f}", f"{modelled / measured:.2f}",
            *(f"{part:.2f}" for part in parts)]


HEADINGS = ["workers x threads", "crowded", "plan", "tokens", "others", "modelled ms",
            "measured ms", "ratio", "attention", "exchange", "MLP", "vocabulary", "fixed", "sums"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlong", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--contexts", default=",".join(map(str, CONTEXTS)))
    parser.add_argument("--clusters", default=",".join(f"{w}x{t}" for w, t in CLUSTERS),
                        help="workers x threads of each: 2x1,4x1")
    parser.add_argument("--plans", default="plan,full")
    parser.add_argument("--window", type=float, default=0.5, help="seconds, five of them a row")
    parser.add_argument("--tries", type=int, default=3, help="of a row while others are busy")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    args = parser.parse_args()
    contexts = [int(context) for context in args.contexts.split(",")]
    clusters = [tuple(map(int, cluster.split("x"))) for cluster in args.clusters.split(",")]
    rows = [HEADINGS]
    with tempfile.TemporaryDirectory() as folder:
        for workers, threads in clusters:
            for plan in args.plans.split(","):
                options = [*plan_bench.PLANS[plan], "--device", "cpu", "--threads", str(threads),
                           "--max-context", str(max(contexts) + ANSWER), "--memory-limit",
                           ",".join(f"{size}MiB" for size in SHARES.get(workers, [1024]))]
                for context in contexts:
                    prompt = pathlib.Path(folder) / str(context)
                    plan_bench.write_prompt(args, context, prompt)
                    figures = quietest(args, options, workers, prompt)
                    rows.append(row_of((workers, threads), plan, figures))
                    print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    if args.output == "json":
        print(json.dumps([dict(zip(HEADINGS, row)) for row in rows[1:]]))
        return
    machine = plan_bench.machine()
    print(f"\n{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}")
    plan_bench.print_table(rows)


if __name__ == "__main__":
    main()
