#include "data_mode.hpp"

#include "abi.hpp"

namespace ublk {

DataMode to_data_mode(uint64_t features) {
  if ((features & abi::f_auto_buf_reg) != 0) return DataMode::auto_zero_copy;
  if ((features & abi::f_support_zero_copy) != 0) return DataMode::zero_copy;
  if ((features & abi::f_user_copy) != 0) return DataMode::user_copy;
  if ((features & abi::f_need_get_data) != 0) return DataMode::get_data;
  return DataMode::copy;
}

uint64_t to_features(DataMode mode) {
  switch (mode) {
    case DataMode::get_data:
      return abi::f_need_get_data;
    case DataMode::user_copy:
      return abi::f_user_copy;
    case DataMode::zero_copy:
      return abi::f_support_zero_copy;
    case DataMode::auto_zero_copy:
      // The second for the requests whose pages the kernel could not register and leaves to us.
      return abi::f_auto_buf_reg | abi::f_support_zero_copy;
    case DataMode::copy:
      break;
  }
  return 0;
}

const char* name_of(DataMode mode) {
  switch (mode) {
    case DataMode::get_data:
      return "get-data";
    case DataMode::user_copy:
      return "user-copy";
    case DataMode::zero_copy:
      return "zero-copy";
    case DataMode::auto_zero_copy:
      return "auto-zero-copy";
    case DataMode::copy:
      break;
  }
  return "copy";
}

}  // namespace ublk
