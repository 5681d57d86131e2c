#!/usr/bin/env python3
"""What may stand for the keys that a local head dropped, at what cost: mean KL per token against
the full cache, from an independent forward pass in fp64.

Compared at several windows: nothing; one mean token (what Headlong keeps); one mean token per span
of dropped tokens; one mean token with the variance of the dropped keys in its logit. A table in
Markdown goes to stdout, for each row also the KL that the mean token has at the same bytes.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

import numpy

import llama_fp64
from llama_fp64 import BLOCK_TOKENS

ELEMENT_BYTES, SUM_BYTES = 2, 4  # bf16 pages, fp32 sums
TOLERANCE = 2e-3  # of logits that were computed in fp32
CHECKED_TOKENS = 3000
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/needle-10m.compressed.json"
PIECE_ROWS = 512  # rows of the vocabulary's distribution at a time


class Rule:
    """Sinks, window and one way to stand for the rest."""

    def __init__(self, name, sinks, window, span=None):
        self.name, self.sinks, self.window, self.span = name, sinks, window, span

    def label(self):
        return f"a mean per {self.span:,}" if self.name == "spans" else {
            "none": "nothing", "mean": "one mean", "variance": "one mean, second order"}[self.name]

    def stand_ins(self, k, v):
        """A function of queries [group, rows, d] and window starts [rows]: logits [group, rows, e]
        and values [rows, e, d] of the extra keys."""
        sums = [numpy.concatenate([numpy.zeros((1, k.shape[1])), numpy.cumsum(x, axis=0)])
                for x in (k, v, k * k)]
        return lambda q, low: self._extra(q, low, *sums)

    def _extra(self, q, low, keys, values, squares):
        if self.name == "none":
            return numpy.empty((*q.shape[:2], 0)), numpy.empty((q.shape[1], 0, q.shape[2]))
        if self.name == "spans":
            return self._spans(q, low, keys, values)
        count = numpy.maximum(low - self.sinks, 0)[:, None]
        with numpy.errstate(divide="ignore", invalid="ignore"):
            mean = (keys[low] - keys[self.sinks]) / count
            value = (values[low] - values[self.sinks]) / count
            logits = numpy.einsum("grd,rd->gr", q, numpy.where(count > 0, mean, 0))
            logits = logits / math.sqrt(q.shape[2]) + numpy.log(count[:, 0])
            if self.name == "variance":
                spread = (squares[low] - squares[self.sinks]) / count - mean * mean
                logits += numpy.einsum("grd,rd->gr", q * q,
                                       numpy.where(count > 0, spread, 0)) / (2 * q.shape[2])
        return logits[..., None], numpy.where(count > 0, value, 0)[:, None, :]

    def _spans(self, q, low, keys, values):
        """Spans lie at multiples of their length from the first dropped position on."""
        most = max(0, math.ceil((low[-1] - self.sinks) / self.span))
        begin = numpy.minimum(self.sinks + numpy.arange(most) * self.span, keys.shape[0] - 1)
        begin = numpy.minimum(begin[None, :], numpy.maximum(low, self.sinks)[:, None])
        end = numpy.minimum(begin + self.span, numpy.maximum(low, self.sinks)[:, None])
        count = (end - begin)[..., None]
        mean = (keys[end] - keys[begin]) / numpy.maximum(count, 1)
        value = (values[end] - values[begin]) / numpy.maximum(count, 1)
        with numpy.errstate(divide="ignore"):
            logits = (numpy.einsum("grd,red->gre", q, mean) / math.sqrt(q.shape[2]) +
                      numpy.log(count[..., 0]))
        return logits, value

    def lane_bytes(self, length, head_dim):
        """Pages as cache/policy.h counts them, and sums of the extra keys."""
        low = int(llama_fp64.window_starts(numpy.array([length - 1]), self.sinks, self.window)[0])
        pages = (math.ceil(self.sinks / BLOCK_TOKENS) +
                 math.ceil(length / BLOCK_TOKENS) - max(low, self.sinks) // BLOCK_TOKENS)
        pages = min(pages, math.ceil(length / BLOCK_TOKENS))
        tokens = {"none": 0, "mean": 2, "variance": 3}.get(self.name)
        if tokens is None:
            tokens = 2 * math.ceil(max(0, low - self.sinks) / self.span)
        return (pages * BLOCK_TOKENS * 2 * head_dim * ELEMENT_BYTES +
                tokens * head_dim * SUM_BYTES)


def token_ids(headlong, model, text, length, offset):
    output = subprocess.run(
        [headlong, "tokenize", "--model", model, "--file", text, "-o", "json"],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    ids = json.loads(output)["token_ids"]
    if len(ids) < offset + length:
        raise SystemExit(f"{text}: has {len(ids)} tokens, {offset + length} are needed")
    return [0] + ids[offset:offset + length - 1]  # BOS of needle-10m is 0


def check(model, golden):
    """The forward pass gives the logits of an independent one, where heads are local, too."""
    for case in json.loads(golden.read_text()):
        if (case["prefill"] != "streaming" or case["block_tokens"] != BLOCK_TOKENS or
                len(case["ids"]) > CHECKED_TOKENS):
            continue
        retrieval = {tuple(head) for head in case["retrieval_heads"]}
        rule = Rule(case["compensation"], case["sinks"], case["window_tokens"])
        hidden = llama_fp64.hidden_states(
            model, case["ids"], lambda layer, head: None if (layer, head) in retrieval else rule)
        logits = hidden[-4:] @ model.output.T
        worst = max(abs(logits[i, token] - value)
                    for i, top in enumerate(case["logits_last4_top20"]) for token, value in top)
        if worst > TOLERANCE:
            raise SystemExit(f"{golden}: a logit is off by {worst}")
        print(f"agrees with {golden.name} to {worst:.1e}", file=sys.stderr, flush=True)


def mean_kl(model, reference, hidden, skip):
    """Mean over the positions from `skip` on of KL(full || changed), in nats."""
    total = 0.0
    for first in range(skip, len(hidden), PIECE_ROWS):
        rows = slice(first, first + PIECE_ROWS)
        full = llama_fp64.log_probabilities(model, reference[rows])
        changed = llama_fp64.log_probabilities(model, hidden[rows])
        total += float((numpy.exp(full) * (full - changed)).sum())
    return total / (len(hidden) - skip)


def rules(args):
    for window in args.windows:
        for name in ("none", "mean", "variance"):
            yield Rule(name, args.sinks, window)
        for span in args.spans if window in args.span_windows else ():
            yield Rule("spans", args.sinks, window, span)


def at_equal_bytes(rows, size):
    """KL of the mean token at `size` bytes, between its windows on a logarithmic scale."""
    points = sorted((row["bytes"], row["kl"]) for row in rows if row["rule"].name == "mean")
    if not points[0][0] <= size <= points[-1][0]:
        return None
    sizes, costs = zip(*points)
    return math.exp(numpy.interp(math.log(size), numpy.log(sizes), numpy.log(costs)))


def measure(args, model, retrieval):
    texts = [token_ids(args.headlong, args.model, args.text, args.length,
                       args.offset + i * args.length)
             for i in range(args.texts)]
    references = [llama_fp64.hidden_states(model, ids, lambda layer, head: None) for ids in texts]
    rows = []
    for rule in rules(args):
        costs = []
        for ids, reference in zip(texts, references):
            hidden = llama_fp64.hidden_states(
                model, ids, lambda layer, head: None if (layer, head) in retrieval else rule)
            costs.append(mean_kl(model, reference, hidden, args.skip))
        rows.append({"rule": rule, "kl": sum(costs) / len(costs), "by_text": costs,
                     "bytes": rule.lane_bytes(args.length, model.head_dim)})
        print(f"window {rule.window}, {rule.label()}: {rows[-1]['kl']:.5f}", file=sys.stderr,
              flush=True)
    return rows


def print_table(rows, full_bytes):
    print("| window | what stands for the rest | bytes of a lane | of a full one | mean KL "
          "| one mean at equal bytes |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        rule = row["rule"]
        equal = at_equal_bytes(rows, row["bytes"])
        beside = "" if rule.name == "mean" or equal is None else f"{equal:.4f}"
        print(f"| {rule.window:,} | {rule.label()} | {row['bytes']:,} "
              f"| {100 * row['bytes'] / full_bytes:.1f} % | {row['kl']:.4f} | {beside} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headlong", default="build/headlong", help="tells tokens")
    parser.add_argument("--model", default="models/needle-10m", help="a Llama folder")
    parser.add_argument("--text", help="default: hay.txt of the model")
    parser.add_argument("--plan", help="whose retrieval heads stay (default: the model's; none: "
                                       "every head is local)")
    parser.add_argument("--length", type=int, default=8192, help="tokens of each text")
    parser.add_argument("--texts", type=int, default=1, help="pieces of the text")
    parser.add_argument("--skip", type=int, default=1024, help="positions that are not counted")
    parser.add_argument("--sinks", type=int, default=4)
    parser.add_argument("--windows", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--spans", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--span-windows", type=int, nargs="+", default=[64, 256],
                        help="those of --windows at which spans are compared")
    parser.add_argument("--offset", type=int, default=0, help="first token of the text")
    args = parser.parse_args()
    folder = pathlib.Path(args.model)
    args.text = args.text or folder / "hay.txt"
    model = llama_fp64.Model(folder)
    retrieval = set()
    if args.plan != "none":
        plan = json.loads(pathlib.Path(args.plan or folder / "plan.json").read_text())
        retrieval = {(entry["layer"], head) for entry in plan["heads"] for head in entry["heads"]
                     if "window_tokens" not in plan["policies"][entry["policy"]]}
    if folder.resolve().name == "needle-10m":
        check(model, GOLDEN)
    rows = measure(args, model, retrieval)
    pages = 4 * BLOCK_TOKENS  # of a full lane
    full = math.ceil(args.length / pages) * pages * 2 * model.head_dim * ELEMENT_BYTES
    print(f"{args.texts} x {args.length:,} tokens, positions from {args.skip:,} on, "
          f"{len(retrieval)} of {model.layers * model.kv_heads} heads keep everything\n")
    print_table(rows, full)


if __name__ == "__main__":
    main()
