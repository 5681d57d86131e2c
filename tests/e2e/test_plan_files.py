"""Plans as files: what `plan import` writes is what the cluster runs, and pictures are pictures."""
import json
import xml.etree.ElementTree as ElementTree

from support.cluster import MODEL

CONFIG = json.loads((MODEL / "config.json").read_text())
LAYERS, KV_HEADS = CONFIG["num_hidden_layers"], CONFIG["num_key_value_heads"]


def test_imported_pattern_is_what_runs(sandbox, tmp_path):
    table = [["0"] * KV_HEADS for _ in range(LAYERS)]
    table[6][1] = "1"
    scores = tmp_path / "heads.tsv"
    scores.write_text("\n".join("\t".join(row) for row in table) + "\n")
    plan = tmp_path / "plan.json"
    imported = sandbox.run("plan", "import", scores, "--format", "razor", "--model", MODEL, "--out",
                           plan)
    assert imported.code == 0, imported
    svg = tmp_path / "recall.svg"
    report = sandbox.run("bench", "needle", "--model", MODEL, "--plan", plan, "--lengths", 2048,
                         "--trials", 6, "--svg", svg, "-o", "json", timeout=170).json()
    assert report["task"] == "passkey"
    assert report["recall"]["2048"] >= 5 / 6  # one head of the model finds needles
    shown = sandbox.run("plan", "show", "--model", MODEL, "--plan", plan, "--lengths", 2048, "-o",
                        "json").json()
    # The answer took a page more in every head at most: 16 tokens of a local one, 64 of the other.
    page = 16 * 2 * CONFIG["head_dim"] * 2
    more = report["cache_bytes"]["2048"] - shown["cache_bytes"]["2048"]
    assert 0 <= more <= (LAYERS * KV_HEADS - 1 + 4) * page
    titles = [node.text for node in ElementTree.parse(svg).iter() if node.tag.endswith("title")]
    trials = sum(int(title.split()[2]) for title in titles if " of " in title)
    assert trials == 6


def test_prompts_of_ones_own(sandbox, tmp_path):
    fact = "The code of meadow is 2978347."
    question = "\nQuestion: What is the code of meadow?\nAnswer: "
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps(line) for line in [
        {"prompt": f"It was a fine day. {fact} He went home.{question}", "answer": "2978347"},
        {"prompt": f"It was a fine day. He went home.{question}", "answer": ["2978347"]}]))
    report = sandbox.run("bench", "needle", "--model", MODEL, "--plan", "full", "--file", own, "-o",
                         "json", timeout=100).json()
    assert report["rows"] == [{"length": 256, "depth": None, "trials": 2, "correct": 1}]
    assert report["recall"] == {"256": 0.5}


def test_tasks_that_the_model_knows(sandbox):
    def recall(task, plan):
        report = sandbox.run("bench", "needle", "--model", MODEL, "--plan", plan, "--task", task,
                             "--lengths", 1024, "--trials", 6, "-o", "json", timeout=170).json()
        assert report["task"] == task
        return report["recall"]["1024"]
    assert recall("multi-needle", "full") >= 5 / 6
    assert recall("multi-needle", "local") <= 3 / 6
