#pragma once

#include <cstddef>

// How many descriptors this process has open.
size_t open_file_count();
