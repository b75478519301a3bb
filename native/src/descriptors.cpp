#include "descriptors.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "abi.hpp"

namespace ublk {

namespace {

size_t round_to_page(size_t length_bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (length_bytes + page - 1) / page * page;
}

}  // namespace

uint64_t descriptor_offset_bytes(uint16_t queue_id) {
  return abi::cmd_buf_offset + queue_id * round_to_page(abi::max_queue_depth * sizeof(abi::IoDesc));
}

size_t descriptor_length_bytes(uint16_t depth) {
  return round_to_page(depth * sizeof(abi::IoDesc));
}

int Descriptors::map(int char_fd, uint16_t queue_id, uint16_t depth) {
  return memory_.map(descriptor_length_bytes(depth), PROT_READ, MAP_SHARED | MAP_POPULATE, char_fd,
                     static_cast<off_t>(descriptor_offset_bytes(queue_id)));
}

void Descriptors::read(Request& request) const {
  const auto& descriptor = reinterpret_cast<const abi::IoDesc*>(memory_.data())[request.tag];
  request.operation = abi::op(descriptor);
  request.flags = abi::flags(descriptor);
  request.offset_bytes = descriptor.start_sector << 9;
  request.length_bytes = uint64_t{descriptor.nr_sectors} << 9;
  request.done_bytes = 0;
  request.way = 0;
}

}  // namespace ublk
