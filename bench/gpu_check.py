#!/usr/bin/env python3
"""All checks of an unpacked package on a machine with GPUs: `./dev gpu-check FOLDER [PART...]`.

tests: what needs a GPU, against its CPU twin. sanitizers: compute-sanitizer over kernel tests.
kernels: the rate of every kernel. bench: steps, batches, contexts (gpu_bench.py).
Figures are appended to a results file.
"""
import argparse
import datetime
import os
import pathlib
import shutil
import subprocess
import sys

import gpu_bench

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL_TESTS = "*Cuda*:*BackendTwins*"
# Small enough for a sanitizer, which slows them by some hundred times.
SANITIZED_TESTS = "*AttentionCuda*ExactPrefillEquals*:DecodeCuda.ALane*:FewRowsCuda.Gated*"
# Racecheck follows every access to shared memory, of which clusters of blocks have many: of these
# tests, two thousand rows, it had done nothing to the end after 250 s.
MANY_ROWS = ":SampleCuda.Tokens*"
FEW_ROWS = ":SampleCuda.TwoShortRows*"
SANITIZERS = ("memcheck", "racecheck", "initcheck")


class Check:
    def __init__(self, args):
        self.bin = pathlib.Path(args.folder).resolve() / "bin"
        self.results = args.results
        self.failed = []

    def stage(self, name, *command, limit=580):
        print(f"== {name}", flush=True)
        environment = {**os.environ, "HEADLONG_SOURCE": str(ROOT)}
        try:
            code = subprocess.run([str(word) for word in command], env=environment,
                                  timeout=limit).returncode
        except subprocess.TimeoutExpired:
            code = f"none in {limit} s"
        if code != 0:
            print(f"== {name}: FAILED, exit code {code}", flush=True)
            self.failed.append(name)


def tests(check):
    check.stage("kernels, graphs and sums", check.bin / "cuda_tests", "--gtest_brief=1")
    check.stage("operations and forward pass", check.bin / "worker_tests", "--gtest_brief=1",
                f"--gtest_filter={MODEL_TESTS}")


def sanitizers(check):
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer is not installed: left out")
        return
    for tool in SANITIZERS:
        names = SANITIZED_TESTS + (FEW_ROWS if tool == "racecheck" else MANY_ROWS)
        check.stage(tool, "compute-sanitizer", "--tool", tool, "--error-exitcode", 1,
                    check.bin / "cuda_tests", f"--gtest_filter={names}", limit=150)


def kernels(check):
    done = subprocess.run([check.bin / "headlong", "bench", "kernels", "--device", "cuda"],
                          stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    if done.returncode != 0:
        check.failed.append("kernels")
        return
    with open(check.results, "a", encoding="utf-8") as file:
        file.write(f"\n## Kernels of a GPU, {datetime.date.today().isoformat()}\n"
                   f"`headlong bench kernels --device cuda`\n\n```\n{done.stdout}```\n")


def bench(check):
    arguments = ["--headlong", str(check.bin / "headlong"), "--needle",
                 str(ROOT / "models" / "needle-10m"), "--results", check.results]
    if gpu_bench.main(arguments) != 0:
        check.failed.append("bench")


PARTS = {"tests": tests, "sanitizers": sanitizers, "kernels": kernels, "bench": bench}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of an unpacked package")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--results", default=str(ROOT / "bench" / "RESULTS.md"))
    args = parser.parse_args(arguments)
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    check = Check(args)
    if not (check.bin / "worker_tests").exists():
        parser.error(f"{args.folder} is no unpacked package")
    for part in args.parts or PARTS:
        PARTS[part](check)
    if check.failed:
        print(f"failed: {', '.join(check.failed)}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
