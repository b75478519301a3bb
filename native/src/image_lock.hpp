#pragma once

namespace ublk {

// Claims the file or block device behind `fd` for its server: alone when it writes, beside other readers when
// it does not. The lock belongs to the open file itself and ends with its last reference, in whatever way its
// process ends, which is when no I/O of its rings is under way any more. Every server of this library takes
// it; other programs may ignore it. 0, -EAGAIN while somebody else has a claim, or another negative errno.
int lock_image(int fd, bool read_only);

}  // namespace ublk
