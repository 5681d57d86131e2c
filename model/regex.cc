#include "model/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/status.h"

namespace headlong {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[160];
  const int length = pcre2_get_error_message(code, buffer, sizeof(buffer));
  if (length < 0) return absl::StrCat("PCRE2 error ", code);
  return std::string(reinterpret_cast<const char*>(buffer), length);
}

}  // namespace

struct Regex::Program {
  std::unique_ptr<pcre2_code, FreeCode> code;
  bool jit = false;
};

Regex::Regex(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  auto program = std::make_unique<Program>();
  program->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                    PCRE2_UTF | PCRE2_UCP, &error, &at, context.get()));
  if (program->code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("pattern \"", Av(pattern.substr(0, 200)),
                                                   "\": ", ErrorText(error), " at byte ", at));
  }
  // Where the system forbids executable memory there is no JIT; the interpreter gives the same.
  program->jit = pcre2_jit_compile(program->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(program));
}

struct RegexMatcher::Scratch {
  std::unique_ptr<pcre2_match_data, FreeMatch> match;
};

RegexMatcher::RegexMatcher(const Regex& regex)
    : regex_(regex), scratch_(std::make_unique<Scratch>()) {
  scratch_->match.reset(pcre2_match_data_create_from_pattern(regex.program_->code.get(), nullptr));
}

RegexMatcher::~RegexMatcher() = default;

absl::StatusOr<std::optional<RegexMatcher::Range>> RegexMatcher::Find(std::string_view text,
                                                                      size_t from) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const pcre2_code* code = regex_.program_->code.get();
  pcre2_match_data* match = scratch_->match.get();
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (regex_.program_->jit) {
    result = pcre2_jit_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, match, nullptr);
  }
  // The interpreter keeps its backtracking points on the heap, so it goes on where JIT cannot.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                         nullptr);
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("splitting the text at byte ", from, ": ", ErrorText(result)));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
  return Range{range[0], range[1]};
}

}  // namespace headlong
