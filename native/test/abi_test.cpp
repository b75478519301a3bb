// Compares abi.hpp with the newest linux/ublk_cmd.h, and demands that every name in that header is compared.
#include "abi.hpp"

#include <gtest/gtest.h>
#include <linux/ublk_cmd.h>

#include <set>
#include <string>

#include "abi_rows.hpp"

namespace {

// Made by list-uapi-names from the very header that is compiled against here.
const std::set<std::string> header_names = {
#include "uapi_names.inc"
};

void expect_same(const std::vector<AbiRow>& rows) {
  ASSERT_FALSE(rows.empty());
  for (const AbiRow& row : rows) {
    EXPECT_EQ(row.kernel, row.ours) << row.name << " differs between the kernel's header and abi.hpp";
  }
}

std::set<std::string> compared_names() {
  std::set<std::string> names;
  for (const AbiRow& row : number_rows()) names.insert(row.name);
  for (const AbiRow& row : member_rows()) names.insert(row.name);
  return names;
}

TEST(Abi, NumbersAreTheKernels) {
  expect_same(number_rows());
}

TEST(Abi, MembersHaveTheKernelsOffsetAndSize) {
  expect_same(member_rows());
}

TEST(Abi, StructsHaveTheKernelsSize) {
  expect_same(struct_rows());
}

TEST(Abi, EveryNameOfTheHeaderIsCompared) {
  const std::set<std::string> compared = compared_names();
  ASSERT_GE(header_names.size(), 225u) << "list-uapi-names found fewer names than kernel 7.3 has";
  for (const std::string& name : header_names) {
    EXPECT_TRUE(compared.contains(name))
        << name << " is new: add it to abi.hpp and to the table of this test";
  }
}

TEST(Abi, EveryComparedNameIsInTheHeader) {
  for (const std::string& name : compared_names()) {
    EXPECT_TRUE(header_names.contains(name)) << name << " escaped list-uapi-names";
  }
}

TEST(Abi, ParamsOfOursHoldNoMoreThanTheKernels) {
  EXPECT_LE(sizeof(ublk::abi::Params), sizeof(ublk_params));
}

TEST(Abi, AccessorsAgreeWithTheKernels) {
  ublksrv_io_desc theirs = {};
  theirs.op_flags = UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_FUA | UBLK_IO_F_SHMEM_ZC;
  ublk::abi::IoDesc ours;
  ours.op_flags = theirs.op_flags;
  EXPECT_EQ(ublk::abi::op(ours), ublksrv_get_op(&theirs));
  EXPECT_EQ(ublk::abi::flags(ours), ublksrv_get_flags(&theirs) << 8);
}

TEST(Abi, AutoBufferRegistrationIsPackedAsTheKernelUnpacksIt) {
  const uint64_t packed = ublk::abi::auto_buf_reg_to_sqe_addr({.index = 0xabcd,
                                                               .flags = ublk::abi::auto_buf_reg_fallback,
                                                               .reserved0 = 0x12,
                                                               .reserved1 = 0x98765432});
  const ublk_auto_buf_reg unpacked = ublk_sqe_addr_to_auto_buf_reg(packed);
  EXPECT_EQ(unpacked.index, 0xabcd);
  EXPECT_EQ(unpacked.flags, UBLK_AUTO_BUF_REG_FALLBACK);
  EXPECT_EQ(unpacked.reserved0, 0x12);
  EXPECT_EQ(unpacked.reserved1, 0x98765432u);
}

TEST(Abi, SharedMemoryAddressIsUnpackedAsTheKernelPacksIt) {
  const uint64_t packed = ublk_shmem_zc_addr(0xfedc, 0x89abcdef);
  EXPECT_EQ(ublk::abi::shmem_zc_index(packed), 0xfedc);
  EXPECT_EQ(ublk::abi::shmem_zc_offset(packed), 0x89abcdefu);
}

}  // namespace
