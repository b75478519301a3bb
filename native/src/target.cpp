#include "target.hpp"

namespace ublk {

const TargetOps& target_ops(TargetKind kind) {
  switch (kind) {
    case TargetKind::memory:
      return memory_target;
    case TargetKind::file:
      return file_target;
    case TargetKind::js:
      return js_target;
    case TargetKind::fault:
      return fault_target;
    case TargetKind::null:
      break;
  }
  return null_target;
}

}  // namespace ublk
