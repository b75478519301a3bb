#pragma once

#include <string>

namespace checker {

// Damages a disk of its own in every way that the checker must see; true when it saw each, and nothing else.
bool self_test(const std::string& directory);

}  // namespace checker
