// What long-context tests plant in a text and ask for: families of tasks as in RULER (arXiv
// 2404.06654), in the prompt form of needle-10m. Pure: the same seed gives the same cases for every
// plan, on every machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace headlong {

enum class NeedleTask {
  kPasskey,           // a number of seven digits
  kSingle,            // a word
  kMultiNeedle,       // four people's numbers, one is asked for
  kMultiQuery,        // four people's numbers, all are asked for
  kKeyValue,          // a text of nothing but keys and values, one is asked for
  kVariableTracking,  // a value handed on four times: all its names are asked for
  kVerbatim,          // a sentence of ten words, to be repeated
};
struct NeedleTaskName {
  const char* name;
  NeedleTask task;
};
inline constexpr NeedleTaskName kNeedleTasks[] = {
    {"passkey", NeedleTask::kPasskey},
    {"single", NeedleTask::kSingle},
    {"multi-needle", NeedleTask::kMultiNeedle},
    {"multi-query", NeedleTask::kMultiQuery},
    {"key-value", NeedleTask::kKeyValue},
    {"variable-tracking", NeedleTask::kVariableTracking},
    {"verbatim", NeedleTask::kVerbatim},
};
// REQUIRES: `name` is in kNeedleTasks.
NeedleTask NeedleTaskOf(std::string_view name);

struct Plant {
  std::string text;
  double depth = 0;  // in [0, 1], of the length without its tail
};

// One trial.
struct NeedleCase {
  std::vector<Plant> plants;  // by rising depth
  std::string question;       // ends where the answer begins
  std::vector<std::string> answers;
  bool anywhere = false;    // answers may stand anywhere in the text, else the first begins it
  double depth = 0;         // of what is asked for; of the first where that is several
  uint64_t hay_offset = 0;  // where the hay of this trial begins; taken modulo its size
  std::string hay = {};     // of this trial alone; empty: the run's
  int answer_tokens = 12;   // enough for the answers at a token per character of digits and words
};

struct CaseParams {
  uint64_t seed = 1;
  int64_t length = 0;
  int trial = 0;
  std::optional<double> depth = {};  // drawn when absent, and changes nothing else
};
// Trials of one (task, seed, length) differ in everything.
NeedleCase DrawCase(NeedleTask task, const CaseParams& params);

// The share of the answers that `text` has: 1 is correct.
double ScoreAnswer(const NeedleCase& asked, const std::string& text);

}  // namespace headlong
