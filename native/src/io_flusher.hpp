#pragma once

namespace ublk {

// Marks the calling thread as one that writes back memory: its own allocations will not wait for I/O, which
// could be I/O that only this thread can serve (prctl(2), PR_SET_IO_FLUSHER). Verified against the kernel's
// task flags, since other servers have set it without effect for years. A user without CAP_SYS_RESOURCE
// serves without it. 0 or a negative errno.
int become_io_flusher();

}  // namespace ublk
