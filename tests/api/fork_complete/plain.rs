//! The public functions for which a fork does not matter: by type or module the functions, and the
//! traits.

/// Each reads and writes its arguments and the value itself, which the child has a copy of, and
/// knows nothing of the process.
const DATA: &[(&str, &str)] = &[
    ("&mutB", "SpareMemory"),
    ("&mutP", "Operation"),
    ("(P,T)", "Operation"),
    ("AlignedBuf", "Clone Default From<&[u8]> PartialEq advise_huge_pages try_clone"),
    ("B", "ReadTo WriteFrom"),
    ("Box", "Operation"),
    ("BytesMut", "SpareMemory"),
    ("CallError", "call errno"),
    ("Chunk", "AsRef<[u8]> Debug Deref Drop offset"),
    ("Completion", "diagnose"),
    ("Diagnosis", "cause errno iocb"),
    ("DirectIo", "alignment memory offset"),
    ("Errno", "as_raw check check_result explained from_io_error from_raw"),
    (
        "Error",
        "From<CallError> From<Diagnosis> From<Errno> From<PoolError> From<PushError<O>> \
         From<QueueError> From<ScopeError> From<SetupError> From<ThreadError> From<TimedOut<O>> \
         From<Unfinished>",
    ),
    ("EventResult", "result"),
    ("Fd", "AsFd AsRawFd Clone Debug From<crate::fd::BorrowedFd<'a>> as_raw borrow_raw"),
    ("Filled", "Debug Default Drop clear count new"),
    ("Histogram", "Clone Debug Display Drop PartialEq buckets count max mean quantile sum"),
    ("IoEvent", "as_raw from_raw iocb_addr res2 result user_data"),
    ("IoPrio", "as_raw best_effort from_raw idle real_time"),
    ("IoSlice", "Clone Debug as_ptr is_empty len new shared skip"),
    ("IoSliceMut", "Debug Drop as_mut_ptr is_empty len new shared"),
    (
        "Iocb",
        "as_raw as_raw_mut diagnose eventfd fdsync from_bytes from_raw fsync ioprio opcode poll \
         pread preadv pwrite pwritev rw_flags to_bytes user_data",
    ),
    ("Metrics", "Clone Debug Default Display Drop PartialEq export for_each_value kinds of"),
    ("Opcode", "as_raw from_raw"),
    ("Operation", "goes_on is_plain"),
    ("OperationMetrics", "Clone Debug Drop PartialEq"),
    (
        "OpenOptions",
        "Clone Debug Drop append create create_new custom_flags direct mode read truncate write",
    ),
    ("Part", "get_mut get_ref into_inner new"),
    (
        "Prepared",
        "Debug Drop diagnose eventfd fdsync from_iocb fsync ioprio poll read read_to readv \
         rw_flags write write_from writev",
    ),
    ("PoolError", "errno"),
    ("PushError", "errno"),
    ("QueueError", "Debug Display Drop Error errno"),
    ("Ready", "diagnose"),
    ("RangeBytes", "AsRef<[u8]> Clone Debug Deref Drop range"),
    ("RangesOptions", "Clone Debug Default Drop coalesce depth memory_limit new"),
    ("ReadTo", "lend lend_again"),
    ("ReaderOptions", "Clone Debug Default Drop chunk_len depth new pool"),
    (
        "Room",
        "Debug Drop From<&'opmut[u8]> From<IoSliceMut<'op>> first is_empty len new shared skip \
         uninit",
    ),
    ("ScopeError", "errno"),
    ("SetupError", "aio_max_nr aio_nr asked errno"),
    ("SigSet", "as_raw contains empty from_raw full with without"),
    ("Slice", "part"),
    ("Slot", "Debug Default Drop new"),
    (
        "Spare",
        "AsRef<[u8]> Debug Drop ReadTo clear get_mut into_filled into_inner into_parts is_empty len \
         new room with_limit",
    ),
    ("SpareMemory", "commit filled spare_len spare_mut"),
    ("TimedOut", "Debug Display Drop Error errno into_operation"),
    ("Unfinished", "Clone Debug Display Drop Error PartialEq errno operations"),
    ("UnexpectedEnd", "read"),
    ("Vec", "SpareMemory"),
    ("WriteFrom", "as_plain lend_bytes"),
    (
        "WriterOptions",
        "Clone Debug Default Drop allocation_step chunk_len depth expected_len new pool",
    ),
    ("WriterError", "Clone Debug Display Drop Error offset"),
    (
        "op::Any",
        "Clone Debug Drop From<Fdsync<F>> From<Fsync<F>> From<Poll<F>> From<Read<F,R>> \
         From<ReadV<F,Vec<R>>> From<Write<F,W>> From<WriteV<F,Vec<W>>> Operation PartialEq",
    ),
    ("op::&mutP", "Transfer"),
    ("op::(P,T)", "Transfer"),
    ("op::Box", "Buffers Transfer"),
    ("op::Buffers", "as_buffers as_buffers_mut iovecs"),
    ("op::Callback", "new"),
    ("op::Fdsync", "new"),
    ("op::Fsync", "new"),
    ("op::IovecVec", "Clone Debug Default Drop PartialEq Scratch"),
    ("op::Poll", "new"),
    ("op::Read", "new"),
    ("op::ReadV", "Clone Debug Drop Operation PartialEq new"),
    ("op::Scratch", "entries"),
    ("op::Transfer", "prepare_rest"),
    ("op::Vec", "Buffers"),
    ("op::Whole", "aligned done into_inner is_whole new op restart"),
    ("op::Write", "new"),
    ("op::WriteV", "Clone Debug Drop Operation PartialEq new"),
    ("op::[B;N]", "Buffers"),
    ("probe::Call", "name"),
    ("probe::DirectoryError", "errno"),
    ("probe::Errno", "From<DirectoryError> From<Unusable>"),
    ("probe::Error", "From<DirectoryError> From<Unusable>"),
    ("probe::FileSystem", "is_interface name"),
    ("probe::FlagSupport", "iter of"),
    (
        "probe::Kernel",
        "Clone Debug Display Drop PartialEq call is_gvisor notes opcode opcodes usable",
    ),
    ("probe::Support", "is_accepted"),
    ("probe::Tally", "is_asynchronous"),
    ("probe::Unusable", "errno"),
];

/// Each is a call of the kernel's as it is, and the kernel knows none of the parent's contexts in a
/// child (`tests/kernel_fork.rs`).
const CALLS: &[(&str, &str)] = &[(
    "sys",
    "cached_pages close io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit \
     is_error kill_self madvise mmap_anonymous mmap_anonymous_near mmap_wiped_on_fork munmap \
     open_for_reading read_to sleep sync_file_range wipe_on_fork",
)];

/// None may be called in a child, by the contract of `IoContext::ring`, which gives the ring and is
/// `unsafe`.
const FORBIDDEN: &[(&str, &str)] = &[
    ("IoContext", "ring"),
    ("Ring", "advance batch exists none position positions take take_only"),
];

/// Each is tried in children by `tests/buffers/pool.rs`, while threads of the parent hold the lock.
const TRIED: &[(&str, &str)] = &[
    (
        "BufferPool",
        "Clone Debug Drop advise_huge_pages available buffer_len capacity new take try_take",
    ),
    ("PoolBuf", "AsMut<[u8]> AsRef<[u8]> Debug Deref DerefMut Drop"),
    ("Take", "Debug Drop Future"),
];

/// What deadlines ask of futures and alarms. The checks of `WithDeadline` and of `CloseWithin`, of
/// both drivers, try it, as do those of `FileWithDeadline`.
const OF_DEADLINES: &[(&str, &str)] = &[
    ("Alarm", "Drop Rings"),
    ("Close", "Closes"),
    ("Closes", "alarm calls give_up"),
    ("GivesUp", "alarm can_be_refused give_up poll_op refuse"),
    ("LocalAlarm", "Drop Rings"),
    ("LocalClose", "Closes"),
    ("LocalFuture", "GivesUp"),
    ("OpFuture", "GivesUp"),
    ("Rings", "is_due set"),
];

/// What files ask of their driver. The checks of `File` and of `LocalDriver: Performs` try it.
const OF_FILES: &[(&str, &str)] = &[
    ("Access", "Clone Debug Drop"),
    ("blocking::BlockingThreads", "Clone Drop"),
    ("Box", "Place<O>"),
    ("Driver", "Performs"),
    ("Fdsync", "FileOperation"),
    ("FileOperation", "call"),
    ("Fsync", "FileOperation"),
    ("GoesOn", "go_on"),
    ("Held", "Drop Place<O>"),
    ("Memory", "call is_straight len prepare put take"),
    ("Moved", "Drop"),
    ("Performs", "alarm perform poll threads"),
    ("Place", "from_box hold into_box op_mut take"),
    ("Step", "Drop FileOperation Operation"),
];

/// The traits of others, which call what is tried: `FileReader::next_chunk` and its like.
const OF_OTHERS: &[(&str, &str)] = &[
    ("FileReader", "AsyncBufRead AsyncRead AsyncSeek Stream"),
    ("FileWriter", "AsyncWrite"),
    ("ReadRanges", "Stream"),
    ("Work", "allocate finish read write"),
];

/// All, named as [`public_functions`](super::api::public_functions) does.
pub(crate) fn names() -> impl Iterator<Item = String> {
    [DATA, CALLS, FORBIDDEN, TRIED, OF_DEADLINES, OF_FILES, OF_OTHERS]
        .into_iter()
        .flatten()
        .flat_map(|&(of, names)| {
            names.split(' ').map(move |name| {
                let is_trait = name.starts_with(char::is_uppercase);
                if is_trait { format!("{of}: {name}") } else { format!("{of}::{name}") }
            })
        })
}
