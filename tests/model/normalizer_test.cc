// Unicode's normal forms as PyPI tokenizers 0.23.3 gives them.
#include "model/normalizer.h"

#include <string>

#include "gtest/gtest.h"

namespace headlong {
namespace {

using Kind = NormalizerStep::Kind;

std::string InForm(Kind kind, const std::string& text) {
  const Normalizer normalizer({{.kind = kind}});
  return normalizer.Normalize(text, /*at_start=*/true).value();
}

struct Case {
  const char* text;
  const char* composed;
  const char* decomposed;
};

TEST(NormalizerTest, FormsOfUnicode9) {
  const Case cases[] = {
      {"e\u0301\u0316", "\u00e9\u0316", "e\u0316\u0301"},
      {"e\u1df5\u0316", "e\u0316\u1df5", "e\u0316\u1df5"},
      // U+0898 came with Unicode 14, U+1DF6 with 10: no order among marks.
      {"e\u0898\u0316\u0301", "e\u0898\u0316\u0301", "e\u0898\u0316\u0301"},
      {"\uac01\u1df6\u0316", "\uac01\u1df6\u0316", "\u1100\u1161\u11a8\u1df6\u0316"},
      // Unicode 13: neither put together nor taken apart.
      {"\U00011935\U00011930", "\U00011935\U00011930", "\U00011935\U00011930"},
      {"\U00011938", "\U00011938", "\U00011938"},
  };
  for (const Case& each : cases) {
    for (const Kind kind : {Kind::kNfc, Kind::kNfkc}) {
      EXPECT_EQ(InForm(kind, each.text), each.composed) << each.text;
    }
    for (const Kind kind : {Kind::kNfd, Kind::kNfkd}) {
      EXPECT_EQ(InForm(kind, each.text), each.decomposed) << each.text;
    }
  }
  EXPECT_EQ(InForm(Kind::kNfkc, "\ufb01 \u2460"), "fi 1");
  EXPECT_EQ(InForm(Kind::kNfc, ""), "");
}

}  // namespace
}  // namespace headlong
