// What the ublk driver of kernel 7.3 speaks: numbers, bits and structs, with the kernel's field names.
// They are our own because distribution headers lag years behind (Debian 12's are those of 6.1).
// native/test/abi_test.cpp compares all of it with the newest linux/ublk_cmd.h that can be had.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ublk::abi {

// ioctl encoding as on x86 and arm, direction seen from user space. The kernel takes no other command numbers
// unless CONFIG_BLKDEV_UBLK_LEGACY_OPCODES is on, which several distributions turn off.
enum class Direction : uint32_t { read = 2, read_write = 3 };

constexpr uint32_t ioc(Direction direction, uint32_t number, size_t size) {
  return static_cast<uint32_t>(direction) << 30 | static_cast<uint32_t>(size) << 16 |
         static_cast<uint32_t>('u') << 8 | number;
}

// The command's bare number, which is how the kernel's own messages print it.
constexpr uint32_t command_number(uint32_t command) {
  return command & 0xff;
}

// -- Control commands, on /dev/ublk-control --

struct CtrlCmd {
  uint32_t dev_id = 0;
  uint16_t queue_id = 0;  // no_queue unless the command is about one queue
  uint16_t len = 0;
  uint64_t addr = 0;
  uint64_t data[1] = {0};
  uint16_t dev_path_len = 0;  // unprivileged devices and get_dev_info2 only; counts the final NUL
  uint16_t pad = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(CtrlCmd) == 32 && offsetof(CtrlCmd, queue_id) == 4 && offsetof(CtrlCmd, len) == 6);
static_assert(offsetof(CtrlCmd, addr) == 8 && offsetof(CtrlCmd, data) == 16);
static_assert(offsetof(CtrlCmd, dev_path_len) == 24);

constexpr uint16_t no_queue = 0xffff;

constexpr uint32_t ctrl_read(uint32_t number) {
  return ioc(Direction::read, number, sizeof(CtrlCmd));
}
constexpr uint32_t ctrl_read_write(uint32_t number) {
  return ioc(Direction::read_write, number, sizeof(CtrlCmd));
}

constexpr uint32_t cmd_get_queue_affinity = ctrl_read(0x01);
constexpr uint32_t cmd_get_dev_info = ctrl_read(0x02);
constexpr uint32_t cmd_add_dev = ctrl_read_write(0x04);
constexpr uint32_t cmd_del_dev = ctrl_read_write(0x05);
constexpr uint32_t cmd_start_dev = ctrl_read_write(0x06);
constexpr uint32_t cmd_stop_dev = ctrl_read_write(0x07);
constexpr uint32_t cmd_set_params = ctrl_read_write(0x08);
constexpr uint32_t cmd_get_params = ctrl_read(0x09);
constexpr uint32_t cmd_start_user_recovery = ctrl_read_write(0x10);
constexpr uint32_t cmd_end_user_recovery = ctrl_read_write(0x11);
constexpr uint32_t cmd_get_dev_info2 = ctrl_read(0x12);
constexpr uint32_t cmd_get_features = ctrl_read(0x13);
constexpr uint32_t cmd_del_dev_async = ctrl_read(0x14);
constexpr uint32_t cmd_update_size = ctrl_read_write(0x15);
constexpr uint32_t cmd_quiesce_dev = ctrl_read_write(0x16);
constexpr uint32_t cmd_try_stop_dev = ctrl_read_write(0x17);
constexpr uint32_t cmd_reg_buf = ctrl_read_write(0x18);
constexpr uint32_t cmd_unreg_buf = ctrl_read_write(0x19);
constexpr uint32_t features_len = 8;  // bytes that get_features answers with

// -- I/O commands, on /dev/ublkcN --

struct IoCmd {
  uint16_t q_id = 0;
  uint16_t tag = 0;
  int32_t result = 0;  // commit only
  union {
    uint64_t addr = 0;  // fetch and commit: the tag's buffer; must be 0 with f_user_copy
    uint64_t zone_append_lba;
  };
};
static_assert(sizeof(IoCmd) == 16 && offsetof(IoCmd, tag) == 2 && offsetof(IoCmd, result) == 4);
static_assert(offsetof(IoCmd, addr) == 8 && offsetof(IoCmd, zone_append_lba) == 8);

// One entry of the array that a batch command points to. Optional u64 fields follow it, as the flags say:
// the buffer address, then the zone append LBA.
struct ElemHeader {
  uint16_t tag = 0;
  uint16_t buf_index = 0;  // f_auto_buf_reg only
  int32_t result = 0;      // commit only
};
static_assert(sizeof(ElemHeader) == 8 && offsetof(ElemHeader, buf_index) == 2);
static_assert(offsetof(ElemHeader, result) == 4);

struct BatchIo {
  uint16_t q_id = 0;
  uint16_t flags = 0;
  uint16_t nr_elem = 0;
  uint8_t elem_bytes = 0;
  uint8_t reserved = 0;
  uint64_t reserved2 = 0;
};
static_assert(sizeof(BatchIo) == 16 && offsetof(BatchIo, flags) == 2 && offsetof(BatchIo, nr_elem) == 4);
static_assert(offsetof(BatchIo, elem_bytes) == 6 && offsetof(BatchIo, reserved2) == 8);

constexpr uint16_t batch_f_has_zone_lba = 1u << 0;
constexpr uint16_t batch_f_has_buf_addr = 1u << 1;
constexpr uint16_t batch_f_auto_buf_reg_fallback = 1u << 2;

constexpr uint32_t io_fetch_req = ioc(Direction::read_write, 0x20, sizeof(IoCmd));
constexpr uint32_t io_commit_and_fetch_req = ioc(Direction::read_write, 0x21, sizeof(IoCmd));
constexpr uint32_t io_need_get_data = ioc(Direction::read_write, 0x22, sizeof(IoCmd));
constexpr uint32_t io_register_io_buf = ioc(Direction::read_write, 0x23, sizeof(IoCmd));
constexpr uint32_t io_unregister_io_buf = ioc(Direction::read_write, 0x24, sizeof(IoCmd));
constexpr uint32_t io_prep_io_cmds = ioc(Direction::read_write, 0x25, sizeof(BatchIo));
constexpr uint32_t io_commit_io_cmds = ioc(Direction::read_write, 0x26, sizeof(BatchIo));
constexpr uint32_t io_fetch_io_cmds = ioc(Direction::read_write, 0x27, sizeof(BatchIo));

constexpr int32_t io_res_ok = 0;
constexpr int32_t io_res_need_get_data = 1;
constexpr int32_t io_res_abort = -19;  // -ENODEV: this tag must not be fetched again

// -- Features, states --

constexpr uint64_t f_support_zero_copy = 1ull << 0;
constexpr uint64_t f_uring_cmd_comp_in_task = 1ull << 1;
constexpr uint64_t f_need_get_data = 1ull << 2;
constexpr uint64_t f_user_recovery = 1ull << 3;
constexpr uint64_t f_user_recovery_reissue = 1ull << 4;
constexpr uint64_t f_unprivileged_dev = 1ull << 5;
constexpr uint64_t f_cmd_ioctl_encode = 1ull << 6;
constexpr uint64_t f_user_copy = 1ull << 7;
constexpr uint64_t f_zoned = 1ull << 8;
constexpr uint64_t f_user_recovery_fail_io = 1ull << 9;
constexpr uint64_t f_update_size = 1ull << 10;
constexpr uint64_t f_auto_buf_reg = 1ull << 11;
constexpr uint64_t f_quiesce = 1ull << 12;
constexpr uint64_t f_per_io_daemon = 1ull << 13;
constexpr uint64_t f_buf_reg_off_daemon = 1ull << 14;
constexpr uint64_t f_batch_io = 1ull << 15;
constexpr uint64_t f_integrity = 1ull << 16;
constexpr uint64_t f_safe_stop_dev = 1ull << 17;
constexpr uint64_t f_no_auto_part_scan = 1ull << 18;
constexpr uint64_t f_shmem_zc = 1ull << 19;
constexpr uint64_t f_io_desc_size = 1ull << 20;

constexpr uint16_t state_dead = 0;
constexpr uint16_t state_live = 1;
constexpr uint16_t state_quiesced = 2;
constexpr uint16_t state_fail_io = 3;

struct DevInfo {
  uint16_t nr_hw_queues = 0;
  uint16_t queue_depth = 0;
  uint16_t state = 0;
  uint16_t io_desc_size = 0;  // f_io_desc_size only
  uint32_t max_io_buf_bytes = 0;
  uint32_t dev_id = 0;
  int32_t ublksrv_pid = 0;
  uint32_t pad1 = 0;
  uint64_t flags = 0;
  uint64_t ublksrv_flags = 0;  // ours: the driver keeps it and hands it back
  uint32_t owner_uid = 0;
  uint32_t owner_gid = 0;
  uint64_t reserved1 = 0;
  uint64_t reserved2 = 0;
};
static_assert(sizeof(DevInfo) == 64 && offsetof(DevInfo, queue_depth) == 2 && offsetof(DevInfo, state) == 4);
static_assert(offsetof(DevInfo, io_desc_size) == 6 && offsetof(DevInfo, max_io_buf_bytes) == 8);
static_assert(offsetof(DevInfo, dev_id) == 12 && offsetof(DevInfo, ublksrv_pid) == 16);
static_assert(offsetof(DevInfo, flags) == 24 && offsetof(DevInfo, ublksrv_flags) == 32);
static_assert(offsetof(DevInfo, owner_uid) == 40 && offsetof(DevInfo, owner_gid) == 44);

// -- Requests as the driver describes them --

constexpr uint8_t op_read = 0;
constexpr uint8_t op_write = 1;
constexpr uint8_t op_flush = 2;
constexpr uint8_t op_discard = 3;
constexpr uint8_t op_write_same = 4;
constexpr uint8_t op_write_zeroes = 5;
constexpr uint8_t op_zone_open = 10;
constexpr uint8_t op_zone_close = 11;
constexpr uint8_t op_zone_finish = 12;
constexpr uint8_t op_zone_append = 13;
constexpr uint8_t op_zone_reset_all = 14;
constexpr uint8_t op_zone_reset = 15;
constexpr uint8_t op_report_zones = 18;

constexpr uint32_t io_f_failfast_dev = 1u << 8;
constexpr uint32_t io_f_failfast_transport = 1u << 9;
constexpr uint32_t io_f_failfast_driver = 1u << 10;
constexpr uint32_t io_f_meta = 1u << 11;
constexpr uint32_t io_f_fua = 1u << 13;
constexpr uint32_t io_f_nounmap = 1u << 15;
constexpr uint32_t io_f_swap = 1u << 16;
constexpr uint32_t io_f_need_reg_buf = 1u << 17;
constexpr uint32_t io_f_integrity = 1u << 18;
constexpr uint32_t io_f_shmem_zc = 1u << 19;

struct IoDesc {
  uint32_t op_flags = 0;
  union {
    uint32_t nr_sectors = 0;  // of 512 bytes, whatever the logical block size
    uint32_t nr_zones;        // op_report_zones only
  };
  uint64_t start_sector = 0;
  uint64_t addr = 0;
};
static_assert(sizeof(IoDesc) == 24 && offsetof(IoDesc, nr_sectors) == 4 && offsetof(IoDesc, nr_zones) == 4);
static_assert(offsetof(IoDesc, start_sector) == 8 && offsetof(IoDesc, addr) == 16);

constexpr uint8_t op(const IoDesc& desc) {
  return static_cast<uint8_t>(desc.op_flags & 0xff);
}

// Left in place, unlike the kernel's ublksrv_get_flags(), so that io_f_* can be tested on the result.
constexpr uint32_t flags(const IoDesc& desc) {
  return desc.op_flags & ~0xffu;
}

// -- Limits, and the layout of offsets on /dev/ublkcN --

constexpr uint64_t cmd_buf_offset = 0;           // mmap: descriptors
constexpr uint64_t io_buf_offset = 0x8000'0000;  // pread and pwrite: payload, f_user_copy only
constexpr uint32_t max_queue_depth = 4096;
constexpr uint32_t io_buf_off = 0;
constexpr uint32_t io_buf_bits = 25;  // at most 32 MiB for one request
constexpr uint64_t io_buf_bits_mask = (1ull << io_buf_bits) - 1;
constexpr uint32_t tag_off = io_buf_bits;
constexpr uint32_t tag_bits = 16;
constexpr uint64_t tag_bits_mask = (1ull << tag_bits) - 1;
constexpr uint32_t qid_off = tag_off + tag_bits;
constexpr uint32_t qid_bits = 12;
constexpr uint64_t qid_bits_mask = (1ull << qid_bits) - 1;
constexpr uint32_t max_nr_queues = 1u << qid_bits;
constexpr uint32_t io_buf_total_bits = qid_off + qid_bits;
constexpr uint64_t io_buf_total_size = 1ull << io_buf_total_bits;
constexpr uint32_t integrity_flag_off = 62;
constexpr uint64_t io_integrity_flag = 1ull << integrity_flag_off;

// -- Registered buffers --

struct AutoBufReg {
  uint16_t index = 0;
  uint8_t flags = 0;
  uint8_t reserved0 = 0;
  uint32_t reserved1 = 0;
};
static_assert(sizeof(AutoBufReg) == 8 && offsetof(AutoBufReg, flags) == 2);
static_assert(offsetof(AutoBufReg, reserved0) == 3 && offsetof(AutoBufReg, reserved1) == 4);

constexpr uint8_t auto_buf_reg_fallback = 1u << 0;
constexpr uint8_t auto_buf_reg_f_mask = auto_buf_reg_fallback;

constexpr uint64_t auto_buf_reg_to_sqe_addr(const AutoBufReg& reg) {
  return reg.index | uint64_t{reg.flags} << 16 | uint64_t{reg.reserved0} << 24 |
         uint64_t{reg.reserved1} << 32;
}

struct ShmemBufReg {
  uint64_t addr = 0;
  uint64_t len = 0;
  uint32_t flags = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(ShmemBufReg) == 24 && offsetof(ShmemBufReg, len) == 8);
static_assert(offsetof(ShmemBufReg, flags) == 16);

constexpr uint32_t shmem_buf_read_only = 1u << 0;

// With io_f_shmem_zc a descriptor's addr is no address but a buffer's index and a byte offset in it.
constexpr uint64_t shmem_zc_off_mask = 0xffff'ffff;
constexpr uint32_t shmem_zc_idx_off = 32;
constexpr uint64_t shmem_zc_idx_mask = 0xffff;

constexpr uint16_t shmem_zc_index(uint64_t addr) {
  return static_cast<uint16_t>(addr >> shmem_zc_idx_off & shmem_zc_idx_mask);
}

constexpr uint32_t shmem_zc_offset(uint64_t addr) {
  return static_cast<uint32_t>(addr & shmem_zc_off_mask);
}

// -- Parameters of the disk --

constexpr uint32_t attr_read_only = 1u << 0;
constexpr uint32_t attr_rotational = 1u << 1;
constexpr uint32_t attr_volatile_cache = 1u << 2;
constexpr uint32_t attr_fua = 1u << 3;

struct ParamBasic {
  uint32_t attrs = 0;
  uint8_t logical_bs_shift = 0;
  uint8_t physical_bs_shift = 0;
  uint8_t io_opt_shift = 0;
  uint8_t io_min_shift = 0;
  uint32_t max_sectors = 0;
  uint32_t chunk_sectors = 0;
  uint64_t dev_sectors = 0;
  uint64_t virt_boundary_mask = 0;
};
static_assert(sizeof(ParamBasic) == 32 && offsetof(ParamBasic, logical_bs_shift) == 4);
static_assert(offsetof(ParamBasic, physical_bs_shift) == 5 && offsetof(ParamBasic, io_opt_shift) == 6);
static_assert(offsetof(ParamBasic, io_min_shift) == 7 && offsetof(ParamBasic, max_sectors) == 8);
static_assert(offsetof(ParamBasic, chunk_sectors) == 12 && offsetof(ParamBasic, dev_sectors) == 16);
static_assert(offsetof(ParamBasic, virt_boundary_mask) == 24);

struct ParamDiscard {
  uint32_t discard_alignment = 0;
  uint32_t discard_granularity = 0;
  uint32_t max_discard_sectors = 0;
  uint32_t max_write_zeroes_sectors = 0;
  uint16_t max_discard_segments = 0;
  uint16_t reserved0 = 0;
};
static_assert(sizeof(ParamDiscard) == 20 && offsetof(ParamDiscard, discard_granularity) == 4);
static_assert(offsetof(ParamDiscard, max_discard_sectors) == 8);
static_assert(offsetof(ParamDiscard, max_write_zeroes_sectors) == 12);
static_assert(offsetof(ParamDiscard, max_discard_segments) == 16);

struct ParamDevt {  // filled in by the driver once the device is started
  uint32_t char_major = 0;
  uint32_t char_minor = 0;
  uint32_t disk_major = 0;
  uint32_t disk_minor = 0;
};
static_assert(sizeof(ParamDevt) == 16 && offsetof(ParamDevt, char_minor) == 4);
static_assert(offsetof(ParamDevt, disk_major) == 8 && offsetof(ParamDevt, disk_minor) == 12);

struct ParamZoned {
  uint32_t max_open_zones = 0;
  uint32_t max_active_zones = 0;
  uint32_t max_zone_append_sectors = 0;
  uint8_t reserved[20] = {0};
};
static_assert(sizeof(ParamZoned) == 32 && offsetof(ParamZoned, max_active_zones) == 4);
static_assert(offsetof(ParamZoned, max_zone_append_sectors) == 8);

struct ParamDmaAlign {
  uint32_t alignment = 0;
  uint8_t pad[4] = {0};
};
static_assert(sizeof(ParamDmaAlign) == 8);

constexpr uint32_t min_segment_size = 4096;

struct ParamSegment {
  uint64_t seg_boundary_mask = 0;
  uint32_t max_segment_size = 0;
  uint16_t max_segments = 0;
  uint8_t pad[2] = {0};
};
static_assert(sizeof(ParamSegment) == 16 && offsetof(ParamSegment, max_segment_size) == 8);
static_assert(offsetof(ParamSegment, max_segments) == 12);

struct ParamIntegrity {
  uint32_t flags = 0;
  uint16_t max_integrity_segments = 0;
  uint8_t interval_exp = 0;
  uint8_t metadata_size = 0;
  uint8_t pi_offset = 0;
  uint8_t csum_type = 0;
  uint8_t tag_size = 0;
  uint8_t pad[5] = {0};
};
static_assert(sizeof(ParamIntegrity) == 16 && offsetof(ParamIntegrity, max_integrity_segments) == 4);
static_assert(offsetof(ParamIntegrity, interval_exp) == 6 && offsetof(ParamIntegrity, metadata_size) == 7);
static_assert(offsetof(ParamIntegrity, pi_offset) == 8 && offsetof(ParamIntegrity, csum_type) == 9);
static_assert(offsetof(ParamIntegrity, tag_size) == 10);

constexpr uint32_t param_type_basic = 1u << 0;
constexpr uint32_t param_type_discard = 1u << 1;
constexpr uint32_t param_type_devt = 1u << 2;
constexpr uint32_t param_type_zoned = 1u << 3;
constexpr uint32_t param_type_dma_align = 1u << 4;
constexpr uint32_t param_type_segment = 1u << 5;
constexpr uint32_t param_type_integrity = 1u << 6;

// Grows with every parameter type a kernel adds, hence len: offsets are asserted, the total never.
struct Params {
  uint32_t len = 0;  // the sender fills it in, for get_params too
  uint32_t types = 0;
  ParamBasic basic{};
  ParamDiscard discard{};
  ParamDevt devt{};
  ParamZoned zoned{};
  ParamDmaAlign dma{};
  ParamSegment seg{};
  ParamIntegrity integrity{};
};
static_assert(offsetof(Params, types) == 4 && offsetof(Params, basic) == 8);
static_assert(offsetof(Params, discard) == 40 && offsetof(Params, devt) == 60);
static_assert(offsetof(Params, zoned) == 76 && offsetof(Params, dma) == 108 && offsetof(Params, seg) == 120);
static_assert(offsetof(Params, integrity) == 136);

}  // namespace ublk::abi
