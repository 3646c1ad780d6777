// NCCL's version: the numbers it packs, and the library of this machine.
#include "parallel/nccl/nccl_library.h"

#include <gtest/gtest.h>

namespace echelon {
namespace {

TEST(NcclLibrary, PackedVersionsBeforeAndSince29) {
  EXPECT_EQ(nccl_version(2804), (NcclVersion{2, 8, 4}));
  EXPECT_EQ(nccl_version(20908), (NcclVersion{2, 9, 8}));
  EXPECT_EQ(nccl_version(22809), (NcclVersion{2, 28, 9}));
  EXPECT_EQ(to_string(nccl_version(22809)), "2.28.9");
}

TEST(NcclLibrary, AVersionOrAReason) {
  const NcclLibrary library = nccl_library();
  EXPECT_NE(library.version.has_value(), !library.why_none.empty());
  EXPECT_TRUE(nccl_build() || !library.version) << "without a header the library cannot be called";
}

TEST(NcclLibrary, TheLibraryIsOfTheHeadersMajorVersion) {
  const NcclLibrary library = nccl_library();
  if (!library.version) GTEST_SKIP() << "no NCCL: " << library.why_none;
  EXPECT_EQ(library.version->major, nccl_build()->major);
}

}  // namespace
}  // namespace echelon
