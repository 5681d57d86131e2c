#!/usr/bin/env python3
"""Writes a model folder with the shapes of Llama-3.2-1B, random weights and a byte-level tokenizer.

What such a model says is noise; how long it takes to load and to run is that of the real one. Needs
nothing but Python and the folder of needle-10m, whose tokenizer.json tells how text is cut into
words; holds a few MiB at a time.
"""
import argparse
import json
import math
import pathlib
import random
import struct
import sys

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"

LLAMA_3_2_1B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    "attention_bias": False, "mlp_bias": False, "torch_dtype": "bfloat16", "bos_token_id": 128000,
    "eos_token_id": 128001, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}
SPECIAL_TOKENS = 256  # at the end of the vocabulary, as in Llama 3
CHUNK_VALUES = 4 << 20
ONE = b"\x80\x3f"  # 1.0 in bf16, little endian


def tensors(config):
    """Names, shapes and the root mean square of the values; 0: all of them are 1."""
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]

    def matrix(name, rows, columns):
        return name, (rows, columns), 1 / math.sqrt(columns)

    yield matrix("model.embed_tokens.weight", config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,), 0
        yield matrix(prefix + "self_attn.q_proj.weight", queries, hidden)
        yield matrix(prefix + "self_attn.k_proj.weight", keys, hidden)
        yield matrix(prefix + "self_attn.v_proj.weight", keys, hidden)
        yield matrix(prefix + "self_attn.o_proj.weight", hidden, queries)
        yield prefix + "post_attention_layernorm.weight", (hidden,), 0
        yield matrix(prefix + "mlp.gate_proj.weight", mlp, hidden)
        yield matrix(prefix + "mlp.up_proj.weight", mlp, hidden)
        yield matrix(prefix + "mlp.down_proj.weight", hidden, mlp)
    yield "model.norm.weight", (hidden,), 0


def random_bf16(count, rms, source):
    """Bytes of `count` bf16 values: random sign and mantissa, one exponent. Their magnitudes are
    uniform in [2^e, 2^(e+1)), of which the root mean square is 2^e sqrt(7/3)."""
    exponent = 127 + round(math.log2(rms / math.sqrt(7 / 3)))
    low = bytes(b & 0x7F | (exponent & 1) << 7 for b in range(256))
    high = bytes(b & 0x80 | exponent >> 1 for b in range(256))
    values = bytearray(2 * count)
    values[0::2] = source.randbytes(count).translate(low)
    values[1::2] = source.randbytes(count).translate(high)
    return values


def write_weights(config, seed, path):
    header, end = {}, 0
    for name, shape, _ in tensors(config):
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    source = random.Random(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, rms in tensors(config):
            left = math.prod(shape)
            while left:
                count = min(left, CHUNK_VALUES)
                file.write(random_bf16(count, rms, source) if rms else ONE * count)
                left -= count
    return end


def vocabulary(size, alphabet):
    """Token texts by id and merges: the alphabet of bytes, then pairs and triples of its first
    characters, until there are `size` tokens."""
    letters = alphabet[:95]
    tokens, merges = list(alphabet), []
    level = letters
    while len(tokens) < size:
        following = []
        for left in level:
            for right in letters:
                if len(tokens) == size:
                    return tokens, merges
                tokens.append(left + right)
                merges.append([left, right])
                following.append(left + right)
        level = following
    return tokens, merges


def tokenizer(config):
    document = json.loads((MODELS / "needle-10m" / "tokenizer.json").read_text())
    ids = document["model"]["vocab"]
    alphabet = sorted(text for text in ids if len(text) == 1)
    plain = config["vocab_size"] - SPECIAL_TOKENS
    tokens, merges = vocabulary(plain, alphabet)
    document["model"]["vocab"] = {text: number for number, text in enumerate(tokens)}
    document["model"]["merges"] = merges
    names = ["<|begin_of_text|>", "<|end_of_text|>"]
    names += [f"<|reserved_special_token_{i}|>" for i in range(SPECIAL_TOKENS - len(names))]
    like = document["added_tokens"][0]
    document["added_tokens"] = [{**like, "id": plain + i, "content": name, "special": True}
                                for i, name in enumerate(names)]
    for processor in document["post_processor"]["processors"]:
        for token in processor.get("special_tokens", {}).values():
            token["ids"] = [plain + names.index(name) for name in token["tokens"]]
    return document


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where to write; made if it is not there")
    parser.add_argument("--layers", type=int, help="instead of 16")
    parser.add_argument("--vocabulary", type=int, help="tokens instead of 128256, at least 512")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    if args.vocabulary is not None and args.vocabulary < 2 * SPECIAL_TOKENS:
        parser.error(f"--vocabulary: must be at least {2 * SPECIAL_TOKENS}, is {args.vocabulary}")
    return args


def main(arguments):
    args = parse(arguments)
    config = dict(LLAMA_3_2_1B)
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    config["vocab_size"] = args.vocabulary or config["vocab_size"]
    config["bos_token_id"] = config["vocab_size"] - SPECIAL_TOKENS
    config["eos_token_id"] = config["bos_token_id"] + 1
    args.folder.mkdir(parents=True, exist_ok=True)
    (args.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (args.folder / "tokenizer.json").write_text(json.dumps(tokenizer(config)) + "\n")
    size = write_weights(config, args.seed, args.folder / "model.safetensors")
    print(f"{args.folder}: {size:,} bytes of weights")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
