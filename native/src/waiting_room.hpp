#pragma once

#include <cstdint>
#include <vector>

#include "tag.hpp"

namespace ublk {

// The requests of one queue that its admission holds back, first come first served.
class WaitingRoom {
 public:
  explicit WaitingRoom(uint16_t depth) : tags_(depth) {}

  bool empty() const { return count_ == 0; }
  Tag& front() const { return *tags_[first_]; }
  void push(Tag& tag) {
    tags_[(first_ + count_) % tags_.size()] = &tag;
    count_++;
  }
  void pop() {
    first_ = (first_ + 1) % tags_.size();
    count_--;
  }

 private:
  std::vector<Tag*> tags_;
  size_t first_ = 0;
  size_t count_ = 0;
};

}  // namespace ublk
