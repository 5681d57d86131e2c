// Bytes of text per second on one core: encoding, decoding whole, decoding token by token.
//   tokenizer_bench TEXT TOKENIZER... [--benchmark_...]
// Each tokenizer is a model folder or a file, as `headlong tokenize --tokenizer` takes it.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/json.h"
#include "model/tokenizer.h"

namespace headlong {
namespace {

struct Subject {
  std::string name;
  std::string text;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<TokenId> ids;
};

void CountBytes(const Subject& subject, benchmark::State* state) {
  state->SetBytesProcessed(state->iterations() * static_cast<int64_t>(subject.text.size()));
  state->counters["bytes_per_token"] =
      static_cast<double>(subject.text.size()) / static_cast<double>(subject.ids.size());
}

void Encode(benchmark::State& state, const Subject* subject) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(subject->tokenizer->Encode(subject->text, false));
  }
  CountBytes(*subject, &state);
}

void Decode(benchmark::State& state, const Subject* subject) {
  for (auto _ : state) benchmark::DoNotOptimize(subject->tokenizer->Decode(subject->ids, false));
  CountBytes(*subject, &state);
}

void Stream(benchmark::State& state, const Subject* subject) {
  for (auto _ : state) {
    StreamDecoder decoder(subject->tokenizer.get());
    for (const TokenId id : subject->ids) benchmark::DoNotOptimize(decoder.Push(id));
  }
  CountBytes(*subject, &state);
}

template <typename T>
T OrExit(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
  std::exit(1);
}

}  // namespace
}  // namespace headlong

int main(int argc, char** argv) {
  using headlong::Subject;
  benchmark::Initialize(&argc, argv);
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench TEXT TOKENIZER...\n");
    return 2;
  }
  const std::string text = headlong::OrExit(headlong::ReadFile(argv[1]));
  std::vector<std::unique_ptr<Subject>> subjects;
  for (int i = 2; i < argc; ++i) {
    auto subject = std::make_unique<Subject>(Subject{argv[i], text, nullptr, {}});
    subject->tokenizer = headlong::OrExit(headlong::LoadTokenizer(argv[i]));
    subject->ids = headlong::OrExit(subject->tokenizer->Encode(text, false));
    const auto run = [&](const char* what, auto* body) {
      benchmark::RegisterBenchmark((std::string(what) + " " + subject->name).c_str(), body,
                                   subject.get())
          ->Unit(benchmark::kMillisecond);
    };
    run("encode", headlong::Encode);
    run("decode", headlong::Decode);
    run("stream", headlong::Stream);
    subjects.push_back(std::move(subject));
  }
  benchmark::RunSpecifiedBenchmarks();
}
