"""The model folder that bench/random_model.py writes is one that runs."""
import subprocess
import sys

from support.cluster import ROOT


def test_a_random_model_runs(sandbox, tmp_path):
    folder = tmp_path / "random"
    subprocess.run([sys.executable, ROOT / "bench" / "random_model.py", folder, "--layers", "1",
                    "--vocabulary", "512"], check=True, stdout=subprocess.PIPE)
    described = sandbox.run("model", "info", "--model", folder)
    assert described.code == 0
    assert "1 layers, 32 query heads, 8 KV heads of 64, hidden 2,048" in described.out
    assert "llama3, base 500000, factor 32 over 8192 positions" in described.out
    text = "Twice 2 is four.\n"
    ids = sandbox.run("tokenize", "--special", "--model", folder, "--text", text).json()
    assert ids["token_ids"][0] == 256
    answer = sandbox.run("generate", "--model", folder, "--prompt", text, "--max-tokens", 4,
                         "--max-context", 256, "--ignore-eos", "--logprobs", 1, "-o",
                         "json").json()
    assert len(answer["token_ids"]) == 4
    assert all(-20 < entry["logprob"] < 0 for entry in answer["logprobs"])
