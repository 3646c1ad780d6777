// The GGUF reader: typed values as written by PyPI `gguf`, and an Error that names the field for every way a file can
// be wrong. The limits are tested at the field itself: file_builder.h knows where each one is.
#include "engine/weights/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using testing::build_gguf;
using testing::BuiltFile;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

const std::string kEveryType = ECHELON_SOURCE_DIR "/tests/golden/weights/every_type.gguf";

TEST(GgufMetadata, ValuesArriveTyped) {
  const auto file = GgufFile::open(kEveryType);
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->get_string("general.architecture"), "test");
  EXPECT_EQ(file->get_int("test.uint8"), 200);
  EXPECT_EQ(file->get_int("test.int8"), -100);
  EXPECT_EQ(file->get_int("test.uint16"), 60000);
  EXPECT_EQ(file->get_int("test.int16"), -30000);
  EXPECT_EQ(file->get_uint("test.uint32"), 4000000000u);
  EXPECT_EQ(file->get_int("test.int32"), -2000000000);
  EXPECT_EQ(file->get_uint("test.uint64"), uint64_t{1} << 63);
  EXPECT_EQ(file->get_int("test.int64"), -(int64_t{1} << 62));
  EXPECT_EQ(file->get_float("test.float32"), static_cast<double>(0.1f));
  EXPECT_EQ(file->get_float("test.float64"), 0.1);
  EXPECT_EQ(file->get_float("test.uint8"), 200.0);
  EXPECT_TRUE(file->get_bool("test.bool"));
  EXPECT_EQ(file->get_string("test.string"), "Grüße, 世界\n");
  EXPECT_THAT(file->get_strings("test.strings"), ElementsAre("", "a", "Ġthe", "<|im_start|>"));
  EXPECT_THAT(file->get_ints("test.ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(file->get_floats("test.floats"), ElementsAre(0.5f, -1.25f));
  EXPECT_THAT(file->get_bools("test.bools"), ElementsAre(true, false, true));
  EXPECT_FALSE(file->find_int("test.absent"));
  EXPECT_FALSE(file->has("test.absent"));
  EXPECT_EQ(file->keys().front(), "general.architecture");
}

TEST(GgufMetadata, AWrongTypeNamesKeyAndType) {
  const auto file = GgufFile::open(kEveryType);
  const auto message = [&](auto getter, const char* key) { return error_of([&] { ((*file).*getter)(key); }); };
  EXPECT_THAT(message(&GgufFile::get_int, "test.string"), HasSubstr("\"test.string\" is string; an integer is needed"));
  EXPECT_THAT(message(&GgufFile::get_int, "test.uint64"), HasSubstr("an integer below 2^63"));
  EXPECT_THAT(message(&GgufFile::get_uint, "test.int8"), HasSubstr("\"test.int8\" is -100; it must not be negative"));
  EXPECT_THAT(message(&GgufFile::get_string, "test.bool"), HasSubstr("\"test.bool\" is boolean; a string is needed"));
  EXPECT_THAT(message(&GgufFile::get_bool, "test.uint8"), HasSubstr("a boolean is needed"));
  EXPECT_THAT(message(&GgufFile::get_float, "test.string"), HasSubstr("a number is needed"));
  EXPECT_THAT(message(&GgufFile::get_strings, "test.ints"),
              HasSubstr("an array of 3 int32; an array of strings is needed"));
  EXPECT_THAT(message(&GgufFile::get_ints, "test.strings"), HasSubstr("an array of integers is needed"));
  EXPECT_THAT(message(&GgufFile::get_floats, "test.int8"), HasSubstr("an array of floats is needed"));
  EXPECT_THAT(message(&GgufFile::get_bools, "test.floats"), HasSubstr("an array of booleans is needed"));
  EXPECT_THAT(message(&GgufFile::get_int, "test.absent"), HasSubstr("\"test.absent\" (an integer) is missing"));
  EXPECT_THAT(message(&GgufFile::get_int, "test.absent"), HasSubstr(kEveryType));
}

TEST(GgufTensors, ShapesAreRowMajor) {
  const TemporaryFolder folder;
  const auto file = GgufFile::open(folder.write("a.gguf", build_gguf().bytes));
  ASSERT_EQ(file->tensors().size(), 2u);
  const GgufTensor* matrix = file->find_tensor("w");
  ASSERT_NE(matrix, nullptr);
  EXPECT_THAT(matrix->shape, ElementsAre(2, 64));
  EXPECT_EQ(matrix->type, TensorType::q8_0);
  EXPECT_EQ(matrix->num_bytes, 4u * 34);
  EXPECT_EQ(matrix->offset, file->data_offset());
  EXPECT_EQ(file->find_tensor("absent"), nullptr);
}

TEST(GgufTensors, Version2IsTheSameLayout) {
  const TemporaryFolder folder;
  BuiltFile built = build_gguf();
  built.set<uint32_t>("version", 2);
  EXPECT_EQ(GgufFile::open(folder.write("a.gguf", built.bytes))->version(), 2u);
}

/// One field set to one value, and what the message must say.
struct Broken {
  const char* field;
  uint64_t value;
  const char* message;
};

void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.field << " = " << broken.value; }

class BrokenField : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenField, IsNamed) {
  const TemporaryFolder folder;
  BuiltFile built = build_gguf();
  const size_t size = built.field(GetParam().field).size;
  std::memcpy(built.bytes.data() + built.field(GetParam().field).offset, &GetParam().value, size);
  const std::string path = folder.write("broken.gguf", built.bytes);
  const std::string message = error_of([&] { GgufFile::open(path); });
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

constexpr uint64_t kHuge = UINT64_MAX;

INSTANTIATE_TEST_SUITE_P(
    Gguf, BrokenField,
    ::testing::Values(Broken{"magic", 0x46554748, "does not begin with \"GGUF\""},
                      Broken{"version", 1, "GGUF version 1; 2 to 3"}, Broken{"version", 4, "GGUF version 4; 2 to 3"},
                      Broken{"version", 0x03000000, "big-endian"},
                      Broken{"tensor_count", kHuge, "tensor_count is 18446744073709551615"},
                      Broken{"tensor_count", 1 << 20, "tensor_count is 1048576"}, Broken{"tensor_count", 3, "tensor"},
                      Broken{"metadata_kv_count", kHuge, "metadata_kv_count is 18446744073709551615"},
                      Broken{"metadata_kv_count", 10, "the name of tensor 0 has a length"},
                      Broken{"key words length", kHuge, "the name of metadata key 3"},
                      Broken{"key words length", 0, "metadata key 3 has an empty name"},
                      Broken{"key words length", 4000, "the file ends inside the name of metadata key 3"},
                      Broken{"type size", 13, "\"size\" has the unknown value type 13"},
                      Broken{"value general.architecture length", kHuge, "\"general.architecture\" has a length of"},
                      Broken{"value general.architecture length", 1 << 25,
                             "the file ends inside metadata key \"general.architecture\""},
                      Broken{"value general.alignment", 0, "general.alignment is 0; a power of two"},
                      Broken{"value general.alignment", 33, "general.alignment is 33"},
                      Broken{"value general.alignment", 1 << 30, "general.alignment is 1073741824"},
                      Broken{"value general.alignment", 64, "offset 160, not a multiple of general.alignment 64"},
                      Broken{"element type words", 99, "\"words\" has the unknown value type 99"},
                      Broken{"count words", kHuge, "\"words\" has 18446744073709551615 elements"},
                      Broken{"count words", 1 << 24, "metadata key \"words\""},
                      Broken{"count numbers", 1 << 23, "inside metadata key \"numbers\""},
                      Broken{"words 1 length", kHuge, "\"words\" has a length of"},
                      Broken{"inner count nested", kHuge, "\"nested\" has 18446744073709551615 elements"},
                      Broken{"tensor matrix length", kHuge, "the name of tensor 0"},
                      Broken{"dimensions matrix", 0, "\"w\" has 0 dimensions"},
                      Broken{"dimensions matrix", 5, "\"w\" has 5 dimensions"},
                      Broken{"cols matrix", 0, "\"w\" has a dimension of 0"},
                      Broken{"cols matrix", kHuge, "\"w\" has a dimension of 18446744073709551615"},
                      Broken{"cols matrix", 33, "\"w\" has rows of 33 values; Q8_0 has blocks of 32"},
                      Broken{"cols matrix", uint64_t{1} << 40, "\"w\" has"},
                      Broken{"rows matrix", 3, "tensors \"w\" and \"n\" overlap"},
                      Broken{"rows matrix", uint64_t{1} << 40, "the file is cut off"},
                      Broken{"tensor type matrix", 10, "type 10 (Q2_K), which cannot be read"},
                      Broken{"tensor type matrix", 4, "type 4 (unknown)"},
                      Broken{"tensor type matrix", UINT32_MAX, "(unknown)"},
                      Broken{"offset matrix", 1, "\"w\" has offset 1, not a multiple"},
                      Broken{"offset matrix", kHuge - 31, "bytes at offset 18446744073709551584"},
                      Broken{"offset matrix", 64, "tensors \"w\" and \"n\" overlap"},
                      Broken{"offset vector", 192, "\"n\" has 128 bytes at offset 192 of a data section of 288"},
                      Broken{"tensor vector length", 0, "tensor 1 has an empty name"}));

TEST(GgufBroken, ProductOfDimensionsMayNotOverflow) {
  const TemporaryFolder folder;
  BuiltFile built = build_gguf();
  built.set<uint64_t>("cols matrix", uint64_t{1} << 40);
  built.set<uint64_t>("rows matrix", uint64_t{1} << 40);
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.write("a.gguf", built.bytes)); }), HasSubstr("overflows"));
}

TEST(GgufBroken, DuplicatesAreNamed) {
  const TemporaryFolder folder;
  BuiltFile tensors = build_gguf({.matrix_name = "same", .vector_name = "same"});
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.write("a.gguf", tensors.bytes)); }),
              HasSubstr("tensor \"same\" occurs twice"));
  BuiltFile keys = build_gguf();  // one key more: the file's first key again
  keys.set<uint64_t>("metadata_kv_count", 10);
  const size_t first = keys.field("key general.architecture length").offset;
  const std::string record = keys.bytes.substr(first, keys.field("key general.alignment length").offset - first);
  keys.bytes.insert(first, record);
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.write("b.gguf", keys.bytes)); }),
              HasSubstr("metadata key \"general.architecture\" occurs twice"));
}

TEST(GgufBroken, ArraysMayNotNestWithoutEnd) {
  const TemporaryFolder folder;
  BuiltFile built = build_gguf();
  std::string levels;
  for (int i = 0; i < 100; ++i) {
    const uint32_t array_type = 9;
    const uint64_t count = 1;
    levels.append(reinterpret_cast<const char*>(&array_type), sizeof(array_type));
    levels.append(reinterpret_cast<const char*>(&count), sizeof(count));
  }
  built.bytes.insert(built.field("inner element type nested").offset, levels);
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.write("a.gguf", built.bytes)); }),
              HasSubstr("\"nested\" nests arrays deeper than 4"));
}

TEST(GgufBroken, EveryTruncationIsAnError) {
  const TemporaryFolder folder;
  const BuiltFile built = build_gguf();
  for (size_t size = 1; size < built.bytes.size(); ++size) {
    const std::string path = folder.write("cut.gguf", std::string_view(built.bytes).substr(0, size));
    EXPECT_THAT(error_of([&] { GgufFile::open(path); }), HasSubstr(path)) << size << " bytes";
  }
}

TEST(GgufBroken, FilesThatAreNone) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.path() + "/absent.gguf"); }),
              HasSubstr("absent.gguf: cannot open: No such file"));
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.path()); }), HasSubstr("is not a regular file"));
  EXPECT_THAT(error_of([&] { GgufFile::open(folder.write("empty.gguf", "")); }), HasSubstr("empty.gguf: is empty"));
}

}  // namespace
}  // namespace echelon
