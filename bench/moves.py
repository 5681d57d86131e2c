#!/usr/bin/env python3
"""How long a stream pauses when a worker is drained under it: its caches are sent (live) or
computed again (replay). Both in one run, the same prompt, and the answers must be equal."""
import argparse
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import plan_bench

ANSWER = 160  # tokens
BEFORE = 40   # characters of it before the worker is drained


class Reader:
    """When which characters of a `generate` came."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.times, self.text = [], b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while part := os.read(self._process.stdout.fileno(), 4096):
            self.times.append(time.monotonic())
            self.text += part

    def wait_for(self, characters):
        while len(self.text) < characters:
            if self._process.poll() is not None:
                raise SystemExit("the answer ended before a worker was drained")
            time.sleep(0.005)

    def finish(self):
        self._thread.join()
        if self._process.wait() != 0:
            raise SystemExit("generate failed")


def pause_of(args, mode, prompt):
    """Seconds between two parts of the answer, its text, and what became of the sequence."""
    options = ["--plan", args.plan, "--moves", mode, "--dtype", args.dtype, *args.serve]
    with plan_bench.Server(args.headlong, args.model, options, args.workers) as server:
        where = ["--server", server.address]
        reader = Reader([args.headlong, "generate", *where, "--prompt-ids", prompt, "--max-tokens",
                         str(ANSWER), "--temperature", "0", "--ignore-eos"])
        reader.wait_for(BEFORE)
        begin = time.monotonic()
        subprocess.run([args.headlong, "workers", "drain", "w1", *where], check=True,
                       stdout=subprocess.DEVNULL)
        reader.finish()
        status = plan_bench.run_json(args.headlong, "cluster", "status", *where, "-o", "json")
    gaps = [(after - before, before) for before, after in zip(reader.times, reader.times[1:])
            if after > begin]
    return max(gaps)[0], reader.text, (status["sequences_moved"], status["sequences_replayed"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlong", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--plan", default="full")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lengths", default="8192,30000", help="tokens of the prompts")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[],
                        help="further options of the server")
    args = parser.parse_args()
    rows = [["prompt tokens", "live s", "replay s", "replay / live"]]
    with tempfile.TemporaryDirectory() as folder:
        for length in map(int, args.lengths.split(",")):
            prompt = pathlib.Path(folder) / "prompt"
            plan_bench.write_prompt(args, length, prompt)
            live, text, became = pause_of(args, "live", prompt)
            if became != (1, 0):
                raise SystemExit(f"the sequence did not move live: {became}")
            replay, again, became = pause_of(args, "replay", prompt)
            if became != (0, 1) or again != text:
                raise SystemExit(f"not the same answer: {became}")
            rows.append([f"{length:,}", f"{live:.2f}", f"{replay:.2f}", f"{replay / live:.0f}"])
    plan_bench.print_table(rows)


if __name__ == "__main__":
    main()
