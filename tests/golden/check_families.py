#!/usr/bin/env python3
"""An independent forward pass in fp64 over families/: which rotary frequencies were they made with?

Needs numpy. Prints, for frequencies in fp32 and rounded to bf16 and fp16, the largest difference to
any recorded logit. The one of the stored type is below 4e-6 in every folder. Of mpt, which has no
rotary embedding, the difference alone.
"""
import json
import math
import pathlib
import struct

import numpy as np


def rounded(values, kind):
    values = np.asarray(values, np.float32)
    if kind == "F16":
        return values.astype(np.float16).astype(np.float64)
    if kind == "BF16":
        bits = values.view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return values.astype(np.float64)


def tensors(folder):
    found, kinds = {}, set()
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            kinds.add(entry["dtype"])
            if entry["dtype"] == "BF16":
                wide = np.frombuffer(raw[begin:end], np.uint16).astype(np.uint32) << 16
                values = wide.view(np.float32)
            else:
                kind = np.float16 if entry["dtype"] == "F16" else np.float32
                values = np.frombuffer(raw[begin:end], kind)
            found[name] = values.astype(np.float64).reshape(entry["shape"])
    return found, kinds


def frequencies(config, dim):
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 1e4))
    kind = rope.get("rope_type", "default")
    factor = rope.get("factor", 1)
    original = rope.get("original_max_position_embeddings", 1)
    pairs = np.arange(dim // 2)
    plain = theta ** (-2.0 * pairs / dim)
    if kind == "linear":
        return plain / factor, 1.0
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = np.clip((original * plain / (2 * np.pi) - low) / (high - low), 0, 1)
        return (1 - smooth) * plain / factor + smooth * plain, 1.0
    if kind == "yarn":
        def pair(turns):
            return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

        low, high = max(math.floor(pair(32)), 0), min(math.ceil(pair(1)), dim - 1)
        ramp = np.clip((pairs - low) / (high - low), 0, 1)
        return plain / factor * ramp + plain * (1 - ramp), 0.1 * math.log(factor) + 1
    return plain, 1.0


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def attention(config, weights, prefix, h, angles):
    """angles: (cosines, sines), each [position][head_dim / 2]."""
    count, heads = len(h), config["num_attention_heads"]
    kv_heads, eps = config["num_key_value_heads"], config["rms_norm_eps"]

    def project(which, n):
        out = h @ weights[f"{prefix}{which}_proj.weight"].T
        out = (out + weights.get(f"{prefix}{which}_proj.bias", 0)).reshape(count, n, -1)
        if f"{prefix}{which}_norm.weight" in weights:
            out = norm(out, weights[f"{prefix}{which}_norm.weight"], eps)
        if which == "v":
            return out
        cos, sin = (part[:, None] for part in angles)
        a, b = np.split(out, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    q = project("q", heads)
    k, v = (np.repeat(project(which, kv_heads), heads // kv_heads, 1) for which in "kv")
    distance = np.arange(count)[:, None] - np.arange(count)
    seen = (distance >= 0) & (distance < (config.get("sliding_window") or count))
    scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
    scores = np.exp(np.where(seen, scores, -np.inf))
    scores /= scores.sum(-1, keepdims=True)
    out = np.einsum("hij,jhd->ihd", scores, v).reshape(count, -1)
    return out @ weights[f"{prefix}o_proj.weight"].T


def logits(config, weights, ids, angles):
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        h = norm(x, weights[prefix + "input_layernorm.weight"], eps)
        x = x + attention(config, weights, prefix + "self_attn.", h, angles)
        h = norm(x, weights[prefix + "post_attention_layernorm.weight"], eps)
        gate = h @ weights[prefix + "mlp.gate_proj.weight"].T
        up = h @ weights[prefix + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "mlp.down_proj.weight"].T
    x = norm(x, weights["model.norm.weight"], eps)
    tied = config.get("tie_word_embeddings")
    return x @ weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def layer_norm(x, weight, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def alibi_slopes(heads, bias_max):
    """Of Press et al. 2022: a geometric series; of another count than 2^k every second one of the
    next power's, then those between."""
    power = 2 ** math.ceil(math.log2(heads))
    slopes = [2.0 ** (-bias_max * (i + 1) / power) for i in range(power)]
    return slopes if power == heads else (slopes[1::2] + slopes[::2])[:heads]


def mpt_logits(config, weights, ids, local=None):
    """`local`: {"sinks", "window_tokens", "full_heads": [[layer, head]]} of a plan without
    compensation, whose windows drop blocks of 16."""
    count, heads, eps = len(ids), config["n_heads"], config["layer_norm_epsilon"]
    slopes = np.array(alibi_slopes(heads, config["attn_config"]["alibi_bias_max"]))
    distance = np.arange(count)[:, None] - np.arange(count)
    x = weights["transformer.wte.weight"][ids]
    for layer in range(config["n_layers"]):
        prefix = f"transformer.blocks.{layer}."
        h = layer_norm(x, weights[prefix + "norm_1.weight"], eps)
        q, k, v = (part.reshape(count, heads, -1)
                   for part in np.split(h @ weights[prefix + "attn.Wqkv.weight"].T, 3, -1))
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
        scores -= slopes[:, None, None] * distance
        for head in range(heads):
            seen = distance >= 0
            if local and [layer, head] not in local["full_heads"]:
                rows = np.arange(count)
                kept = (rows + 1 - local["window_tokens"]) // 16 * 16
                seen = seen & ((rows >= kept[:, None]) | (rows < local["sinks"]))
            scores[head][~seen] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        out = np.einsum("hij,jhd->ihd", scores, v).reshape(count, -1)
        x = x + out @ weights[prefix + "attn.out_proj.weight"].T
        h = layer_norm(x, weights[prefix + "norm_2.weight"], eps)
        up = h @ weights[prefix + "ffn.up_proj.weight"].T
        gelu = 0.5 * up * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        x = x + gelu @ weights[prefix + "ffn.down_proj.weight"].T
    x = layer_norm(x, weights["transformer.norm_f.weight"], eps)
    return x @ weights["transformer.wte.weight"].T


def mpt_scopes(config, weights, epsilon):
    """[layer][head]: how far a head sees, by its weights (RazorAttention, section 3.1)."""
    heads = config["n_heads"]
    slopes = alibi_slopes(heads, config["attn_config"]["alibi_bias_max"])
    scopes = []
    for layer in range(config["n_layers"]):
        prefix = f"transformer.blocks.{layer}."
        squares = (weights[prefix + "norm_1.weight"] ** 2).sum()
        q, k, _ = (part.reshape(heads, -1, part.shape[-1])
                   for part in np.split(weights[prefix + "attn.Wqkv.weight"], 3))
        norms = [np.linalg.norm(q[h].T @ k[h], 2) / math.sqrt(q.shape[1]) for h in range(heads)]
        scopes.append([(2 * norm * squares - math.log(epsilon)) / slope
                       for norm, slope in zip(norms, slopes)])
    return scopes


def worst_difference(logits, positions):
    return max(
        abs(logits[position["prompt_tokens"] - 1][token] - value)
        for position in positions
        for token, value in position["last_logits_top20"]
    )


def main():
    for folder in sorted((pathlib.Path(__file__).parent / "families").iterdir()):
        config = json.loads((folder / "config.json").read_text())
        reference = json.loads((folder / "reference.json").read_text())
        weights, kinds = tensors(folder)
        if config["model_type"] == "mpt":
            ours = mpt_logits(config, weights, reference["ids"])
            print(f"{folder.name:16} stored in {'/'.join(sorted(kinds)):5} worst: "
                  f"{worst_difference(ours, reference['positions']):.1e}")
            continue
        dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        plain, scale = frequencies(config, dim)
        worst = {}
        for kind in ("F32", "BF16", "F16"):
            angle = np.arange(len(reference["ids"]))[:, None] * rounded(plain, kind)
            angles = (np.cos(angle) * scale, np.sin(angle) * scale)
            ours = logits(config, weights, reference["ids"], angles)
            worst[kind] = worst_difference(ours, reference["positions"])
        text = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
        print(f"{folder.name:16} stored in {'/'.join(sorted(kinds)):5} worst: {text}")


if __name__ == "__main__":
    main()
