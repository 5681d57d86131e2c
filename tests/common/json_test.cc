#include "common/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "common/status.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text, JsonLimits limits = {}) {
  return std::string(ParseJson(text, "doc", limits).status().message());
}

TEST(ParseJson, ReadsATree) {
  const auto json = ParseJson(R"({"a": [1, -2, 1.5, true, null, "x"]})", "doc");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->at("a").size(), 6u);
  EXPECT_EQ(json->at("a")[1], -2);
}

TEST(ParseJson, NamesTheByteOfASyntaxError) {
  EXPECT_EQ(ErrorOf(R"({"a": })"), "doc: not valid JSON at byte 7");
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(ErrorOf("{} x"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(ErrorOf("[NaN]"), HasSubstr("not valid JSON at byte"));
  EXPECT_EQ(ErrorOf(std::string("{}\0garbage", 10)), "doc: not valid JSON at byte 3");
}

TEST(ParseJson, RefusesWhatATreeWouldSwallow) {
  EXPECT_EQ(ErrorOf(R"({"a":1,"a":2})"), "doc: key \"a\" stands twice");
  EXPECT_EQ(ErrorOf(R"({"b":{"a":1},"c":[{"a":1,"a":2}]})"), "doc: key \"a\" stands twice");
  EXPECT_EQ(ErrorOf(R"({"a":{"a":1},"b":{"a":1}})"), "");
  EXPECT_EQ(ErrorOf(R"({"a":1,"a":2})", {.reject_duplicate_keys = false}), "");
}

TEST(ParseJson, NamesANumberOutOfRange) {
  EXPECT_EQ(ErrorOf("[1e999]"), "doc: number 1e999 is out of range");
  EXPECT_EQ(ErrorOf("[-1e999]"), "doc: number -1e999 is out of range");
  EXPECT_EQ(ErrorOf("[1e-999]"), "");
  const std::string long_number(5000, '9');
  EXPECT_LT(ErrorOf("[" + long_number + "]").size(), 200u);
}

TEST(ParseJson, HoldsItsLimits) {
  EXPECT_EQ(ErrorOf("[[[]]]", {.max_depth = 3}), "");
  EXPECT_EQ(ErrorOf("[[[[]]]]", {.max_depth = 3}), "doc: nested deeper than 3");
  EXPECT_EQ(ErrorOf("[1,2]", {.max_values = 3}), "");
  EXPECT_EQ(ErrorOf("[1,2,[]]", {.max_values = 3}), "doc: more than 3 values");
  EXPECT_EQ(ErrorOf(std::string(5'000'000, '[')), "doc: nested deeper than 32");
}

TEST(ParseJson, SkipsAByteOrderMarkAndRefusesBadUtf8) {
  EXPECT_EQ(ErrorOf("\xEF\xBB\xBF{\"a\":1}"), "");
  EXPECT_THAT(ErrorOf("\xEF\xBB{}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[\"\xFF\"]"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(ErrorOf("[\"\xED\xA0\x80\"]"), HasSubstr("not valid JSON at byte"));  // surrogate
  EXPECT_THAT(ErrorOf(R"(["\ud800"])"), HasSubstr("not valid JSON at byte"));
}

TEST(JsonExcerpt, CutsAtACharacterAndSurvivesBadUtf8) {
  EXPECT_EQ(JsonExcerpt("x"), "\"x\"");
  EXPECT_EQ(JsonExcerpt(Json::array({1, 2})), "a list of 2");
  EXPECT_EQ(JsonExcerpt(Json{{"a", 1}}), "an object of 1 fields");
  EXPECT_EQ(JsonExcerpt(std::string("\xFF")), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonExcerpt(std::string("a\nb")), "\"a\\nb\"");
  std::string text = "x";
  for (int i = 0; i < 100; ++i) text += "\xE2\x82\xAC";
  const std::string excerpt = JsonExcerpt(text);
  EXPECT_LE(excerpt.size(), 63u);
  EXPECT_TRUE(ParseJson("[\"" + excerpt.substr(1) + "\"]", "doc").ok()) << excerpt;
}

TEST(JsonFields, AreTypedAndNamed) {
  const auto json = ParseJson(
      R"({"n": 5, "big": 18446744073709551615, "f": 2.0, "s": "x", "b": true, "none": null})",
      "doc");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(*JsonInt(*json, "n", 5, 5, "doc"), 5);
  EXPECT_EQ(JsonInt(*json, "n", 6, 9, "doc").status().message(),
            "doc: n: must be an integer in [6, 9], is 5");
  EXPECT_EQ(JsonInt(*json, "m", 0, 1, "doc").status().message(),
            "doc: m: must be an integer in [0, 1], is missing");
  EXPECT_THAT(std::string(JsonInt(*json, "big", 0, INT64_MAX, "doc").status().message()),
              HasSubstr("is 18446744073709551615"));
  EXPECT_FALSE(JsonInt(*json, "f", 0, 9, "doc").ok());
  EXPECT_FALSE(JsonInt(*json, "b", 0, 9, "doc").ok());
  EXPECT_FALSE(JsonInt(*json, "none", 0, 9, "doc").ok());
  EXPECT_EQ(*JsonNumber(*json, "f", "doc"), 2.0);
  EXPECT_FALSE(JsonNumber(*json, "s", "doc").ok());
  EXPECT_EQ(*JsonString(*json, "s", "doc"), "x");
  EXPECT_FALSE(JsonString(*json, "n", "doc").ok());
  EXPECT_TRUE(*JsonBool(*json, "b", "doc"));
  EXPECT_FALSE(JsonBool(*json, "n", "doc").ok());
  EXPECT_FALSE(JsonInt(Json::array(), "n", 0, 9, "doc").ok());
}

TEST(ReadFile, NamesWhatIsWrong) {
  const std::string folder = ::testing::TempDir();
  EXPECT_TRUE(absl::IsNotFound(ReadFile(folder + "/absent").status()));
  EXPECT_THAT(std::string(ReadFile(folder).status().message()), HasSubstr("not a regular file"));

  const std::string pipe = folder + "/json_test_pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(std::string(ReadFile(pipe).status().message()), HasSubstr("not a regular file"));
  std::filesystem::remove(pipe);

  const std::string file = folder + "/json_test_file";
  std::ofstream(file, std::ios::binary) << std::string("a\0b", 3);
  EXPECT_EQ(*ReadFile(file), std::string("a\0b", 3));
  EXPECT_TRUE(ReadFile(file, 3).ok());
  EXPECT_THAT(std::string(ReadFile(file, 2).status().message()), HasSubstr("larger than 2 bytes"));
  EXPECT_THAT(std::string(ReadJsonFile(file).status().message()),
              HasSubstr(file + ": not valid JSON"));
  std::ofstream(file, std::ios::trunc).close();
  EXPECT_EQ(*ReadFile(file), "");
  std::filesystem::remove(file);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFile("/dev/zero").status()));
}

}  // namespace
}  // namespace headlong
