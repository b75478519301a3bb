// Every struct of the kernel's header, member by member, beside its counterpart of ours.
#include <linux/ublk_cmd.h>

#include "abi.hpp"
#include "abi_rows.hpp"

namespace abi = ublk::abi;

static AbiRow row(const char* name, uint64_t kernel, uint64_t ours) {
  return {name, kernel, ours};
}
#define PLACE(type, member) (offsetof(type, member) << 32 | sizeof(type::member))
#define MEMBER(theirs, ours, member) row(#theirs "." #member, PLACE(theirs, member), PLACE(abi::ours, member))
#define WHOLE(theirs, ours) row(#theirs, sizeof(theirs), sizeof(abi::ours))

static const std::vector<AbiRow> members = {
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, addr),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, data),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, dev_id),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, dev_path_len),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, len),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, pad),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, queue_id),
    MEMBER(ublksrv_ctrl_cmd, CtrlCmd, reserved),
    MEMBER(ublksrv_io_cmd, IoCmd, addr),
    MEMBER(ublksrv_io_cmd, IoCmd, q_id),
    MEMBER(ublksrv_io_cmd, IoCmd, result),
    MEMBER(ublksrv_io_cmd, IoCmd, tag),
    MEMBER(ublksrv_io_cmd, IoCmd, zone_append_lba),
    MEMBER(ublk_elem_header, ElemHeader, buf_index),
    MEMBER(ublk_elem_header, ElemHeader, result),
    MEMBER(ublk_elem_header, ElemHeader, tag),
    MEMBER(ublk_batch_io, BatchIo, elem_bytes),
    MEMBER(ublk_batch_io, BatchIo, flags),
    MEMBER(ublk_batch_io, BatchIo, nr_elem),
    MEMBER(ublk_batch_io, BatchIo, q_id),
    MEMBER(ublk_batch_io, BatchIo, reserved),
    MEMBER(ublk_batch_io, BatchIo, reserved2),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, dev_id),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, flags),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, io_desc_size),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, max_io_buf_bytes),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, nr_hw_queues),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, owner_gid),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, owner_uid),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, pad1),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, queue_depth),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, reserved1),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, reserved2),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, state),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, ublksrv_flags),
    MEMBER(ublksrv_ctrl_dev_info, DevInfo, ublksrv_pid),
    MEMBER(ublksrv_io_desc, IoDesc, addr),
    MEMBER(ublksrv_io_desc, IoDesc, nr_sectors),
    MEMBER(ublksrv_io_desc, IoDesc, nr_zones),
    MEMBER(ublksrv_io_desc, IoDesc, op_flags),
    MEMBER(ublksrv_io_desc, IoDesc, start_sector),
    MEMBER(ublk_auto_buf_reg, AutoBufReg, flags),
    MEMBER(ublk_auto_buf_reg, AutoBufReg, index),
    MEMBER(ublk_auto_buf_reg, AutoBufReg, reserved0),
    MEMBER(ublk_auto_buf_reg, AutoBufReg, reserved1),
    MEMBER(ublk_shmem_buf_reg, ShmemBufReg, addr),
    MEMBER(ublk_shmem_buf_reg, ShmemBufReg, flags),
    MEMBER(ublk_shmem_buf_reg, ShmemBufReg, len),
    MEMBER(ublk_shmem_buf_reg, ShmemBufReg, reserved),
    MEMBER(ublk_param_basic, ParamBasic, attrs),
    MEMBER(ublk_param_basic, ParamBasic, chunk_sectors),
    MEMBER(ublk_param_basic, ParamBasic, dev_sectors),
    MEMBER(ublk_param_basic, ParamBasic, io_min_shift),
    MEMBER(ublk_param_basic, ParamBasic, io_opt_shift),
    MEMBER(ublk_param_basic, ParamBasic, logical_bs_shift),
    MEMBER(ublk_param_basic, ParamBasic, max_sectors),
    MEMBER(ublk_param_basic, ParamBasic, physical_bs_shift),
    MEMBER(ublk_param_basic, ParamBasic, virt_boundary_mask),
    MEMBER(ublk_param_discard, ParamDiscard, discard_alignment),
    MEMBER(ublk_param_discard, ParamDiscard, discard_granularity),
    MEMBER(ublk_param_discard, ParamDiscard, max_discard_sectors),
    MEMBER(ublk_param_discard, ParamDiscard, max_discard_segments),
    MEMBER(ublk_param_discard, ParamDiscard, max_write_zeroes_sectors),
    MEMBER(ublk_param_discard, ParamDiscard, reserved0),
    MEMBER(ublk_param_devt, ParamDevt, char_major),
    MEMBER(ublk_param_devt, ParamDevt, char_minor),
    MEMBER(ublk_param_devt, ParamDevt, disk_major),
    MEMBER(ublk_param_devt, ParamDevt, disk_minor),
    MEMBER(ublk_param_zoned, ParamZoned, max_active_zones),
    MEMBER(ublk_param_zoned, ParamZoned, max_open_zones),
    MEMBER(ublk_param_zoned, ParamZoned, max_zone_append_sectors),
    MEMBER(ublk_param_zoned, ParamZoned, reserved),
    MEMBER(ublk_param_dma_align, ParamDmaAlign, alignment),
    MEMBER(ublk_param_dma_align, ParamDmaAlign, pad),
    MEMBER(ublk_param_segment, ParamSegment, max_segment_size),
    MEMBER(ublk_param_segment, ParamSegment, max_segments),
    MEMBER(ublk_param_segment, ParamSegment, pad),
    MEMBER(ublk_param_segment, ParamSegment, seg_boundary_mask),
    MEMBER(ublk_param_integrity, ParamIntegrity, csum_type),
    MEMBER(ublk_param_integrity, ParamIntegrity, flags),
    MEMBER(ublk_param_integrity, ParamIntegrity, interval_exp),
    MEMBER(ublk_param_integrity, ParamIntegrity, max_integrity_segments),
    MEMBER(ublk_param_integrity, ParamIntegrity, metadata_size),
    MEMBER(ublk_param_integrity, ParamIntegrity, pad),
    MEMBER(ublk_param_integrity, ParamIntegrity, pi_offset),
    MEMBER(ublk_param_integrity, ParamIntegrity, tag_size),
    MEMBER(ublk_params, Params, basic),
    MEMBER(ublk_params, Params, devt),
    MEMBER(ublk_params, Params, discard),
    MEMBER(ublk_params, Params, dma),
    MEMBER(ublk_params, Params, integrity),
    MEMBER(ublk_params, Params, len),
    MEMBER(ublk_params, Params, seg),
    MEMBER(ublk_params, Params, types),
    MEMBER(ublk_params, Params, zoned),
};

static const std::vector<AbiRow> structs = {
    WHOLE(ublksrv_ctrl_cmd, CtrlCmd),
    WHOLE(ublksrv_io_cmd, IoCmd),
    WHOLE(ublk_elem_header, ElemHeader),
    WHOLE(ublk_batch_io, BatchIo),
    WHOLE(ublksrv_ctrl_dev_info, DevInfo),
    WHOLE(ublksrv_io_desc, IoDesc),
    WHOLE(ublk_auto_buf_reg, AutoBufReg),
    WHOLE(ublk_shmem_buf_reg, ShmemBufReg),
    WHOLE(ublk_param_basic, ParamBasic),
    WHOLE(ublk_param_discard, ParamDiscard),
    WHOLE(ublk_param_devt, ParamDevt),
    WHOLE(ublk_param_zoned, ParamZoned),
    WHOLE(ublk_param_dma_align, ParamDmaAlign),
    WHOLE(ublk_param_segment, ParamSegment),
    WHOLE(ublk_param_integrity, ParamIntegrity),
};

std::vector<AbiRow> member_rows() {
  return members;
}

std::vector<AbiRow> struct_rows() {
  return structs;
}
