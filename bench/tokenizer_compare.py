#!/usr/bin/env python3
"""Headlong's tokenizers beside the libraries that others use, on random Unicode and on any texts.

A tokenizer.json and a vocab.json with merges.txt are held against Hugging Face's `tokenizers`, a
SentencePiece .model against `sentencepiece`; both are on PyPI, and ./dev bench installs them into a
venv of its own. Exit code 1 when ids or decoded texts differ anywhere.

  ./dev bench tokenizer_compare --texts 'shared/data/text/*/*.txt' models/needle-10m TOKENIZER...
"""
import argparse
import glob
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

# How a class of tokenizers cuts a text into words: transformers, tokenization_qwen2.py, and Meta's
# tokenizer.py of Llama 3. The number of digits is what differs.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+"
           r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPACE = "\u2581"  # SentencePiece's


def random_characters(source, size):
    """Any characters but surrogates, each length of UTF-8 as often as the others."""
    text, length = [], 0
    while length < size:
        code = source.randrange(source.choice([0x80, 0x800, 0x10000, 0x110000]))
        if 0xD800 <= code <= 0xDFFF or chr(code) == SPACE:
            continue
        text.append(chr(code))
        length += len(text[-1].encode())
    return "".join(text)


def random_words(source, size):
    """Runs of what patterns decide on: letters, digits, marks, spaces, line ends of scripts."""
    kinds = ["abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ",
             " \t\u00a0\u3000", "\r\n", "'", "stremvdlSTREMVDL", ".,;:!?-_()[]{}<>/\\\"",
             "\u00e9\u00fc\u00df\u0131\u017f\u212a",
             "\u0660\u0661\u0967\u2167\u00b2\u00bd",
             "\u0301\u0308\u093c\u200d\ufe0f",
             "\u65e5\u672c\u8a9e\u30c6\u30b9\ud55c\uae00",
             "\U0001f600\U0001f468\U0001f3fd\U0001f1e9", "\u0430\u0431\u0432\u0413\u0414",
             "\u0627\u0644\u0639\u0650"]
    text, length = [], 0
    while length < size:
        kind = source.choice(kinds)
        text.append("".join(source.choices(kind, k=source.choice([1, 1, 1, 2, 3, 7]))))
        length += len(text[-1].encode())
    return "".join(text)


class HuggingFace:
    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def encode(self, text):
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self._tokenizer.decode(ids, skip_special_tokens=False)


class SentencePiece:
    def __init__(self, path):
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text):
        return self._processor.encode(text)

    def decode(self, ids):
        return self._processor.decode(ids)


def from_vocab(vocab, merges, name):
    """Tokenizers of the classes Qwen2Tokenizer and, of any other name, Llama 3's."""
    qwen = "Qwen2" in name
    lines = [line for line in merges.read_text().split("\n") if line.strip()]
    pairs = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=json.loads(vocab.read_text()), merges=pairs,
                                                ignore_merges=not qwen))
    if qwen:
        tokenizer.normalizer = normalizers.NFC()
    pattern = PATTERN.replace("DIGITS", "" if qwen else "{1,3}")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return HuggingFace(tokenizer)


def reference_of(path):
    """The other library's tokenizer of a file or folder."""
    if path.is_dir() and (path / "tokenizer.json").exists():
        path = path / "tokenizer.json"
    if path.is_file():
        if path.suffix == ".json":
            return HuggingFace(tokenizers.Tokenizer.from_file(str(path)))
        return SentencePiece(path)
    if (path / "tokenizer.model").exists():
        return SentencePiece(path / "tokenizer.model")
    config = json.loads((path / "tokenizer_config.json").read_text())
    return from_vocab(path / "vocab.json", path / "merges.txt", config["tokenizer_class"])


class Headlong:
    def __init__(self, program, path):
        self._program, self._path = program, path

    def _run(self, *arguments):
        done = subprocess.run([self._program, *arguments, "-o", "json"], stdout=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"{self._path}: headlong {arguments[0]}: exit code {done.returncode}")
        return json.loads(done.stdout)

    def encode(self, text):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            return self._run("tokenize", "--tokenizer", self._path, "--file",
                             file.name)["token_ids"]

    def decode(self, ids):
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump(ids, file)
            file.flush()
            return self._run("detokenize", "--special", "--tokenizer", self._path, "--file",
                             file.name)["text"]


def first_difference(ours, theirs):
    at = next((i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]),
              min(len(ours), len(theirs)))
    return f"at {at:,}: {ours[at - 2:at + 6]!r}, expected {theirs[at - 2:at + 6]!r}"


def compare(program, path, texts):
    """Prints a line per text; the number of differences."""
    reference, tokenizer, differences = reference_of(path), Headlong(program, path), 0
    for name, text in texts.items():
        theirs, ours = reference.encode(text), tokenizer.encode(text)
        verdicts = []
        if ours != theirs:
            verdicts.append("ids differ " + first_difference(ours, theirs))
        decoded, expected = tokenizer.decode(theirs), reference.decode(theirs)
        if decoded != expected:
            verdicts.append("decoded texts differ " + first_difference(decoded, expected))
        back = "the text comes back" if decoded == text else "its NFC form comes back" \
            if decoded == unicodedata.normalize("NFC", text) else "the text does not come back"
        differences += len(verdicts)
        print(f"{path}, {name}: {len(theirs):,} ids, "
              f"{'; '.join(verdicts) or 'equal'}; {back}", flush=True)
    return differences


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path, help="files and model folders")
    parser.add_argument("--texts", default="", help="more texts, a pattern of file names")
    parser.add_argument("--headlong", default="build/headlong", help="the binary")
    parser.add_argument("--bytes", type=int, default=1 << 20, help="of random Unicode")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    source = random.Random(args.seed)
    texts = {"random characters": random_characters(source, args.bytes),
             "random words": random_words(source, args.bytes)}
    for path in sorted(glob.glob(args.texts)) if args.texts else []:
        # "<s>" and the like are tokens to one library and five characters to another.
        texts[path] = re.sub("<(unk|s|/s)>", r"\1", pathlib.Path(path).read_text(encoding="utf-8"))
    differences = sum(compare(args.headlong, path, texts) for path in args.tokenizers)
    print(f"{differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
