"""llama.cpp on a GGUF file, for llama_cpp.py, which starts this in the venv that it made.

  convert MODEL GGUF TYPE    a Llama folder (safetensors) as GGUF with weights of TYPE f32 or f16
  run GGUF < request         one JSON object in, one out: a prompt of ids, then greedy tokens, timed

Started with `python -P`, since llama_cpp.py beside this file is not the package of that name.
"""
import ctypes
import json
import pathlib
import struct
import sys
import time

import gguf
import llama_cpp
import numpy

CACHE_TYPES = {"f32": llama_cpp.GGML_TYPE_F32, "f16": llama_cpp.GGML_TYPE_F16}
WEIGHT_TYPES = {"f32": numpy.float32, "f16": numpy.float16}
FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16}
ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
LAYER_TENSORS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down"}
OTHER_TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm",
                 "lm_head": "output"}


def read_tensors(path):
    """Names and fp32 arrays of a safetensors file."""
    file = path.read_bytes()
    (length,) = struct.unpack_from("<Q", file)
    for name, entry in json.loads(file[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        raw = file[begin:end]
        if entry["dtype"] == "BF16":
            values = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = numpy.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
        yield name, values.astype(numpy.float32).reshape(entry["shape"])


def interleaved(weight, heads):
    """Rows of q or k as llama.cpp's rope wants them: the two halves of a head pair by pair."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return OTHER_TENSORS[stem] + ".weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_TENSORS[part]}.weight"


def convert(model, target, weight_type):
    config = json.loads((model / "config.json").read_text())
    if config["architectures"] != ["LlamaForCausalLM"] or config.get("rope_scaling"):
        raise SystemExit(f"{model}: only a LlamaForCausalLM without rope_scaling is converted")
    q_heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // q_heads
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(q_heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")  # prompts are ids
    writer.add_file_type(FILE_TYPES[weight_type])
    for name, values in read_tensors(model / "model.safetensors"):
        if "q_proj" in name or "k_proj" in name:
            values = interleaved(values, q_heads if "q_proj" in name else kv_heads)
        if values.ndim > 1:  # norms stay in fp32, as in llama.cpp's own converter
            values = values.astype(WEIGHT_TYPES[weight_type])
        writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_context(path, request):
    model = llama_cpp.llama_model_load_from_file(str(path).encode(),
                                                 llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = request["n_ctx"]
    params.n_batch, params.n_ubatch = request["n_batch"], request["n_ubatch"]
    params.n_threads = params.n_threads_batch = request["threads"]
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.type_k = params.type_v = CACHE_TYPES[request["cache_type"]]
    params.no_perf = True
    context = llama_cpp.llama_init_from_model(model, params) if model else None
    if not context:
        raise SystemExit(f"{path}: llama.cpp cannot open it")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    return context, vocabulary


def decode(context, ids):
    tokens = (llama_cpp.llama_token * len(ids))(*ids)
    batch = llama_cpp.llama_batch_get_one(tokens, len(ids))
    if status := llama_cpp.llama_decode(context, batch):
        raise SystemExit(f"llama_decode: {status}")


def best_token(context, vocabulary):
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    return int(numpy.argmax(numpy.ctypeslib.as_array(logits, (vocabulary,))))


def run(path, request):
    """Prefill is until the first token, decode the `tokens` - 1 that follow."""
    context, vocabulary = open_context(path, request)
    ids, tokens = request["ids"], []
    decode(context, ids[:32])  # warms threads and pages up
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    start = time.perf_counter()
    for begin in range(0, len(ids), request["n_batch"]):
        decode(context, ids[begin:begin + request["n_batch"]])
    tokens.append(best_token(context, vocabulary))
    prefilled = time.perf_counter()
    while len(tokens) < request["tokens"]:
        decode(context, tokens[-1:])
        tokens.append(best_token(context, vocabulary))
    end = time.perf_counter()
    return {"tokens": tokens, "prefill_s": prefilled - start, "decode_s": end - prefilled,
            "system": llama_cpp.llama_print_system_info().decode(),
            "version": llama_cpp.__version__}


@llama_cpp.llama_log_callback
def only_errors(level, text, _):
    if level == ERROR_LEVEL:
        sys.stderr.write(text.decode(errors="replace"))


def main(arguments):
    llama_cpp.llama_log_set(only_errors, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    command, path = arguments[0], pathlib.Path(arguments[1])
    if command == "convert":
        convert(path, pathlib.Path(arguments[2]), arguments[3])
    else:
        print(json.dumps(run(path, json.load(sys.stdin))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
