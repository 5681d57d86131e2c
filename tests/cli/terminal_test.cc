#include "cli/terminal.h"

#include <string>

#include "cli/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a Terminal with these traits writes while `use` runs.
template <typename Use>
std::string WrittenBy(const TerminalTraits& traits, Use use) {
  char* text = nullptr;
  size_t bytes = 0;
  std::FILE* file = open_memstream(&text, &bytes);
  {
    Terminal terminal(traits, file);
    use(terminal);
  }
  std::fclose(file);
  std::string written(text, bytes);
  free(text);
  return written;
}

void Work(Terminal& terminal) {
  Progress progress(terminal, "work");
  progress.Update({1, 2, "half"});
  terminal.Line("a line");
}

TEST(Terminal, NoEscapesOffATerminal) {
  TerminalTraits traits;
  traits.colour = true;
  EXPECT_EQ(WrittenBy(traits, Work), "a line\n");
}

TEST(Terminal, NoEscapesUnderNoColor) {
  TerminalTraits traits;
  traits.stderr_is_terminal = true;
  traits.colour = false;
  EXPECT_EQ(WrittenBy(traits, Work), "a line\n");
}

TEST(Terminal, LinesStandAboveTheBar) {
  TerminalTraits traits;
  traits.stderr_is_terminal = true;
  traits.colour = true;
  const std::string erase = "\r\x1b[2K";
  const std::string bar = RenderBar("work", {1, 2, "half"}, 80, false);
  EXPECT_EQ(WrittenBy(traits, Work), erase + bar + erase + "a line\n" + bar + erase);
}

TEST(RenderBar, ShowsTheShare) {
  EXPECT_EQ(RenderBar("load", {1, 2, "x"}, 80, false),
            "load [###############...............]  50 %  x");
  EXPECT_EQ(RenderBar("load", {0, 4, ""}, 30, false), "load [..............]   0 %  ");
  EXPECT_THAT(RenderBar("load", {2, 2, ""}, 80, true), HasSubstr("██████]"));
}

TEST(RenderBar, NeverWiderThanTheScreen) {
  for (int width = 20; width < 120; ++width) {
    const std::string bar =
        RenderBar("loading", {3, 7, "12.0 of 19.9 MiB of weights"}, width, false);
    EXPECT_LT(static_cast<int>(bar.size()), width);
  }
}

TEST(RenderBar, UnknownTotalHasNoBar) {
  EXPECT_THAT(RenderBar("load", {0, 0, "starting"}, 80, false), Not(HasSubstr("[")));
}

TEST(Styled, OnlyWhenOn) {
  EXPECT_EQ(Styled("x", "1", false), "x");
  EXPECT_EQ(Styled("x", "1", true), "\x1b[1mx\x1b[0m");
}

TEST(Table, AlignsAndTrims) {
  Table table({"name", ">bytes", ""});
  table.Row({"a", "1,000", "note"});
  table.Row({"long", "5", ""});
  EXPECT_EQ(table.Text(),
            "name  bytes\n"
            "a     1,000  note\n"
            "long      5\n");
}

}  // namespace
}  // namespace headlong
