#include "cli/model_verify.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/interrupt.h"
#include "cli/parallel.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/sha256.h"
#include "common/status.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/mapped_file.h"
#include "model/safetensors.h"
#include "model/weight_files.h"

namespace headlong {
namespace {

constexpr size_t kPieceBytes = 4 << 20;
constexpr size_t kHashDigits = 64;

// Numbers whose exponent bits are all ones.
template <typename Word>
int64_t CountMasked(const std::byte* data, int64_t count, Word mask) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, data + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    found += (word & mask) == mask;
  }
  return found;
}

int64_t WordBytes(std::string_view dtype) {
  if (dtype == "F64") return 8;
  if (dtype == "F32") return 4;
  return dtype == "F16" || dtype == "BF16" ? 2 : 0;
}

// One thing for a thread to do: hash a file, or look at a tensor.
struct Task {
  std::span<const std::byte> bytes;
  VerifiedFile* hash = nullptr;  // or
  const StoredTensor* tensor = nullptr;
  const SafetensorsFile* file = nullptr;  // of the tensor
  int64_t not_finite = 0;
};

struct Work {
  std::vector<Task> tasks;
  std::atomic<size_t> next{0};
  std::atomic<int64_t> bytes_done{0};
};

void RunTask(Task& task, Work& work) {
  Sha256 hash;
  const int64_t word = task.tensor == nullptr ? 0 : WordBytes(task.tensor->dtype);
  for (size_t at = 0; at < task.bytes.size() && !Interrupted(); at += kPieceBytes) {
    const auto piece = task.bytes.subspan(at, std::min(kPieceBytes, task.bytes.size() - at));
    const int64_t bytes = static_cast<int64_t>(piece.size());
    if (task.hash != nullptr) {
      hash.Update({reinterpret_cast<const char*>(piece.data()), piece.size()});
    } else if (word > 0) {
      task.not_finite += CountNotFinite(task.tensor->dtype, piece.data(), bytes / word);
    }
    work.bytes_done += bytes;
  }
  if (task.hash != nullptr) task.hash->sha256 = hash.HexDigest();
}

void RunTasks(Work& work) {
  for (size_t i = work.next++; i < work.tasks.size() && !Interrupted(); i = work.next++) {
    RunTask(work.tasks[i], work);
  }
}

// The files of weights: their headers are checked, their bytes mapped.
struct Files {
  std::vector<std::unique_ptr<SafetensorsFile>> parsed;
  std::vector<MappedFile> mapped;
};

absl::StatusOr<Files> OpenFiles(const std::filesystem::path& folder, VerifiedModel& model) {
  ASSIGN_OR_RETURN(const WeightFiles weights, FindWeightFiles(folder));
  Files files;
  for (const std::string& name : weights.names) {
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(folder / name));
    ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(folder / name));
    model.files.push_back({name, static_cast<int64_t>(mapped.bytes().size()), "", ""});
    files.parsed.push_back(std::move(file));
    files.mapped.push_back(std::move(mapped));
  }
  return files;
}

// The longest first, so that no thread is left with one at the end.
void ListTasks(const Files& files, VerifiedModel& model, Work& work) {
  for (size_t i = 0; i < files.parsed.size(); ++i) {
    const SafetensorsFile& file = *files.parsed[i];
    work.tasks.push_back({files.mapped[i].bytes(), &model.files[i], nullptr, nullptr, 0});
    for (const StoredTensor& tensor : file.tensors()) {
      work.tasks.push_back(
          {{file.data(tensor), static_cast<size_t>(tensor.bytes)}, nullptr, &tensor, &file, 0});
      if (WordBytes(tensor.dtype) > 0) model.numbers += tensor.bytes / WordBytes(tensor.dtype);
    }
    model.tensors += static_cast<int64_t>(file.tensors().size());
  }
  std::stable_sort(work.tasks.begin(), work.tasks.end(),
                   [](const Task& a, const Task& b) { return a.bytes.size() > b.bytes.size(); });
}

}  // namespace

bool VerifiedModel::ok() const {
  return shape_error.empty() && spoiled.empty() && unlisted.empty() &&
         std::all_of(files.begin(), files.end(), [](const auto& file) { return file.ok(); });
}

int64_t CountNotFinite(std::string_view dtype, const std::byte* data, int64_t count) {
  if (dtype == "BF16") return CountMasked<uint16_t>(data, count, 0x7f80);
  if (dtype == "F16") return CountMasked<uint16_t>(data, count, 0x7c00);
  if (dtype == "F32") return CountMasked<uint32_t>(data, count, 0x7f800000);
  if (dtype == "F64") return CountMasked<uint64_t>(data, count, 0x7ff0000000000000);
  return 0;
}

absl::StatusOr<std::map<std::string, std::string>> ParseSums(std::string_view text,
                                                             const std::string& source) {
  std::map<std::string, std::string> sums;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(Av(text), '\n')) {
    ++number;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r*"), absl::SkipEmpty());
    if (words.empty()) continue;
    const bool hex = words[0].size() == kHashDigits &&
                     std::all_of(words[0].begin(), words[0].end(),
                                 [](unsigned char c) { return absl::ascii_isxdigit(c); });
    if (words.size() != 2 || !hex) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, " line ", number, ": must be a SHA-256 and the name of a file"));
    }
    sums[std::filesystem::path(words[1]).filename().string()] = absl::AsciiStrToLower(words[0]);
  }
  return sums;
}

absl::StatusOr<VerifiedModel> VerifyModel(const std::filesystem::path& folder,
                                          const std::map<std::string, std::string>& sums,
                                          Terminal& terminal) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(folder));
  VerifiedModel model;
  ASSIGN_OR_RETURN(const Files files, OpenFiles(folder, model));
  model.shape_error = std::string(Checkpoint::Open(folder, config).status().message());
  Work work;
  ListTasks(files, model, work);
  double total = 0;
  for (const Task& task : work.tasks) total += static_cast<double>(task.bytes.size());
  const size_t threads = std::max(1u, std::thread::hardware_concurrency());
  RunOnThreads(
      threads, [&work] { RunTasks(work); }, "verifying",
      [&] {
        const int64_t done = work.bytes_done;
        return ProgressState{static_cast<double>(done), total,
                             absl::StrCat(FormatBytes(done), " of ",
                                          FormatBytes(static_cast<int64_t>(total)), " read")};
      },
      terminal);
  if (Interrupted()) return absl::CancelledError("interrupted");
  for (const Task& task : work.tasks) {
    if (task.not_finite == 0) continue;
    model.spoiled.push_back(
        {task.tensor->name, task.file->path().filename().string(), task.not_finite});
  }
  std::sort(model.spoiled.begin(), model.spoiled.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  std::map<std::string, std::string> left = sums;
  for (VerifiedFile& file : model.files) {
    if (const auto sum = left.extract(file.name); !sum.empty()) file.expected = sum.mapped();
  }
  for (const auto& [name, hash] : left) {
    if (name.ends_with(".safetensors")) model.unlisted.push_back(name);
  }
  return model;
}

OutputJson VerifyJson(const VerifiedModel& model) {
  OutputJson json;
  json["ok"] = model.ok();
  json["files"] = OutputJson::array();
  for (const VerifiedFile& file : model.files) {
    OutputJson entry = {{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}};
    if (!file.expected.empty()) entry["expected_sha256"] = file.expected;
    json["files"].push_back(std::move(entry));
  }
  json["tensors"] = model.tensors;
  json["numbers"] = model.numbers;
  json["shape_error"] = model.shape_error;
  json["not_finite"] = OutputJson::array();
  for (const SpoiledTensor& tensor : model.spoiled) {
    json["not_finite"].push_back(
        {{"tensor", tensor.name}, {"file", tensor.file}, {"numbers", tensor.not_finite}});
  }
  json["missing_files"] = model.unlisted;
  return json;
}

std::string VerifyText(const VerifiedModel& model) {
  Table table({"sha256", ">bytes", "file", ""});
  for (const VerifiedFile& file : model.files) {
    const char* verdict = file.expected.empty() ? "" : file.ok() ? "as expected" : "DIFFERS";
    table.Row({file.sha256, FormatCount(file.bytes), file.name, verdict});
  }
  std::string text = table.Text();
  for (const std::string& name : model.unlisted) {
    absl::StrAppend(&text, name, ": named by the sums, not a file of weights here\n");
  }
  if (!model.shape_error.empty()) absl::StrAppend(&text, model.shape_error, "\n");
  for (const SpoiledTensor& tensor : model.spoiled) {
    absl::StrAppend(&text, tensor.file, ": ", tensor.name, ": ", FormatCount(tensor.not_finite),
                    " numbers are NaN or infinite\n");
  }
  absl::StrAppend(&text, FormatCount(model.tensors), " tensors, ", FormatCount(model.numbers),
                  " numbers: ", model.ok() ? "all is well" : "NOT WELL", "\n");
  return text;
}

}  // namespace headlong
