//! [`Faults`], what may go wrong in a simulation.

/// Lists what may go wrong in a simulation: four profiles, and a switch for each fault.
///
/// | profile | contains | an engine that is right |
/// |---|---|---|
/// | [`none`](Self::none) | a kernel that is always prompt; a crash keeps everything | works |
/// | [`legal`](Self::legal) | what Linux allows a kernel and a disk to do | loses nothing |
/// | [`failing`](Self::failing) | also errors that the disk reports | loses no acknowledged data |
/// | [`hostile`](Self::hostile) | also wrong data without an error | notices it |
///
/// ```
/// use linux_aio_sim::Faults;
///
/// let mut faults = Faults::legal();
/// faults.sector = 4096; // The unit in which writes are kept or lost.
/// faults.short_transfers = false;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// The size of a sector in bytes: 512 or 4096. A crash keeps or loses a sector as a whole, and
    /// direct operations must be aligned to it. 512 in every profile.
    pub sector: usize,
    /// The number of bytes of all files together. A write that goes beyond is cut short or ends
    /// with `ENOSPC`. Without a limit in every profile.
    pub capacity: u64,
    /// A crash may lose writes, lengths and names that no sync has made durable.
    pub lost_writes: bool,
    /// Operations complete in another order than that of their submission, some of them late.
    pub reordering: bool,
    /// Reads and writes transfer fewer bytes than asked for.
    pub short_transfers: bool,
    /// `io_submit` accepts fewer operations than there is room for.
    pub partial_submits: bool,
    /// `io_submit` gives `EAGAIN` although there is room, while operations are in flight.
    pub busy: bool,
    /// `io_getevents` gives `EINTR`.
    pub interrupts: bool,
    /// Some contexts have no ring in user space, as on gVisor: each event takes a system call.
    pub missing_rings: bool,
    /// A file cannot be opened a second time, as without /proc. A direct [`linux_aio::File`] then
    /// reads and writes whole blocks where a write is not aligned. Off in every profile.
    pub missing_proc: bool,
    /// fsync and fdatasync end with `EIO`. Then a part of what they should have made durable is
    /// lost for ever, and the next sync succeeds.
    pub failed_syncs: bool,
    /// Reads and writes end with `EIO`, writes after a part of their sectors.
    pub failed_transfers: bool,
    /// Writes that lengthen a file end with `ENOSPC` or are cut short, also below `capacity`.
    pub full_disk: bool,
    /// One operation in 256 takes up to 30 seconds. [`Sim::stall`](crate::Sim::stall) has the whole
    /// disk hang when the test says so.
    pub stalls: bool,
    /// `io_setup` gives `EAGAIN`, and `io_submit` refuses operations with `ENOMEM`.
    pub refusals: bool,
    /// Sectors become unreadable until they are written again.
    pub latent_errors: bool,
    /// Bits change in sectors that have been written.
    pub bit_rot: bool,
    /// A sector of a write lands at another place of the file.
    pub misdirected_writes: bool,
    /// A crash leaves a mixture of old and new bytes within a sector.
    pub torn_sectors: bool,
    /// Events arrive that belong to no operation.
    pub stray_events: bool,
    // For the harnesses of this repository: no kernel and no disk does these.
    /// Events arrive twice.
    pub(crate) duplicate_events: bool,
    /// `io_submit` gives `EINTR`.
    pub(crate) interrupted_submits: bool,
    /// `io_submit` accepts nothing, and gives no error.
    pub(crate) empty_submits: bool,
    /// Operations complete inside of `io_submit`.
    pub(crate) early_ends: bool,
    /// `io_setup` fails for several reasons.
    pub(crate) failed_setups: bool,
}

impl Faults {
    pub(crate) fn check_sector(&self) {
        assert!(
            matches!(self.sector, 512 | 4096),
            "linux-aio-sim: Faults::sector is {}; set it to 512 or 4096",
            self.sector
        );
    }

    /// Returns a kernel and a disk without faults. Contents, lengths and names survive a crash.
    pub fn none() -> Self {
        Self {
            sector: 512,
            capacity: u64::MAX,
            lost_writes: false,
            reordering: false,
            short_transfers: false,
            partial_submits: false,
            busy: false,
            interrupts: false,
            missing_rings: false,
            missing_proc: false,
            failed_syncs: false,
            failed_transfers: false,
            full_disk: false,
            stalls: false,
            refusals: false,
            latent_errors: false,
            bit_rot: false,
            misdirected_writes: false,
            torn_sectors: false,
            stray_events: false,
            duplicate_events: false,
            interrupted_submits: false,
            empty_submits: false,
            early_ends: false,
            failed_setups: false,
        }
    }

    /// Returns what Linux allows a kernel and a healthy disk to do.
    pub fn legal() -> Self {
        Self {
            lost_writes: true,
            reordering: true,
            short_transfers: true,
            partial_submits: true,
            busy: true,
            interrupts: true,
            missing_rings: true,
            ..Self::none()
        }
    }

    /// Returns [`legal`](Self::legal) with errors that the kernel and the disk report.
    pub fn failing() -> Self {
        Self {
            failed_syncs: true,
            failed_transfers: true,
            full_disk: true,
            stalls: true,
            refusals: true,
            ..Self::legal()
        }
    }

    /// Returns [`failing`](Self::failing) with wrong data that nothing reports.
    pub fn hostile() -> Self {
        Self {
            latent_errors: true,
            bit_rot: true,
            misdirected_writes: true,
            torn_sectors: true,
            stray_events: true,
            ..Self::failing()
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::legal()
    }
}
