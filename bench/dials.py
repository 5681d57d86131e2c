"""What each dial of a plan is worth alone and what all of them are worth together: windows, codes,
ranks. For several budgets `headlong calibrate` chooses a plan by each set of choices, on the same
measured costs, and measures its KL on text that it was not chosen by; `bench needle` asks for
needles. Prints the table of docs/calibrate.md.
"""
import argparse
import json
import pathlib
import subprocess

WINDOWS = "64,256"
CODES = "int8,int8/int4,int4,int8+hadamard,int4+hadamard"
RANKS = "48,32,48/32"
DIALS = {"windows": (WINDOWS, "", ""), "codes": ("", CODES, ""), "ranks": ("", "", RANKS),
         "all": (WINDOWS, CODES, RANKS)}


def run(headlong, *words):
    """The command's JSON, or None where no choice meets the budget."""
    done = subprocess.run([headlong, *map(str, words), "-o", "json"], capture_output=True,
                          text=True, check=False)
    if done.returncode == 1 and "cannot be met" in done.stderr:
        return None
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def calibrate(options, dial, budget, costs):
    """The plan's file and what calibrate says of its plans, by name."""
    windows, storage, rank = DIALS[dial]
    out = options.folder / f"{dial}-{budget}.json"
    evidence = options.folder / f"{dial}.evidence.json"
    words = ["calibrate", "--model", options.model, "--budget", budget, "--windows", windows,
             "--out", out, "--evidence", evidence]
    words += ["--storage", storage] if storage else []
    words += ["--rank", rank] if rank else []
    words += ["--costs", costs] if costs else []
    found = run(options.headlong, *words)
    return out, found and {plan["name"]: plan for plan in found["plans"]}


def recall(options, plan):
    found = run(options.headlong, "bench", "needle", "--model", options.model, "--plan", plan,
                "--lengths", options.length, "--trials", options.trials)
    return found["recall"][str(options.length)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlong", default="build/headlong")
    parser.add_argument("--model", default="models/needle-10m", type=pathlib.Path)
    parser.add_argument("--budgets", default="0.05,0.15,0.3,0.5")
    parser.add_argument("--length", default=8192, type=int)
    parser.add_argument("--trials", default=20, type=int)
    parser.add_argument("--folder", default="build/dials", type=pathlib.Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    budgets = options.budgets.split(",")
    print("| budget | dial | cache | KL | recall |\n|---|---|---|---|---|", flush=True)
    costs = None
    for budget in budgets:
        for dial in ("all", "windows", "codes", "ranks"):
            plan, found = calibrate(options, dial, budget, costs)
            if dial == "all":
                costs = options.folder / "all.evidence.json"
            if found is None:
                print(f"| {budget} | {dial} | cannot be met | | |", flush=True)
                continue
            chosen = found["calibrated"]
            print(f"| {budget} | {dial} | {100 * chosen['share']:.1f} % | {chosen['kl']:.4f} | "
                  f"{recall(options, plan):.2f} |", flush=True)


if __name__ == "__main__":
    main()
