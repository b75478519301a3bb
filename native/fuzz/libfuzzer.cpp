// libFuzzer's way in; FUZZ names the function.
#include <gtest/gtest.h>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  ::testing::InitGoogleTest(count, *words);
  // The fake driver reports what it sees as a failed expectation, which ends the run here.
  GTEST_FLAG_SET(break_on_failure, true);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ublk::FUZZ({data, size});
  return 0;
}
