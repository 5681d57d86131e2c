"""What single heads cost, with a compensation token and without one, and whether costs add up.

`headlong calibrate` measures every head within each of several windows, each with and without
compensation, and groups of heads together; this prints the tables of docs/calibrate.md. With
--curve the KL over bytes goes into an SVG, plans that were measured as points.
"""
import argparse
import collections
import json
import math
import pathlib
import subprocess


def calibrate(options):
    evidence = options.folder / "costs.evidence.json"
    words = ["calibrate", "--model", options.model, "--out", options.folder / "costs.plan.json",
             "--budget", options.budget, "--windows", options.windows, "--compensation",
             "mean,none", "--groups", options.groups, "--evidence", evidence]
    subprocess.run([options.headlong, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return evidence


def compensation_table(evidence):
    costs = collections.defaultdict(dict)
    for cost in evidence["costs"]:
        costs[cost["window_tokens"]][cost["layer"], cost["head"], cost["compensation"]] = cost["kl"]
    print("| window | sum of heads, without | with | heads that it helps | dearest, without | with "
          "|")
    print("|---|---|---|---|---|---|")
    for window, kls in sorted(costs.items()):
        heads = {key[:2] for key in kls}
        without = {head: kls[*head, "none"] for head in heads}
        with_one = {head: kls[*head, "mean"] for head in heads}
        helped = sum(with_one[head] < without[head] for head in heads)
        print(f"| {window} | {sum(without.values()):.3f} | {sum(with_one.values()):.3f} | "
              f"{helped} of {len(heads)} | {max(without.values()):.3f} | "
              f"{max(with_one.values()):.3f} |")


def group_table(evidence):
    sizes = collections.defaultdict(list)
    for group in evidence["groups"]:
        sizes[len(group["heads"])].append((group["kl"], group["sum"]))
    print("| heads | groups | mean KL | mean sum of costs | KL / sum: least | median | most |")
    print("|---|---|---|---|---|---|---|")
    for size, found in sorted(sizes.items()):
        ratios = sorted(kl / total if total > 0 else math.inf for kl, total in found)
        kl, total = (sum(column) / len(found) for column in zip(*found))
        print(f"| {size} | {len(found)} | {kl:.4f} | {total:.4f} | {ratios[0]:.2f} | "
              f"{ratios[len(ratios) // 2]:.2f} | {ratios[-1]:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlong", default="build/headlong")
    parser.add_argument("--model", default="models/needle-10m", type=pathlib.Path)
    parser.add_argument("--windows", default="16,64,256")
    parser.add_argument("--groups", default=48, type=int)
    parser.add_argument("--budget", default="0.15")
    parser.add_argument("--curve", type=pathlib.Path, help="write KL over bytes, SVG")
    parser.add_argument("--folder", default="build/costs", type=pathlib.Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = calibrate(options)
    evidence = json.loads(path.read_text())
    compensation_table(evidence)
    print()
    group_table(evidence)
    if options.curve:
        subprocess.run([options.headlong, "plan", "report", "--evidence", path, "--curve",
                        options.curve], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
