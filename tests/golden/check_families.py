#!/usr/bin/env python3
"""An independent forward pass in fp64 over families/: which rotary frequencies were they made with?

Needs numpy. Prints, for frequencies in fp32 and rounded to bf16 and fp16, the largest difference to
any recorded logit. The one of the stored type is below 4e-6 in every folder.
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


def main():
    for folder in sorted((pathlib.Path(__file__).parent / "families").iterdir()):
        config = json.loads((folder / "config.json").read_text())
        reference = json.loads((folder / "reference.json").read_text())
        weights, kinds = tensors(folder)
        dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        plain, scale = frequencies(config, dim)
        worst = {}
        for kind in ("F32", "BF16", "F16"):
            angle = np.arange(len(reference["ids"]))[:, None] * rounded(plain, kind)
            angles = (np.cos(angle) * scale, np.sin(angle) * scale)
            ours = logits(config, weights, reference["ids"], angles)
            worst[kind] = max(
                abs(ours[position["prompt_tokens"] - 1][token] - value)
                for position in reference["positions"]
                for token, value in position["last_logits_top20"]
            )
        text = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
        print(f"{folder.name:16} stored in {'/'.join(sorted(kinds)):5} worst: {text}")


if __name__ == "__main__":
    main()
