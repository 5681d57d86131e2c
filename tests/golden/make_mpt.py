#!/usr/bin/env python3
"""Makes families/mpt: a tiny random model with ALiBi, and what transformers in fp32 says of it.

Needs torch and transformers; numpy for `local`, the logits of plans with local heads, and for
`scopes`, which come from the independent code in check_families.py (transformers has neither). The
vocabulary is that of families/llama, whose tokenizer.json is copied.
"""
import json
import pathlib
import shutil

import torch
import transformers

import check_families

FAMILIES = pathlib.Path(__file__).parent / "families"
# Three heads: no power of two, whose slopes come from the next one's.
SHAPE = {"d_model": 48, "n_heads": 3, "n_layers": 2, "max_seq_len": 512, "vocab_size": 320}
PREFIXES = [1, 2, 31, 33, 64, 66, 130, 200]
GREEDY_PROMPT, GREEDY_TOKENS = 100, 24
LOCAL = [
    {"sinks": 0, "window_tokens": 32, "full_heads": []},
    {"sinks": 4, "window_tokens": 50, "full_heads": [[0, 1], [1, 2]]},
]


def random_model():
    torch.manual_seed(1107)
    config = transformers.MptConfig(**SHAPE, initializer_range=0.12, bos_token_id=0, eos_token_id=1)
    config.architectures = ["MptForCausalLM"]
    model = transformers.MptForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            else:
                weight.copy_(0.15 * torch.randn_like(weight))
    return model


def last_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()


def described(logits, tokens):
    top = torch.topk(logits, 20)
    pairs = [[int(i), float(x)] for x, i in zip(top.values, top.indices)]
    return {"prompt_tokens": tokens, "last_logits_top20": pairs,
            "last_logits_l2": float(torch.linalg.vector_norm(logits.double()))}


def greedy(model, prompt):
    ids, gap = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        best = torch.topk(last_logits(model, ids), 2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt):], gap


def local_cases(config, weights, ids):
    cases = []
    for case in LOCAL:
        logits = check_families.mpt_logits(config, weights, ids, case)
        positions = [described(torch.tensor(logits[n - 1]), n) for n in PREFIXES]
        cases.append({**case, "positions": positions})
    return cases


def main():
    folder = FAMILIES / "mpt"
    folder.mkdir(exist_ok=True)
    model = random_model()
    model.save_pretrained(folder)
    shutil.copy(FAMILIES / "llama" / "tokenizer.json", folder)
    ids = torch.randint(2, SHAPE["vocab_size"], (200,)).tolist()
    tokens, gap = greedy(model, ids[:GREEDY_PROMPT])
    config = json.loads((folder / "config.json").read_text())
    weights, _ = check_families.tensors(folder)
    reference = {
        "ids": ids,
        "positions": [described(last_logits(model, ids[:n]), n) for n in PREFIXES],
        "greedy_prompt_tokens": GREEDY_PROMPT,
        "greedy_ids": tokens,
        "smallest_top2_gap": gap,
        "local": local_cases(config, weights, ids),
        "scopes": check_families.mpt_scopes(config, weights, epsilon=1e-3),
    }
    (folder / "reference.json").write_text(json.dumps(reference))


if __name__ == "__main__":
    main()
