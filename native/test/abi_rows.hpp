#pragma once

#include <cstdint>
#include <vector>

// One name of the kernel's header: what it says, and what abi.hpp says.
struct AbiRow {
  const char* name;
  uint64_t kernel;
  uint64_t ours;
};

std::vector<AbiRow> number_rows();
// Members of structs; both values are offset and size in one number.
std::vector<AbiRow> member_rows();
// Whole structs, except ublk_params, which grows from kernel to kernel.
std::vector<AbiRow> struct_rows();
