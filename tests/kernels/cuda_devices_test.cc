// CUDA as this build and this machine have it. Every case holds without a toolkit, a driver or a device, too, or is
// skipped and says what is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "kernels/cuda/devices.h"

namespace echelon {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::MatchesRegex;

std::string self_test_error(int index) {
  try {
    cuda_self_test(index);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(CudaDevices, TheBuildAndTheDriverSayWhatTheyAre) {
  EXPECT_THAT(cuda_build(), AnyOf("not compiled in", MatchesRegex("CUDA [0-9]+\\.[0-9]+")));
  EXPECT_FALSE(cuda_driver().empty());
}

TEST(CudaDevices, ABuildWithoutCudaOffersNoDevice) {
  if (cuda_build() != "not compiled in") GTEST_SKIP() << "this build has " << cuda_build();
  EXPECT_TRUE(cuda_devices().empty());
  EXPECT_THAT(self_test_error(0), HasSubstr("this build has no CUDA"));
}

TEST(CudaDevices, ADeviceThatIsNotThereIsAnErrorThatNamesIt) {
  const int num_devices = static_cast<int>(cuda_devices().size());
  EXPECT_THAT(self_test_error(-1), HasSubstr("CUDA device -1: "));
  const std::string beyond = self_test_error(num_devices);
  EXPECT_THAT(beyond, HasSubstr("CUDA device " + std::to_string(num_devices) + ": "));
  EXPECT_EQ(cuda_devices().size(), static_cast<size_t>(num_devices)) << "an error of before came back";
}

TEST(CudaDevices, DevicesAreDescribedInOrder) {
  const std::vector<CudaDevice> devices = cuda_devices();
  if (devices.empty()) GTEST_SKIP() << "no CUDA device: " << cuda_build() << "; " << cuda_driver();
  for (size_t i = 0; i < devices.size(); ++i) {
    EXPECT_EQ(devices[i].index, static_cast<int>(i));
    EXPECT_FALSE(devices[i].name.empty());
    EXPECT_GE(devices[i].sm_major, 5);
    EXPECT_GE(devices[i].sm_minor, 0);
    EXPECT_GE(devices[i].memory_bytes, int64_t{1} << 30);
  }
}

TEST(CudaDevices, EveryDeviceRoundsAsTheHostDoes) {
  const std::vector<CudaDevice> devices = cuda_devices();
  if (devices.empty()) GTEST_SKIP() << "no CUDA device: " << cuda_build() << "; " << cuda_driver();
  for (const CudaDevice& device : devices) EXPECT_EQ(self_test_error(device.index), "") << device.name;
}

}  // namespace
}  // namespace echelon
