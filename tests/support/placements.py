"""Placements of the embedded model that hold heads in stripes."""
import json

from support.cluster import MODEL

CONFIG = json.loads((MODEL / "config.json").read_text())
LAYERS, KV_HEADS = CONFIG["num_hidden_layers"], CONFIG["num_key_value_heads"]
ALL_HEADS = {(layer, head) for layer in range(LAYERS) for head in range(KV_HEADS)}


def retrieval_heads(plan):
    return {(entry["layer"], head) for entry in plan["heads"] for head in entry["heads"]}


def cut(total, parts):
    """Sizes in the proportion of `parts`, the rest to the last."""
    sizes = [total * part // sum(parts) for part in parts]
    return sizes[:-1] + [total - sum(sizes[:-1])]


def striped_placement(retrieval, stripes):
    """Of each retrieval head `stripes` at w0, w1, ...; layer 1's heads and the last head of every
    layer stay whole, at the first three workers."""
    heads = [[] for _ in stripes]
    for layer in range(LAYERS):
        for head in range(KV_HEADS):
            if (layer, head) not in retrieval or layer == 1 or head == KV_HEADS - 1:
                heads[(layer + head) % min(3, len(stripes))].append({"layer": layer, "head": head})
                continue
            index = 0
            for worker, count in enumerate(stripes):
                for _ in range(count):
                    heads[worker].append(
                        {"layer": layer, "head": head, "stripe": [index, sum(stripes)]})
                    index += 1
    columns = cut(CONFIG["intermediate_size"], range(1, len(stripes) + 1))
    rows = cut(CONFIG["vocab_size"], range(len(stripes), 0, -1))
    return {"workers": [{"id": f"w{i}", "heads": heads[i], "mlp_columns": [columns[i]] * LAYERS,
                         "vocab_rows": rows[i]} for i in range(len(stripes))]}
