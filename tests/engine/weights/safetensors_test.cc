// The safetensors reader: float types arrive, others are listed, and an Error names the tensor for every way a header
// can be wrong, holes and overlaps among them.
#include "engine/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using testing::build_safetensors;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryFolder;

const std::string kData(32, '\0');

TEST(Safetensors, TensorsComeInTheOrderOfTheirData) {
  const TemporaryFolder folder;
  const auto file =
      SafetensorsFile::open(folder.write("a.safetensors", build_safetensors(R"({"__metadata__": {"format": "pt"},
        "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [16, 28]},
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "ids": {"dtype": "I32", "shape": [], "data_offsets": [28, 32]},
        "none": {"dtype": "F16", "shape": [0, 5], "data_offsets": [28, 28]},
        "new": {"dtype": "F4_X", "shape": [9], "data_offsets": [32, 32]}})",
                                                                            kData)));
  ASSERT_EQ(file->tensors().size(), 5u);
  const auto& tensors = file->tensors();
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].type, TensorType::f32);
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(tensors[1].type, TensorType::bf16);
  EXPECT_THAT(tensors[1].shape, ElementsAre(2, 3));
  EXPECT_EQ(tensors[2].name, "none");
  EXPECT_EQ(tensors[2].num_bytes, 0u);
  EXPECT_EQ(tensors[3].type, TensorType::unreadable);
  EXPECT_EQ(tensors[3].type_name, "I32");
  EXPECT_THAT(tensors[3].shape, IsEmpty());
  EXPECT_EQ(tensors[4].type, TensorType::unreadable);
}

struct Broken {
  const char* header;
  const char* message;
};

void PrintTo(const Broken& broken, std::ostream* out) { *out << std::string_view(broken.header).size() << " bytes"; }

class BrokenHeader : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenHeader, IsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder.write("broken.safetensors", build_safetensors(GetParam().header, kData));
  const std::string message = error_of([&] { SafetensorsFile::open(path); });
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, BrokenHeader,
    ::testing::Values(
        Broken{R"({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]})", "header: not valid JSON"},
        Broken{R"([1])", "an object is needed"}, Broken{R"({"a": 1})", "\"a\" is an integer; an object is needed"},
        Broken{R"({"a": {"shape": [8], "data_offsets": [0, 32]}})", "a: \"dtype\" (a string) is missing"},
        Broken{R"({"a": {"dtype": 1, "shape": [8], "data_offsets": [0, 32]}})", "\"dtype\" is an integer"},
        Broken{R"({"a": {"dtype": "F32", "data_offsets": [0, 32]}})", "tensor \"a\": \"shape\" must be"},
        Broken{R"({"a": {"dtype": "F32", "shape": [-8], "data_offsets": [0, 32]}})",
               "tensor \"a\": \"shape\" has the dimension -8"},
        Broken{R"({"a": {"dtype": "F32", "shape": ["8"], "data_offsets": [0, 32]}})", "\"shape\" is a list"},
        Broken{R"({"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,8], "data_offsets": [0, 32]}})",
               "\"shape\" has 9 dimensions"},
        Broken{R"({"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 32]}})",
               "size that overflows"},
        Broken{R"({"a": {"dtype": "F32", "shape": [18446744073709551615], "data_offsets": [0, 32]}})",
               "\"shape\" is a list"},
        Broken{R"({"a": {"dtype": "F32", "shape": [7], "data_offsets": [0, 32]}})",
               "make 28 bytes, \"data_offsets\" hold 32"},
        Broken{R"({"a": {"dtype": "F32", "shape": [8]}})", "\"data_offsets\" must be two integers"},
        Broken{R"({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0]}})",
               "\"data_offsets\" must be two integers"},
        Broken{R"({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 36]}})",
               "do not lie in the data of 32 bytes"},
        Broken{R"({"a": {"dtype": "F32", "shape": [8], "data_offsets": [-4, 28]}})", "do not lie in the data"},
        Broken{R"({"a": {"dtype": "F32", "shape": [8], "data_offsets": [32, 0]}})", "do not lie in the data"},
        Broken{R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})", "end at 16, the data has 32 bytes"},
        Broken{R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}})",
               "tensor \"a\": \"data_offsets\" begin at 16"},
        Broken{
            R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "b": {"dtype": "F32", "shape": [5], "data_offsets": [12, 32]}})",
            "tensor \"b\": \"data_offsets\" begin at 12; overlapping"},
        Broken{
            R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}})",
            "the key \"a\" occurs twice"}));

TEST(SafetensorsBroken, TheHeaderSizeIsCheckedFirst) {
  const TemporaryFolder folder;
  const auto with_size = [&](uint64_t size) {
    std::string bytes = build_safetensors("{}", "");
    std::memcpy(bytes.data(), &size, sizeof(size));
    return error_of([&] { SafetensorsFile::open(folder.write("a.safetensors", bytes)); });
  };
  EXPECT_THAT(with_size(UINT64_MAX), HasSubstr("the header size is 18446744073709551615 bytes; the file has 2"));
  EXPECT_THAT(with_size(3), HasSubstr("the header size is 3 bytes; the file has 2"));
  EXPECT_THAT(error_of([&] { SafetensorsFile::open(folder.write("b.safetensors", "short")); }),
              HasSubstr("has no header size"));
}

TEST(SafetensorsBroken, DepthIsBounded) {
  const TemporaryFolder folder;
  const std::string header = "{\"a\": " + std::string(100000, '[');
  EXPECT_THAT(error_of([&] { SafetensorsFile::open(folder.write("a.safetensors", build_safetensors(header, ""))); }),
              HasSubstr("header: not valid JSON"));
}

}  // namespace
}  // namespace echelon
