"""A Llama-family folder and its forward pass in fp64, apart from all C++: for studies of what local
heads keep. Every head has a rule; what the head dropped may stand as extra keys.
"""
import json
import pathlib
import struct

import numpy

BLOCK_TOKENS = 16
ROWS = 256  # queries at a time


class Model:
    """Weights of one safetensors file. Plain rotary embedding, no biases: others are refused."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        config = json.loads((folder / "config.json").read_text())
        if config.get("rope_scaling") or config.get("attention_bias"):
            raise SystemExit(f"{folder}: only plain rotary embeddings without biases are computed")
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.kv_heads = config["num_key_value_heads"]
        self.head_dim = config.get("head_dim", config["hidden_size"] // self.heads)
        self.theta = config.get("rope_theta", 10000.0)
        self.eps = config["rms_norm_eps"]
        self._tensors = dict(read_tensors(folder / "model.safetensors"))
        self.output = self._tensors.get("lm_head.weight",
                                        self._tensors["model.embed_tokens.weight"])

    def weight(self, name, layer=None):
        prefix = "model." if layer is None else f"model.layers.{layer}."
        return self._tensors[prefix + name + ".weight"]


def read_tensors(path):
    """Names and fp64 arrays."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            raw = file.read(end - begin)
            if entry["dtype"] == "BF16":
                values = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = numpy.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
            yield name, values.astype(numpy.float64).reshape(entry["shape"])


def rms_norm(x, weight, eps):
    return x / numpy.sqrt(numpy.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x, theta):
    """x [positions, heads, head_dim]: pairs are the halves, as Hugging Face has them."""
    half = x.shape[-1] // 2
    angles = numpy.arange(x.shape[0])[:, None] / theta ** (numpy.arange(half) / half)
    cos, sin = numpy.cos(angles)[:, None, :], numpy.sin(angles)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return numpy.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def softmax(logits):
    """Over the last axis; -inf where a key is not seen."""
    weights = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def full_head(q, k, v):
    """q [group, n, d], k and v [n, d]: causal attention over everything."""
    out = numpy.empty_like(q)
    positions = numpy.arange(k.shape[0])
    for first in range(0, k.shape[0], ROWS):
        rows = slice(first, min(first + ROWS, k.shape[0]))
        logits = q[:, rows] @ k[:rows.stop].T / numpy.sqrt(k.shape[1])
        logits[:, positions[:rows.stop][None, :] > positions[rows][:, None]] = -numpy.inf
        out[:, rows] = softmax(logits) @ v[:rows.stop]
    return out


def window_starts(positions, sinks, window):
    """First kept position of the window at each query, as cache/policy.h has it."""
    return numpy.maximum(sinks, (positions + 1 - window) // BLOCK_TOKENS * BLOCK_TOKENS)


def local_head(q, k, v, rule):
    """As full_head, but a query sees sinks, its window, and the keys that rule.stand_ins adds."""
    out = numpy.empty_like(q)
    stand_ins = rule.stand_ins(k, v)
    for first in range(0, k.shape[0], ROWS):
        m = numpy.arange(first, min(first + ROWS, k.shape[0]))
        low = window_starts(m, rule.sinks, rule.window)
        kept = numpy.concatenate([numpy.arange(min(rule.sinks, m[-1] + 1)),
                                  numpy.arange(max(rule.sinks, low[0]), m[-1] + 1)])
        seen = (kept[None, :] <= m[:, None]) & ((kept[None, :] < rule.sinks) |
                                                (kept[None, :] >= low[:, None]))
        rows = q[:, m]
        logits = rows @ k[kept].T / numpy.sqrt(k.shape[1])
        logits[:, ~seen] = -numpy.inf
        extra, extra_values = stand_ins(rows, low)  # [group, rows, e], [rows, e, d]
        weights = softmax(numpy.concatenate([logits, extra], axis=-1))
        out[:, m] = (weights[..., :len(kept)] @ v[kept] +
                     numpy.einsum("gre,red->grd", weights[..., len(kept):], extra_values))
    return out


def hidden_states(model, ids, rule_of):
    """Final hidden states [n, hidden]; rule_of(layer, head) is None where the head keeps all."""
    x = model.weight("embed_tokens")[ids]
    group = model.heads // model.kv_heads
    for layer in range(model.layers):
        normed = rms_norm(x, model.weight("input_layernorm", layer), model.eps)
        q, k, v = ((normed @ model.weight(f"self_attn.{name}_proj", layer).T)
                   .reshape(len(ids), -1, model.head_dim) for name in "qkv")
        q, k = rotate(q, model.theta), rotate(k, model.theta)
        heads = []
        for head in range(model.kv_heads):
            queries = q[:, head * group:(head + 1) * group].transpose(1, 0, 2)
            rule = rule_of(layer, head)
            keys, values = k[:, head], v[:, head]
            heads.append(full_head(queries, keys, values) if rule is None
                         else local_head(queries, keys, values, rule))
        attended = numpy.concatenate(heads).transpose(1, 0, 2).reshape(len(ids), -1)
        x = x + attended @ model.weight("self_attn.o_proj", layer).T
        normed = rms_norm(x, model.weight("post_attention_layernorm", layer), model.eps)
        gate = normed @ model.weight("mlp.gate_proj", layer).T
        up = normed @ model.weight("mlp.up_proj", layer).T
        x = x + (gate / (1 + numpy.exp(-gate)) * up) @ model.weight("mlp.down_proj", layer).T
    return rms_norm(x, model.weight("norm"), model.eps)


def log_probabilities(model, hidden):
    """[rows, vocabulary]"""
    logits = hidden @ model.output.T
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(axis=-1, keepdims=True))
