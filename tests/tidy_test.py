#!/usr/bin/env python3
"""The style rules that a machine can hold: sizes, names, include edges, dead files, READMEs.

Reads the files that git tracks or would track, builds nothing, and reports every violation, one a
line. Needs nothing but Python: `python3 tests/tidy_test.py`.
"""
import ast
import pathlib
import re
import subprocess
import sys
from collections import Counter

from support import cpp_text

ROOT = pathlib.Path(__file__).resolve().parent.parent

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70
MAX_PARAMETERS = 6
MAX_FILE_LINES = 400
MAX_KERNEL_LINES = 600
MAX_HEADER_LINES = 120

BANNED_WORDS = {"manager", "util", "helper", "impl", "data", "info", "base"}
BANNED_WORDS |= {word + "s" for word in BANNED_WORDS}
LEFT_OVERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")

# What each folder may include of the project besides itself. `headlong` is the generated wire.
INCLUDES = {
    "common": set(),
    "model": {"common"},
    "cache": {"common"},
    "worker": {"cache", "common", "headlong", "model"},
    "coordinator": {"cache", "common", "headlong", "model"},
    "cli": {"cache", "common", "headlong", "model"},
    "bench": {"cache", "common", "headlong", "model", "worker"},
}
ROLE_HEADERS = {"coordinator/coordinator.h", "coordinator/placement.h",
                "coordinator/placement_report.h", "worker/context_bench.h",
                "worker/kernel_bench.h", "worker/worker.h"}  # what cli/ starts or simulates
PROJECT_FOLDERS = set(INCLUDES) | {"headlong", "tests"}

CODE = {".cc", ".h", ".cu", ".cuh", ".proto", ".py", ".sh", ".cmake"}
CPP = {".cc", ".h", ".cu", ".cuh"}
HEADERS = {".h", ".cuh"}
SHELL_SCRIPTS = {"dev", ".ci/run"}


class File:
    """One file of the tree: its path from the root and its text."""

    def __init__(self, path, text):
        self.path = path
        self.name = path.rsplit("/", 1)[-1]
        self.suffix = pathlib.PurePosixPath(path).suffix
        self.text = text
        self.lines = text.splitlines()

    @property
    def top(self):
        return self.path.split("/", 1)[0]

    @property
    def folder(self):
        return self.path.rsplit("/", 1)[0] if "/" in self.path else ""

    @property
    def is_cmake(self):
        return self.name == "CMakeLists.txt" or self.suffix == ".cmake"

    @property
    def is_code(self):
        return self.suffix in CODE or self.is_cmake or self.path in SHELL_SCRIPTS


def read_tree(root):
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root, check=True, capture_output=True)
    files = []
    for path in sorted(set(filter(None, listing.stdout.decode().split("\0")))):
        full = root / path
        if not full.is_file() or path.startswith("models/"):
            continue
        try:
            files.append(File(path, full.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            files.append(File(path, ""))
    return files


# --- rules: each takes all files and yields violations --------------------------------------------


def line_limit(file):
    if file.suffix in HEADERS:
        return MAX_HEADER_LINES
    if file.folder.endswith("kernels") or file.suffix == ".cu":
        return MAX_KERNEL_LINES
    return MAX_FILE_LINES


def file_sizes(files):
    for file in files:
        if file.is_code and len(file.lines) > line_limit(file):
            yield f"{file.path}: {len(file.lines)} lines, at most {line_limit(file)}"


def line_widths(files):
    for file in files:
        if not file.is_code:
            continue
        for number, line in enumerate(file.lines, 1):
            if len(line) > MAX_COLUMNS:
                yield f"{file.path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"


def python_functions(file):
    for node in ast.walk(ast.parse(file.text, file.path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            if arguments.args and arguments.args[0].arg in ("self", "cls"):
                count -= 1
            yield node.name, node.lineno, node.end_lineno, count


def shell_functions(file):
    start = None
    for number, line in enumerate(file.lines, 1):
        opening = re.match(r"(\w+)\(\) [{(]", line)
        if opening:
            name, start = opening[1], number
        if start and (line == "}" or (opening and line.rstrip().endswith("}"))):
            yield name, start, number, 0
            start = None


def functions_of(file):
    if file.suffix in CPP:
        return cpp_text.functions(file.text)
    if file.suffix == ".py":
        return python_functions(file)
    if file.suffix == ".sh" or file.path in SHELL_SCRIPTS:
        return shell_functions(file)
    return ()


def function_sizes(files):
    for file in files:
        for name, begin, end, parameters in functions_of(file):
            where = f"{file.path}:{begin}: {name}"
            if end - begin + 1 > MAX_FUNCTION_LINES:
                yield f"{where}: {end - begin + 1} lines, at most {MAX_FUNCTION_LINES}"
            if parameters > MAX_PARAMETERS:
                yield f"{where}: {parameters} parameters, at most {MAX_PARAMETERS}"


def words_of(name):
    """Words of camelCase, snake_case and kebab-case names, in lower case."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+|\s", spaced) if word]


def declared_types(file):
    if file.suffix in CPP:
        return cpp_text.declared_types(file.text)
    if file.suffix == ".proto":
        code = re.sub(r"//[^\n]*", "", file.text)
        return re.findall(r"\b(?:message|enum|service)\s+(\w+)", code)
    if file.suffix == ".py":
        return [node.name for node in ast.walk(ast.parse(file.text, file.path))
                if isinstance(node, ast.ClassDef)]
    return []


def banned_names(files):
    for file in files:
        names = set(file.path.split("/")[:-1]) | {file.name.rsplit(".", 1)[0]}
        for name in names | set(declared_types(file)):
            for word in BANNED_WORDS.intersection(words_of(name)):
                yield f"{file.path}: the name {name} contains {word}"


def may_include(file, target):
    top = target.split("/", 1)[0]
    owner = file.top
    if owner == "tests":
        if top == "tests":
            return True
        owner = file.path.split("/")[1]
        if owner not in INCLUDES:  # support, fuzz, e2e: not bound to one folder
            return True
    if top == owner or top in INCLUDES.get(owner, set()):
        return True
    pure = target.startswith("coordinator/calibration/")  # chooses plans, knows no role
    return owner == "cli" and (pure or target in ROLE_HEADERS)


def include_edges(files):
    paths = {file.path for file in files}
    paths |= {path.replace(".proto", ".pb.h") for path in paths if path.endswith(".proto")}
    for file in files:
        if file.suffix not in CPP:
            continue
        for number, target in cpp_text.includes(file.text):
            where = f"{file.path}:{number}: includes {target}"
            top = target.split("/", 1)[0]
            if top in PROJECT_FOLDERS and "/" in target:
                if not may_include(file, target):
                    yield f"{where}, which {file.folder}/ must not"
                elif top != "headlong" and target not in paths:
                    yield f"{where}, which is not there"
            elif f"{file.folder}/{target}" in paths:
                yield f"{where} by a path that does not begin at the root"


def header_openings(files):
    for file in files:
        if file.suffix in HEADERS:
            if not file.text.startswith("//"):
                yield f"{file.path}:1: a header opens with what it is, owner, thread, invariant"
            if "\n#pragma once\n" not in file.text:
                yield f"{file.path}: no #pragma once"


def left_overs(files):
    for file in files:
        if file.is_code or file.suffix == ".md":
            for number, line in enumerate(file.lines, 1):
                found = LEFT_OVERS.search(line)
                if found:
                    yield f"{file.path}:{number}: {found[0]}"


def readmes(files):
    paths = {file.path for file in files}
    architecture = next((f.text for f in files if f.path == "ARCHITECTURE.md"), "")
    for top in sorted({file.top for file in files if "/" in file.path} | {"models"}):
        if top.startswith("."):
            continue
        if f"{top}/README.md" not in paths and not (ROOT / top / "README.md").is_file():
            yield f"{top}/: no README.md"
        if f"{top}/" not in architecture:
            yield f"ARCHITECTURE.md: does not mention {top}/"


def unused_headers(files):
    users = Counter()
    for file in files:
        if file.suffix in CPP:
            users.update({target for _, target in cpp_text.includes(file.text)} - {file.path})
    for file in files:
        if file.suffix in HEADERS and not users[file.path]:
            yield f"{file.path}: nobody includes it"


def built_names(cmake, folder):
    """True for the files of `folder` that its CMakeLists.txt builds."""
    text = "\n".join(re.sub(r"#.*", "", line) for line in cmake.lines)
    globs = re.findall(r"(?<![\w/])\*[\w.]*\.(?:cc|cu|proto)\b|\bheadlong/v1/\*\.proto", text)
    if "headlong_test(" in text and folder.startswith("tests/"):
        globs.append("*_test.cc")
    patterns = [re.compile(re.escape(g.rsplit("/", 1)[-1]).replace(r"\*", ".*") + "$")
                for g in globs]

    def built(file):
        stem = re.escape(file.name.rsplit(".", 1)[0])
        named = re.search(r"(?<![\w/])" + stem + r"(?!\w)", text)
        return bool(named) or any(pattern.match(file.name) for pattern in patterns)

    return built


def unbuilt_sources(files):
    cmakes = {file.folder: file for file in files if file.name == "CMakeLists.txt"}
    for file in files:
        if file.suffix not in {".cc", ".cu"}:
            continue
        cmake = cmakes.get(file.folder)
        if not cmake or not built_names(cmake, file.folder)(file):
            yield f"{file.path}: no CMakeLists.txt builds it"


def unused_scripts(files):
    for file in files:
        if file.suffix not in {".py", ".sh"} or re.match(r"test_|conftest\.py$", file.name):
            continue
        stem = re.compile(r"\b" + re.escape(file.name.rsplit(".", 1)[0]) + r"\b")
        others = (f for f in files if f is not file and (f.is_code or f.suffix == ".ini"))
        if not any(stem.search(other.text) for other in others):
            yield f"{file.path}: nothing runs or imports it"


RULES = (file_sizes, line_widths, function_sizes, banned_names, include_edges, header_openings,
         left_overs, readmes, unused_headers, unbuilt_sources, unused_scripts)


def main():
    files = read_tree(ROOT)
    broken = 0
    for rule in RULES:
        violations = list(rule(files))
        broken += bool(violations)
        for violation in violations:
            print(violation)
    print(f"style: {len(RULES) - broken} passed, {broken} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
