#pragma once

#include <cstdint>
#include <vector>

#include "tag.hpp"

namespace ublk {

// Requests of one queue that are held back, first come first served.
class WaitingRoom {
 public:
  explicit WaitingRoom(uint16_t depth) : tags_(depth) {}

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  Tag& front() const { return *tags_[first_]; }
  Tag& at(size_t index) const { return *tags_[(first_ + index) % tags_.size()]; }
  void push(Tag& tag) {
    tags_[(first_ + count_) % tags_.size()] = &tag;
    count_++;
  }
  Tag& pop() {
    Tag& tag = front();
    first_ = (first_ + 1) % tags_.size();
    count_--;
    return tag;
  }

 private:
  std::vector<Tag*> tags_;
  size_t first_ = 0;
  size_t count_ = 0;
};

}  // namespace ublk
