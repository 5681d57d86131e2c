#!/usr/bin/env python3
"""Draws docs/cluster.svg: clients, the coordinator, workers and the cache of each head.

Run it from the root: `python3 docs/cluster_picture.py > docs/cluster.svg`. The shares shown are
those of needle-10m on two workers of unequal memory.
"""
import sys

WIDTH, HEIGHT = 960, 520
INK, PAPER, FAINT = "#1f2933", "#ffffff", "#9aa5b1"
RETRIEVAL, LOCAL, COORDINATOR = "#d9480f", "#1c7ed6", "#2b8a3e"
LAYERS, KV_HEADS = 8, 4
RETRIEVAL_HEADS = {(6, 0), (6, 1)}
CELL, GAP = 20, 4


def tag(name, content="", **attributes):
    text = " ".join(f'{key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name} {text}>{content}</{name}>" if content else f"<{name} {text}/>"


def label(x, y, text, size=15, **attributes):
    return tag("text", text, x=x, y=y, font_size=size, **dict({"fill": INK}, **attributes))


def box(x, y, width, height, colour):
    return tag("rect", x=x, y=y, width=width, height=height, rx=8, fill=PAPER, stroke=colour,
               stroke_width=2)


def arrow(x1, y1, x2, y2, both=False):
    ends = {"marker_end": "url(#tip)"}
    if both:
        ends["marker_start"] = "url(#tip)"
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=INK, stroke_width=1.6, **ends)


def cache_cell(x, y, role):
    """A head's cache: a retrieval head keeps the context, a local head its two ends and a mean."""
    frame = tag("rect", x=x, y=y, width=CELL, height=CELL, rx=2, fill="none", stroke=FAINT)
    if role == "retrieval":
        return frame + tag("rect", x=x + 2, y=y + 2, width=CELL - 4, height=CELL - 4,
                           fill=RETRIEVAL)
    sinks = tag("rect", x=x + 2, y=y + 2, width=2, height=CELL - 4, fill=LOCAL)
    mean = tag("circle", cx=x + 8.5, cy=y + CELL / 2, r=2, fill=LOCAL)
    window = tag("rect", x=x + CELL - 6, y=y + 2, width=4, height=CELL - 4, fill=LOCAL)
    return frame + sinks + mean + window


def heads_grid(x, y, holds):
    parts = [label(x + layer * (CELL + GAP) + 6, y - 6, str(layer), 11, fill=FAINT)
             for layer in range(LAYERS)]
    for layer in range(LAYERS):
        for head in range(KV_HEADS):
            cell = x + layer * (CELL + GAP), y + head * (CELL + GAP)
            if holds(layer, head):
                role = "retrieval" if (layer, head) in RETRIEVAL_HEADS else "local"
                parts.append(cache_cell(*cell, role))
            else:
                parts.append(tag("rect", x=cell[0], y=cell[1], width=CELL, height=CELL, rx=2,
                                 fill="#f1f3f5"))
    return "".join(parts)


def worker(x, y, name, note, holds):
    return (box(x, y, 270, 190, INK) + label(x + 16, y + 26, name, 16, font_weight="bold") +
            label(x + 16, y + 45, note, 12, fill="#52606d") +
            label(x + 16, y + 74, "layer", 11, fill=FAINT) + heads_grid(x + 56, y + 80, holds))


def legend(x, y):
    return (cache_cell(x, y, "retrieval") +
            label(x + 30, y + 15, "retrieval head: keeps every token", 13) +
            cache_cell(x + 290, y, "local") +
            label(x + 320, y + 15, "local head: keeps the first tokens, the last ones and one "
                  "for all between", 13))


def on_first(layer, head):
    return (layer, head) in RETRIEVAL_HEADS or (head < 2 and layer != 6)


def picture():
    tip = tag("marker", tag("path", d="M0,0 L10,5 L0,10 z", fill=INK), id="tip",
              viewBox="0 0 10 10", refX=9, refY=5, markerWidth=7, markerHeight=7,
              orient="auto-start-reverse")
    parts = [
        tag("rect", width=WIDTH, height=HEIGHT, fill=PAPER), tag("defs", tip),
        box(40, 40, 210, 56, FAINT), label(60, 64, "clients"),
        label(60, 84, "generate, batch, any gRPC", 12, fill="#52606d"),
        box(40, 120, 210, 56, FAINT), label(60, 144, "operators"),
        label(60, 164, "cluster, workers, placement", 12, fill="#52606d"),
        box(370, 40, 270, 136, COORDINATOR), label(386, 66, "coordinator", 16, font_weight="bold"),
        label(386, 92, "tokenizer, scheduler, placement,", 13),
        label(386, 112, "recovery; one loop:", 13),
        label(386, 132, "schedule → step → deliver", 13),
        label(386, 160, "never touches a tensor", 12, fill="#52606d"),
        arrow(250, 68, 368, 80, both=True), arrow(250, 148, 368, 130, both=True),
        label(290, 66, "gRPC", 12, fill="#52606d"),
        worker(130, 240, "worker 0", "more memory: both retrieval heads", on_first),
        worker(560, 240, "worker 1", "less memory: local heads only",
               lambda layer, head: not on_first(layer, head)),
        arrow(440, 176, 300, 238, both=True), arrow(570, 176, 690, 238, both=True),
        label(650, 204, "steps down, tokens and heartbeats up", 12, fill="#52606d"),
        arrow(402, 335, 558, 335, both=True), label(427, 326, "two sums a layer", 12),
        label(452, 354, "(Gloo)", 12, fill="#52606d"), legend(130, 466),
    ]
    return tag("svg", "\n".join(parts), xmlns="http://www.w3.org/2000/svg", width=WIDTH,
               height=HEIGHT, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
               font_family="Helvetica, Arial, sans-serif",
               aria_label="Clients call the coordinator; workers each hold some heads")


if __name__ == "__main__":
    sys.stdout.write(picture() + "\n")
