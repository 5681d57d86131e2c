"""Every rule of the style test finds what it is there for, and lets good code pass."""
import pytest

import tidy_test
from support import cpp_text

GOOD_HEADER = "// What it is.\n#pragma once\n\nint Answer();\n"


def report(rule, *files):
    return list(rule([tidy_test.File(path, text) for path, text in files]))


@pytest.mark.parametrize("path, lines, allowed", [
    ("cache/a.cc", 400, True), ("cache/a.cc", 401, False),
    ("worker/kernels/a.cc", 600, True), ("worker/kernels/a.cc", 601, False),
    ("cache/a.h", 120, True), ("cache/a.h", 121, False), ("dev", 401, False),
    ("tests/golden/a.json", 9999, True)])
def test_file_sizes(path, lines, allowed):
    assert bool(report(tidy_test.file_sizes, (path, "x\n" * lines))) != allowed


def test_line_widths():
    assert not report(tidy_test.line_widths, ("cli/a.cc", "é" * 100))
    assert report(tidy_test.line_widths, ("cli/a.cc", "x" * 101))


@pytest.mark.parametrize("lines, allowed", [(70, True), (71, False)])
@pytest.mark.parametrize("opening", [
    "int Add(int a, int b) {", "Thing::Thing(int a) : a_{a}, b_(f(a)) {",
    "namespace n {\nstruct S {\n  bool operator()(int a) const override {", "TEST(Suite, Name) {"])
def test_function_sizes_of_cpp(opening, lines, allowed):
    text = opening + "\n" + "  f({1, '{', \"}\"});\n" * (lines - 2) + "}\n"
    assert bool(report(tidy_test.function_sizes, ("cache/a.cc", text))) != allowed


def test_function_sizes_of_scripts():
    body = "    pass\n" * 70
    assert report(tidy_test.function_sizes, ("tests/e2e/a.py", "def f():\n" + body))
    assert report(tidy_test.function_sizes, ("dev", "f() {\n" + body + "}\n"))
    assert not report(tidy_test.function_sizes, ("dev", "f() { true; }\n" + body + "g() {\n}\n"))


def test_parameters():
    six = "void F(std::map<int, int> a, int b, int c, int d, int e, int f) {\n}\n"
    assert not report(tidy_test.function_sizes, ("cache/a.cc", six))
    assert report(tidy_test.function_sizes, ("cache/a.cc", six.replace("int f)", "int f, int g)")))


@pytest.mark.parametrize("path, text", [
    ("cache/block_manager.cc", ""), ("cache/utils.h", ""), ("cache/a.h", "class LaneImpl {};"),
    ("cache/a.h", "struct KVData\n{\n};"), ("cache/a.h", "using TensorInfo = int;"),
    ("cache/a.h", "enum class BaseKind : int { kA };"), ("proto/a.proto", "message ModelInfo {}"),
    ("bench/a.py", "class BenchHelper:\n  pass\n"), ("helpers/a.cc", "")])
def test_banned_names(path, text):
    assert report(tidy_test.banned_names, (path, text))


@pytest.mark.parametrize("path, text", [
    ("cache/database.cc", "class Database {};"), ("cache/metadata.h", "struct Metadata {};"),
    ("cache/a.h", "// struct LaneInfo\nint info(const struct sysinfo* data);"),
    ("cache/a.cc", 'auto s = "class Manager {";')])
def test_allowed_names(path, text):
    assert not report(tidy_test.banned_names, (path, text))


@pytest.mark.parametrize("path, target", [
    ("worker/a.cc", "coordinator/coordinator.h"), ("coordinator/a.cc", "worker/worker.h"),
    ("cache/a.h", "model/config.h"), ("model/a.h", "cache/plan.h"), ("common/a.h", "model/utf8.h"),
    ("common/a.cc", "headlong/v1/model.pb.h"), ("model/a.cc", "headlong/v1/model.pb.h"),
    ("cli/a.cc", "coordinator/engine.h"), ("cli/a.cc", "worker/kernels/isa.h"),
    ("tests/worker/a.cc", "coordinator/engine.h"), ("worker/a.cc", "tests/support/paths.h"),
    ("worker/a.cc", "worker/not_there.h"), ("worker/kernels/a.cc", "isa.h")])
def test_forbidden_includes(path, target):
    others = (("worker/kernels/isa.h", ""), ("tests/support/paths.h", ""),
              ("coordinator/engine.h", ""))
    assert report(tidy_test.include_edges, (path, f'#include "{target}"\n'), *others)


def test_allowed_includes():
    text = ('#include <vector>\n#include "absl/strings/str_cat.h"\n#include "cache/plan.h"\n'
            '#include "coordinator/coordinator.h"\n#include "headlong/v1/admin.pb.h"\n')
    assert not report(tidy_test.include_edges, ("cli/a.cc", text), ("cache/plan.h", ""),
                      ("coordinator/coordinator.h", ""))


def test_header_openings():
    assert not report(tidy_test.header_openings, ("cache/a.h", GOOD_HEADER))
    assert report(tidy_test.header_openings, ("cache/a.h", "#pragma once\n"))
    assert report(tidy_test.header_openings, ("cache/a.h", "// What it is.\nint Answer();\n"))


def test_left_overs():
    assert report(tidy_test.left_overs, ("cache/a.cc", "// TO" + "DO: later"))
    assert not report(tidy_test.left_overs, ("cache/a.cc", "// Todor"))


def test_readmes():
    assert report(tidy_test.readmes, ("queue/a.cc", ""), ("ARCHITECTURE.md", "queue/ models/"))
    assert report(tidy_test.readmes, ("queue/README.md", ""), ("ARCHITECTURE.md", "models/"))
    assert not report(tidy_test.readmes, ("queue/README.md", ""), ("models/README.md", ""),
                      ("ARCHITECTURE.md", "queue/ models/"))


def test_dead_files():
    assert report(tidy_test.unused_headers, ("cache/a.h", '#include "cache/a.h"'))
    assert not report(tidy_test.unused_headers, ("cache/a.h", ""),
                      ("cache/a.cc", '#include "cache/a.h"'))
    named = ("cache/CMakeLists.txt", "add_library(c lane.cc)  # other.cc")
    assert report(tidy_test.unbuilt_sources, named, ("cache/other.cc", ""))
    assert report(tidy_test.unbuilt_sources, named, ("cache/plane.cc", ""))
    assert not report(tidy_test.unbuilt_sources, named, ("cache/lane.cc", ""))
    globbed = ("cache/CMakeLists.txt", "file(GLOB sources CONFIGURE_DEPENDS *.cc)")
    assert not report(tidy_test.unbuilt_sources, globbed, ("cache/lane.cc", ""))
    tests = ("tests/cache/CMakeLists.txt", "headlong_test(cache_tests headlong_cache)")
    assert not report(tidy_test.unbuilt_sources, tests, ("tests/cache/lane_test.cc", ""))
    assert report(tidy_test.unbuilt_sources, tests, ("tests/cache/lane.cc", ""))
    assert report(tidy_test.unused_scripts, ("bench/a_bench.py", ""), ("dev", "bench/b_bench.py"))


def test_literals_do_not_hide_code():
    text = "int a = 1'000'000; char c = '\"'; void F() {}\nR\"(})\"; // {\n"
    assert [name for name, *_ in cpp_text.functions(text)] == ["F"]
