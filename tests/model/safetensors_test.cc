#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/model/model_folder.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& file) {
  const auto layout = ParseSafetensors(AsBytes(file), "f.safetensors");
  EXPECT_TRUE(layout.ok() || absl::IsInvalidArgument(layout.status()));
  return std::string(layout.status().message());
}

TEST(ParseSafetensors, ReadsWhatItShould) {
  const std::string file = RawSafetensors(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[6,30]},)"
      R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
      R"("s":{"dtype":"F64","shape":[],"data_offsets":[30,38]},)"
      R"("none":{"dtype":"I8","shape":[0,7],"data_offsets":[6,6]}}   )",
      38);
  const auto layout = ParseSafetensors(AsBytes(file), "f");
  ASSERT_TRUE(layout.ok()) << layout.status();
  ASSERT_EQ(layout->tensors.size(), 4u);
  EXPECT_EQ(layout->header_bytes + 38, static_cast<int64_t>(file.size()));
  EXPECT_EQ(layout->tensors[0].name, "a");
  EXPECT_EQ(layout->tensors[1].name, "none");
  EXPECT_EQ(layout->tensors[1].bytes, 0);
  EXPECT_EQ(layout->tensors[2].name, "b");
  EXPECT_EQ(layout->tensors[2].dtype, "F32");
  EXPECT_EQ(layout->tensors[2].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(layout->tensors[2].begin, layout->header_bytes + 6);
  EXPECT_EQ(layout->tensors[2].bytes, 24);
  EXPECT_EQ(layout->tensors[3].shape.size(), 0u);
}

TEST(ParseSafetensors, AFileWithoutTensorsIsOne) {
  EXPECT_EQ(ErrorOf(RawSafetensors("{}", 0)), "");
  EXPECT_EQ(ErrorOf(RawSafetensors(R"({"__metadata__":{}})", 0)), "");
}

struct Hostile {
  const char* header;
  size_t payload;
  const char* words;
};

// Every header is well framed; what it says is wrong in one place.
const Hostile kHostile[] = {
    // The text.
    {"", 8, "must begin with {"},
    {" {}", 0, "must begin with {"},
    {"[]", 0, "must begin with {"},
    {"null", 0, "must begin with {"},
    {"\xEF\xBB\xBF{}", 0, "must begin with {"},
    {"{", 0, "header: not valid JSON"},
    {"{}x", 0, "header: not valid JSON"},
    {"{}{}", 0, "header: not valid JSON"},
    {"{\"w\":}", 0, "header: not valid JSON"},
    {"{'w':{}}", 0, "header: not valid JSON"},
    {"{\"\xFF\":{}}", 0, "header: not valid JSON"},
    {"{\"w\":{\"dtype\":\"\xC0\x80\"}}", 0, "header: not valid JSON"},
    {R"({"w":{"a":[[[[]]]]}})", 0, "header: nested deeper than 3"},
    {R"({"w":{},"w":{}})", 0, "key \"w\" stands twice"},
    {R"({"w":{"dtype":"F32","dtype":"F16"}})", 0, "key \"dtype\" stands twice"},
    {R"({"w":{"shape":[1e999]}})", 0, "number 1e999 is out of range"},
    // The entry.
    {R"({"w":1})", 0, "tensor \"w\": must be an object, is 1"},
    {R"({"w":null})", 0, "tensor \"w\": must be an object, is null"},
    {R"({"w":[]})", 0, "tensor \"w\": must be an object, is a list of 0"},
    {R"({"w":{}})", 0, "tensor \"w\": dtype: must be a string, is missing"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown field \"x\""},
    {R"({"__metadata__":[]})", 0, "__metadata__: must be an object of strings"},
    {R"({"__metadata__":{"a":1}})", 0, "__metadata__: must be an object of strings"},
    // The type.
    {R"({"w":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype: must be a string, is 1"},
    {R"({"w":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "unknown type \"F99\""},
    {R"({"w":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}})", 4, "unknown type \"f32\""},
    {R"({"w":{"dtype":"","shape":[1],"data_offsets":[0,4]}})", 4, "unknown type \"\""},
    // The shape.
    {R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape: must be a list of at most 16"},
    {R"({"w":{"dtype":"F32","shape":4,"data_offsets":[0,4]}})", 4, "shape: must be a list"},
    {R"({"w":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})", 4, "shape: must be a list"},
    {R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "0 or more, is -1"},
    {R"({"w":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}})", 4, "0 or more, is -1"},
    {R"({"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "0 or more, is 1.0"},
    {R"({"w":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, "0 or more, is \"1\""},
    {R"({"w":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}})", 4, "0 or more, is true"},
    {R"({"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4,
     "0 or more, is 9223372036854775808"},
    {R"({"w":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,4]}})", 4,
     "shape: more elements than can be"},
    {R"({"w":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4]}})", 4,
     "shape: more elements than can be"},
    {R"({"w":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,0]}})", 0,
     "shape: more elements than can be"},
    {R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
     "shape: must be a list of at most 16 integers, is a list of 17"},
    {R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "do not fill whole bytes"},
    {R"({"w":{"dtype":"F6_E2M3","shape":[2],"data_offsets":[0,1]}})", 1, "do not fill whole bytes"},
    // The byte range.
    {R"({"w":{"dtype":"F32","shape":[1]}})", 4, "data_offsets: must be a list of at most 2"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[]}})", 4, "must be a begin and an end"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "must be a begin and an end"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "at most 2 integers"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "must be a begin and an end"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "0 or more, is -4"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4,
     "0 or more, is 18446744073709551615"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8,
     "span 8 bytes, its type and shape need 4"},
    {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
     "span 4 bytes, its type and shape need 8"},
    {R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}})", 4, "need 0"},
    {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7,
     "tensor \"w\": truncated: ends at byte 8 of the data, the file has 7"},
    {R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[9223372036854775803,9223372036854775807]}})",
     4, "truncated: ends at byte 9223372036854775807"},
    // The ranges of all.
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
     "tensor \"w\": data_offsets: a hole of 4 bytes before it"},
    {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5,
     "1 bytes after the last tensor belong to none"},
    {"{}", 3, "3 bytes after the last tensor belong to none"},
    {R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("w":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
     6, "tensor \"w\": data_offsets: overlaps tensor \"v\""},
    {R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
     4, "tensor \"w\": data_offsets: overlaps tensor \"v\""},
    {R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("w":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
     7, "tensor \"w\": data_offsets: overlaps tensor \"v\""},
    {R"({"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
     R"("w":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
     8, "tensor \"w\": data_offsets: overlaps tensor \"v\""},
    {R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
     R"("w":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
     5, "tensor \"w\": data_offsets: a hole of 1 bytes before it"},
    {R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("w":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
     4, "tensor \"w\": data_offsets: overlaps tensor \"v\""},
};

TEST(ParseSafetensors, RefusesEveryHostileHeader) {
  static_assert(std::size(kHostile) >= 40);
  for (const Hostile& hostile : kHostile) {
    const std::string error = ErrorOf(RawSafetensors(hostile.header, hostile.payload));
    EXPECT_THAT(error, StartsWith("f.safetensors: ")) << hostile.header;
    EXPECT_THAT(error, HasSubstr(hostile.words)) << hostile.header;
    EXPECT_LT(error.size(), 300u);
  }
}

TEST(ParseSafetensors, RefusesANulByteInTheHeader) {
  EXPECT_THAT(ErrorOf(RawSafetensors(std::string("{}\0{", 4), 0)), HasSubstr("not valid JSON"));
}

TEST(ParseSafetensors, BelievesNoLength) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 20, uint64_t{16} << 20}) {
    EXPECT_THAT(ErrorOf(LittleEndian64(length) + "{}"), HasSubstr("truncated: header of"))
        << length;
  }
  for (const uint64_t length : {(uint64_t{16} << 20) + 1, uint64_t{1} << 40, uint64_t{1} << 63,
                                UINT64_MAX, UINT64_MAX - 7}) {
    EXPECT_THAT(ErrorOf(LittleEndian64(length) + "{}"), HasSubstr("at most 16777216")) << length;
  }
  EXPECT_THAT(ErrorOf("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"),
              HasSubstr("is a Git LFS pointer"));
}

TEST(ParseSafetensors, HoldsItsLimits) {
  std::string many = "{";
  for (int i = 0; i <= kMaxSafetensorsTensors; ++i) {
    absl::StrAppend(&many, i ? "," : "", "\"", i, "\":{}");
  }
  EXPECT_THAT(ErrorOf(RawSafetensors(many + "}", 0)), HasSubstr("200001 tensors, at most 200000"));

  // A list of zeros is small as text and large as a tree: it is refused before the tree is built.
  std::string zeros = "{\"w\":{\"shape\":[0";
  for (int i = 0; i < 3'000'000; ++i) zeros += ",0";
  EXPECT_THAT(ErrorOf(RawSafetensors(zeros + "]}}", 0)), HasSubstr("more than 2000000 values"));

  const std::string long_name(1 << 20, 'n');
  EXPECT_LT(ErrorOf(RawSafetensors("{\"" + long_name + "\":1}", 0)).size(), 200u);
}

TEST(ParseSafetensors, RefusesATruncatedFileAtEveryByte) {
  const std::string file = MakeSafetensors(TinyTensors());
  ASSERT_EQ(ErrorOf(file), "");
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string error = ErrorOf(file.substr(0, size));
    ASSERT_THAT(error, HasSubstr("truncated")) << size;
  }
  EXPECT_THAT(ErrorOf(file.substr(0, file.size() - 1)), HasSubstr("tensor \"lm_head.weight\""));
  EXPECT_THAT(ErrorOf(file + "x"), HasSubstr("1 bytes after the last tensor"));
}

// Whatever single byte of a header is changed, the answer is a status and what is accepted is
// sound.
TEST(ParseSafetensors, SurvivesEveryChangedByte) {
  const std::string file = MakeSafetensors({{"a", {2, 2}}, {"b", {3}, "F32"}});
  for (size_t at = 0; at < file.size() - 20; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = file;
      changed[at] = static_cast<char>(value);
      const auto layout = ParseSafetensors(AsBytes(changed), "f");
      if (!layout.ok()) continue;
      int64_t end = layout->header_bytes;
      for (const StoredTensor& tensor : layout->tensors) {
        ASSERT_EQ(tensor.begin, end);
        end += tensor.bytes;
      }
      ASSERT_EQ(end, static_cast<int64_t>(changed.size()));
    }
  }
}

TEST(SafetensorsFile, OpensFilesAndLinks) {
  const TempFolder folder;
  folder.Write("blob", MakeSafetensors({{"a", {2}}}, '\x11'));
  std::filesystem::create_symlink("blob", folder.path() / "link.safetensors");
  const auto file = SafetensorsFile::Open(folder.path() / "link.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const StoredTensor& tensor = (*file)->tensors().front();
  EXPECT_EQ((*file)->data(tensor)[3], std::byte{0x11});
  EXPECT_EQ((*file)->header().size() + 4, std::filesystem::file_size(folder.path() / "blob"));
}

TEST(SafetensorsFile, NamesWhatIsNoFile) {
  const TempFolder folder;
  const auto error_of = [&](const std::string& name) {
    return std::string(SafetensorsFile::Open(folder.path() / name).status().message());
  };
  EXPECT_THAT(error_of("absent"), HasSubstr("absent: no such file"));
  EXPECT_THAT(error_of("."), HasSubstr("is not a regular file"));
  folder.Write("empty", "");
  EXPECT_THAT(error_of("empty"), HasSubstr("empty: truncated: 0 bytes"));
  ASSERT_EQ(mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of("pipe"), HasSubstr("pipe: is not a regular file"));
  std::filesystem::create_symlink("nowhere", folder.path() / "dangling");
  EXPECT_THAT(error_of("dangling"), HasSubstr("dangling: is a link to a missing file"));
}

}  // namespace
}  // namespace headlong
