#include "cli/needle_tasks.h"

#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace headlong {
namespace {

constexpr std::array<const char*, 20> kNames{
    "Priya", "Amara", "Bjorn", "Chiara", "Dmitri", "Elena", "Farid", "Greta",   "Hiroshi", "Ingrid",
    "Jamal", "Keiko", "Lucia", "Mateo",  "Nadia",  "Omar",  "Pavel", "Quentin", "Rosa",    "Tomas"};
constexpr std::array<const char*, 40> kWords{
    "lantern", "harbor",  "copper", "meadow", "violin", "candle", "anchor", "saddle",
    "pepper",  "marble",  "falcon", "timber", "ribbon", "garden", "silver", "winter",
    "bottle",  "captain", "ladder", "mirror", "needle", "orange", "parrot", "quartz",
    "rocket",  "salmon",  "temple", "umpire", "velvet", "walnut", "yellow", "zephyr",
    "basket",  "cotton",  "dragon", "engine", "forest", "ginger", "hammer", "island"};
constexpr int kPlants = 4;
constexpr int kHops = 4;
constexpr int kOathWords = 10;
constexpr int kTokensPerPair = 8;  // about the least; hay that is too short is read again

// SplitMix64 (Steele, Lea, Flood 2014): small, the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Each number is mixed in through a draw, so that neighbours have nothing in common.
  Random Mixed(uint64_t number) { return Random(Next() ^ number); }
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // In [0, n); the bias of the remainder is below n / 2^64.
  uint64_t Below(uint64_t n) { return Next() % n; }
  double Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

std::string Digits(Random& random) { return absl::StrCat(1000000 + random.Below(9000000)); }
std::string Word(Random& random) { return kWords[random.Below(kWords.size())]; }

// `count` different draws.
template <typename Draw>
std::vector<std::string> Distinct(int count, const Draw& draw) {
  std::vector<std::string> values;
  while (static_cast<int>(values.size()) < count) {
    const std::string value = draw();
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}

std::vector<std::string> Names(Random& random, int count) {
  return Distinct(count, [&] { return std::string(kNames[random.Below(kNames.size())]); });
}

std::string Fact(const std::string& what, const std::string& name, const std::string& value) {
  return absl::StrCat(" The ", what, " of ", name, " is ", value, ".");
}

std::string Question(const std::string& what, const std::string& name) {
  return absl::StrCat("\nQuestion: What is the ", what, " of ", name, "?\nAnswer: ");
}

void SortByDepth(NeedleCase& drawn) {
  std::stable_sort(drawn.plants.begin(), drawn.plants.end(),
                   [](const Plant& a, const Plant& b) { return a.depth < b.depth; });
}

// One fact and its question: the value is what the answer begins with.
NeedleCase OneFact(const std::string& what, const std::string& value, Random& random,
                   std::optional<double> depth) {
  NeedleCase drawn;
  const std::string name = Names(random, 1)[0];
  const double fraction = random.Fraction();
  drawn.depth = depth.value_or(fraction);
  drawn.plants = {{Fact(what, name, value), drawn.depth}};
  drawn.question = Question(what, name);
  drawn.answers = {value};
  return drawn;
}

// The order of the draws is part of every figure that was ever measured.
NeedleCase Passkey(Random& random, std::optional<double> depth) {
  NeedleCase drawn;
  const std::string name = kNames[random.Below(kNames.size())];
  const std::string value = Digits(random);
  drawn.hay_offset = random.Next() >> 1;
  const double fraction = random.Fraction();
  drawn.depth = depth.value_or(fraction);
  drawn.plants = {{Fact("pass key", name, value), drawn.depth}};
  drawn.question = Question("pass key", name);
  drawn.answers = {value};
  return drawn;
}

// Several people's pass keys: the first is asked for, or all of them.
NeedleCase Several(bool all, Random& random, std::optional<double> depth) {
  NeedleCase drawn;
  const std::vector<std::string> names = Names(random, kPlants);
  const std::vector<std::string> values = Distinct(kPlants, [&] { return Digits(random); });
  for (int i = 0; i < kPlants; ++i) {
    const double fraction = random.Fraction();
    drawn.plants.push_back(
        {Fact("pass key", names[i], values[i]), i == 0 ? depth.value_or(fraction) : fraction});
  }
  drawn.depth = drawn.plants[0].depth;
  SortByDepth(drawn);
  drawn.answers = {values[0]};
  drawn.question = Question("pass key", names[0]);
  if (!all) return drawn;
  drawn.answers = values;
  drawn.anywhere = true;
  drawn.answer_tokens = 80;
  const std::vector<std::string> before_last(names.begin(), names.end() - 1);
  drawn.question =
      absl::StrCat("\nQuestion: What are the pass keys of ", absl::StrJoin(before_last, ", "),
                   " and ", names.back(), "?\nAnswer: ");
  return drawn;
}

NeedleCase KeyValue(int64_t length, Random& random, std::optional<double> depth) {
  const auto key = [&] { return absl::StrCat(Word(random), "-", 1000 + random.Below(9000)); };
  NeedleCase drawn;
  const std::string asked = key();
  const std::string value = Digits(random);
  const double fraction = random.Fraction();
  drawn.depth = depth.value_or(fraction);
  drawn.plants = {{Fact("code", asked, value), drawn.depth}};
  drawn.question = Question("code", asked);
  drawn.answers = {value};
  std::set<std::string> taken{asked};
  for (int64_t line = 0; line < length / kTokensPerPair; ++line) {
    const std::string other = key();
    const std::string number = Digits(random);
    if (taken.insert(other).second) drawn.hay += Fact("code", other, number);
  }
  return drawn;
}

NeedleCase VariableTracking(Random& random, std::optional<double> depth) {
  NeedleCase drawn;
  const std::vector<std::string> names = Distinct(kHops + 1, [&] {
    std::string name;
    for (int i = 0; i < 5; ++i) name += static_cast<char>('A' + random.Below(26));
    return name;
  });
  const std::string value = absl::StrCat(10000 + random.Below(90000));
  std::vector<double> depths;
  for (int i = 0; i <= kHops; ++i) depths.push_back(random.Fraction());
  if (depth) {  // the first is where it is told, the others come after it
    for (double& later : depths) later = *depth + later * (1 - *depth);
    depths[0] = *depth;
  }
  std::sort(depths.begin(), depths.end());
  for (int i = 0; i <= kHops; ++i) {
    const std::string source = i == 0 ? value : absl::StrCat("VAR ", names[i - 1]);
    drawn.plants.push_back({absl::StrCat(" VAR ", names[i], " = ", source, "."), depths[i]});
  }
  drawn.depth = depths[0];
  drawn.question =
      absl::StrCat("\nQuestion: Which variables have the value ", value, "?\nAnswer: ");
  drawn.answers = names;
  drawn.anywhere = true;
  drawn.answer_tokens = 60;
  return drawn;
}

NeedleCase Verbatim(Random& random, std::optional<double> depth) {
  std::vector<std::string> words = Distinct(kOathWords, [&] { return Word(random); });
  NeedleCase drawn = OneFact("oath", absl::StrJoin(words, " "), random, depth);
  drawn.answer_tokens = 8 * kOathWords;
  return drawn;
}

}  // namespace

NeedleTask NeedleTaskOf(std::string_view name) {
  for (const NeedleTaskName& entry : kNeedleTasks) {
    if (name == entry.name) return entry.task;
  }
  return NeedleTask::kPasskey;
}

NeedleCase DrawCase(NeedleTask task, const CaseParams& params) {
  Random random = Random(params.seed)
                      .Mixed(static_cast<uint64_t>(params.length))
                      .Mixed(static_cast<uint64_t>(params.trial));
  if (task == NeedleTask::kPasskey) return Passkey(random, params.depth);
  random = random.Mixed(static_cast<uint64_t>(task));
  const uint64_t hay_offset = random.Next() >> 1;
  NeedleCase drawn;
  switch (task) {
    case NeedleTask::kPasskey:
      break;
    case NeedleTask::kSingle:
      drawn = OneFact("secret word", Word(random), random, params.depth);
      break;
    case NeedleTask::kMultiNeedle:
      drawn = Several(false, random, params.depth);
      break;
    case NeedleTask::kMultiQuery:
      drawn = Several(true, random, params.depth);
      break;
    case NeedleTask::kKeyValue:
      drawn = KeyValue(params.length, random, params.depth);
      break;
    case NeedleTask::kVariableTracking:
      drawn = VariableTracking(random, params.depth);
      break;
    case NeedleTask::kVerbatim:
      drawn = Verbatim(random, params.depth);
      break;
  }
  drawn.hay_offset = hay_offset;
  return drawn;
}

double ScoreAnswer(const NeedleCase& asked, const std::string& text) {
  if (!asked.anywhere) return text.starts_with(asked.answers.front()) ? 1 : 0;
  const auto found = std::count_if(
      asked.answers.begin(), asked.answers.end(),
      [&](const std::string& answer) { return text.find(answer) != std::string::npos; });
  return static_cast<double>(found) / static_cast<double>(asked.answers.size());
}

}  // namespace headlong
