//! The system calls of AIO as the checks use them: no layer of the library between, but requests
//! that know what memory they name, so that a check cannot forget it.

use core::marker::PhantomData;

use linux_aio::abi::{
    __aio_sigset, __kernel_long_t, __kernel_old_timespec, IOCB_CMD_POLL, IOCB_CMD_PREAD,
    IOCB_CMD_PREADV, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, aio_context_t, aio_ring, io_event, iocb,
    iovec,
};
use linux_aio::sys;
use linux_aio_freestanding::kernel::{Errno, Signals, errno};

use crate::report::Why;

/// What O_DIRECT takes on every device here.
pub const BLOCK: usize = 4096;

/// A block of memory that O_DIRECT takes.
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK]);

impl Block {
    /// A block of zeros.
    pub const fn new() -> Self {
        Self([0; BLOCK])
    }
}

fn address<T: ?Sized>(pointer: *const T) -> u64 {
    pointer.cast::<u8>().expose_provenance() as u64
}

/// A request, and the loan of the memory that it names.
pub struct Request<'b> {
    iocb: iocb,
    loan: PhantomData<&'b mut [u8]>,
}

impl<'b> Request<'b> {
    /// PREAD.
    pub fn read(file: i32, buffer: &'b mut [u8], offset: u64) -> Self {
        Self::new(IOCB_CMD_PREAD, file, address(buffer.as_ptr()), buffer.len(), offset)
    }

    /// PWRITE.
    pub fn write(file: i32, buffer: &'b [u8], offset: u64) -> Self {
        Self::new(IOCB_CMD_PWRITE, file, address(buffer.as_ptr()), buffer.len(), offset)
    }

    /// PREADV to two buffers.
    pub fn read_vectored(
        file: i32,
        vectors: &'b mut [iovec; 2],
        [first, second]: [&'b mut [u8]; 2],
        offset: u64,
    ) -> Self {
        *vectors = [(first.as_mut_ptr(), first.len()), (second.as_mut_ptr(), second.len())]
            .map(|(at, iov_len)| iovec { iov_base: at.expose_provenance(), iov_len });
        Self::new(IOCB_CMD_PREADV, file, address(vectors), vectors.len(), offset)
    }

    /// PWRITEV of two buffers.
    pub fn write_vectored(
        file: i32,
        vectors: &'b mut [iovec; 2],
        buffers: [&'b [u8]; 2],
        offset: u64,
    ) -> Self {
        *vectors = buffers.map(|buffer| iovec {
            iov_base: buffer.as_ptr().expose_provenance(),
            iov_len: buffer.len(),
        });
        Self::new(IOCB_CMD_PWRITEV, file, address(vectors), vectors.len(), offset)
    }

    fn new(opcode: u16, file: i32, buf: u64, nbytes: usize, offset: u64) -> Self {
        let iocb = iocb {
            aio_lio_opcode: opcode,
            aio_fildes: file as u32,
            aio_buf: buf,
            aio_nbytes: nbytes as u64,
            aio_offset: offset as i64,
            ..iocb::ZERO
        };
        Self { iocb, loan: PhantomData }
    }

    /// The request as the kernel sees it, and left it.
    pub fn iocb(&self) -> &iocb {
        &self.iocb
    }

    /// The address that an event of it names.
    pub fn address(&self) -> u64 {
        address(&self.iocb)
    }

    /// Sets `aio_data`.
    pub fn data(mut self, data: u64) -> Self {
        self.iocb.aio_data = data;
        self
    }

    /// Sets `aio_key`.
    pub fn key(mut self, key: u32) -> Self {
        self.iocb.aio_key = key;
        self
    }

    /// Changes `aio_key` where it is.
    pub fn set_key(&mut self, key: u32) {
        self.iocb.aio_key = key;
    }

    /// Sets `aio_rw_flags`.
    pub fn rw_flags(mut self, flags: i32) -> Self {
        self.iocb.aio_rw_flags = flags;
        self
    }

    /// Sets `aio_reqprio`, without the flag that makes it count.
    pub fn reqprio(mut self, priority: i16) -> Self {
        self.iocb.aio_reqprio = priority;
        self
    }

    /// Sets `aio_flags`.
    pub fn flags(mut self, flags: u32) -> Self {
        self.iocb.aio_flags = flags;
        self
    }

    /// Sets `aio_resfd`, without the flag that makes it count.
    pub fn resfd(mut self, file: i32) -> Self {
        self.iocb.aio_resfd = file as u32;
        self
    }

    /// Sets `aio_reserved2`.
    pub fn reserved2(mut self, value: u64) -> Self {
        self.iocb.aio_reserved2 = value;
        self
    }

    /// Sets `aio_offset`.
    pub fn offset(mut self, offset: i64) -> Self {
        self.iocb.aio_offset = offset;
        self
    }
}

/// An address of user space at which these programs have no memory: near the lowest one, where the
/// kernel lets nobody map any.
pub const NOWHERE: usize = 0x1000;

impl Request<'static> {
    /// Any operation, with no memory.
    pub fn bare(opcode: u16, file: i32) -> Self {
        Self::new(opcode, file, 0, 0, 0)
    }

    /// POLL.
    pub fn poll(file: i32, events: u64) -> Self {
        Self::new(IOCB_CMD_POLL, file, events, 0, 0)
    }

    /// A read to, or write from, where there is no memory.
    pub fn nowhere(opcode: u16, file: i32) -> Self {
        Self::new(opcode, file, NOWHERE as u64, BLOCK, 0)
    }

    /// A bare request that names an address, with no length.
    pub fn at(opcode: u16, file: i32, address: u64) -> Self {
        Self::new(opcode, file, address, 0, 0)
    }

    /// A bare request that says it has so many bytes, at address 0.
    pub fn of_length(opcode: u16, file: i32, nbytes: u64) -> Self {
        let mut request = Self::bare(opcode, file);
        request.iocb.aio_nbytes = nbytes;
        request
    }
}

/// The system calls that wait for events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// `io_getevents`.
    GetEvents,
    /// `io_pgetevents` with a time of two longs.
    PGetEvents,
    /// `io_pgetevents_time64`.
    #[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
    PGetEventsTime64,
}

impl Way {
    /// Those that this architecture has.
    #[cfg(not(all(target_pointer_width = "32", not(target_arch = "x86_64"))))]
    pub const ALL: &[Self] = &[Self::GetEvents, Self::PGetEvents];
    /// Those that this architecture has.
    #[cfg(target_arch = "riscv32")]
    pub const ALL: &[Self] = &[Self::PGetEventsTime64];
    /// Those that this architecture has.
    #[cfg(all(
        target_pointer_width = "32",
        not(any(target_arch = "x86_64", target_arch = "riscv32"))
    ))]
    pub const ALL: &[Self] = &[Self::GetEvents, Self::PGetEvents, Self::PGetEventsTime64];

    /// Whether seconds have 64 bits.
    pub fn has_long_seconds(self) -> bool {
        match self {
            Self::GetEvents | Self::PGetEvents => __kernel_long_t::BITS == 64,
            #[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
            Self::PGetEventsTime64 => true,
        }
    }

    /// Whether it takes a signal mask.
    pub fn takes_mask(self) -> bool {
        self != Self::GetEvents
    }
}

/// Seconds and nanoseconds.
pub type Time = (i64, i64);

/// At once.
pub const NOW: Option<Time> = Some((0, 0));
/// Long enough to be asleep.
pub const SOON: Option<Time> = Some((0, 20_000_000));
/// So long that only a failure waits for it.
pub const LATE: Option<Time> = Some((30, 0));

/// A signal mask, and the size that the kernel is told.
#[derive(Clone, Copy)]
pub struct Mask {
    /// The signals to block.
    pub signals: Signals,
    /// In bytes; 8 is right.
    pub size: usize,
}

/// A context, by its number.
pub struct Context {
    id: aio_context_t,
}

impl Context {
    /// `io_setup`.
    pub fn new(nr: u32) -> Result<Self, Why> {
        let mut id = 0;
        match set_up(nr, &mut id) {
            0 => Ok(Self { id }),
            word => Err(Why::new(format_args!("io_setup({nr}): {word}"))),
        }
    }

    /// One that does not exist.
    pub const fn nowhere() -> Self {
        Self { id: NOWHERE as aio_context_t }
    }

    /// `io_submit` of requests that name no memory, or memory that stays: the kernel's word.
    pub fn start(&self, requests: &mut [Request<'static>]) -> isize {
        let mut list = [core::ptr::null_mut(); 64];
        assert!(requests.len() <= list.len());
        for (entry, request) in list.iter_mut().zip(requests.iter_mut()) {
            *entry = &raw mut request.iocb;
        }
        // SAFETY: The list has that many pointers, each to an iocb that is borrowed mutably
        // for the call. What memory they name is lent for ever.
        unsafe { sys::io_submit(self.id, requests.len() as _, list.as_ptr()) }
    }

    /// `io_submit` with any count and a list that is nowhere: the kernel's word.
    pub fn submit_nothing(&self, nr: __kernel_long_t) -> isize {
        let list = core::ptr::without_provenance(NOWHERE);
        // SAFETY: No memory is there, so that the kernel can read no request.
        unsafe { sys::io_submit(self.id, nr, list) }
    }

    /// `io_submit` of one request that is nowhere: the kernel's word.
    pub fn submit_request_nowhere(&self) -> isize {
        let list = [core::ptr::without_provenance_mut(NOWHERE)];
        // SAFETY: The list has its one pointer; no memory is where it points, so that the kernel
        // can read no request.
        unsafe { sys::io_submit(self.id, 1, list.as_ptr()) }
    }

    /// Submits a request and waits for its event, while no other is under way.
    pub fn run(&self, request: &mut Request<'_>) -> Result<io_event, Errno> {
        let list = [&raw mut request.iocb];
        // SAFETY: The list has its one pointer, to an iocb that is borrowed mutably. The memory
        // that it names is lent for longer than this function runs, and below it ends only when
        // the kernel has given the event.
        let word = unsafe { sys::io_submit(self.id, 1, list.as_ptr()) };
        if word != 1 {
            return Err(-word as Errno);
        }
        let mut events = [io_event::default()];
        loop {
            match self.wait(Way::ALL[0], 1, &mut events, None, None) {
                1 if events[0].obj == request.address() => return Ok(events[0]),
                word if word == -(errno::EINTR as isize) => {}
                // The buffer may still be the kernel's: there is no way to go on.
                word => panic_lost(word),
            }
        }
    }

    /// Waits for events: the kernel's word.
    pub fn wait(
        &self,
        way: Way,
        min: __kernel_long_t,
        events: &mut [io_event],
        time: Option<Time>,
        mask: Option<Mask>,
    ) -> isize {
        self.wait_for(way, min, events.len() as _, events.as_mut_ptr(), time, mask)
    }

    /// Waits, with a count of its own and with no memory for events: the kernel's word.
    pub fn wait_nowhere(&self, way: Way, min: __kernel_long_t, nr: __kernel_long_t) -> isize {
        let events = core::ptr::without_provenance_mut(NOWHERE);
        self.wait_for(way, min, nr, events, NOW, None)
    }

    /// `events` has room for `nr`, or is nowhere.
    fn wait_for(
        &self,
        way: Way,
        min: __kernel_long_t,
        nr: __kernel_long_t,
        events: *mut io_event,
        time: Option<Time>,
        mask: Option<Mask>,
    ) -> isize {
        let mut short = time.map(|(seconds, nanoseconds)| __kernel_old_timespec {
            tv_sec: seconds as _,
            tv_nsec: nanoseconds as _,
        });
        let short = short.as_mut().map_or(core::ptr::null_mut(), |time| &raw mut *time);
        let mut signals = [mask.map_or(0, |mask| mask.signals)];
        let mask = mask.map(|mask| __aio_sigset {
            sigmask: address(signals.as_mut_ptr()) as _,
            sigsetsize: mask.size as _,
        });
        let mask = mask.as_ref().map_or(core::ptr::null(), |mask| &raw const *mask);
        #[cfg(target_arch = "riscv32")]
        let _ = short;
        match way {
            #[cfg(not(target_arch = "riscv32"))]
            // SAFETY: The events have room for `nr` or are where no memory is, the time is null or
            // a live local, and the checks read the ring only between calls.
            Way::GetEvents => unsafe { sys::io_getevents(self.id, min, nr, events, short) },
            #[cfg(not(target_arch = "riscv32"))]
            // SAFETY: As above; the mask is null or a live local that names one.
            Way::PGetEvents => unsafe { sys::io_pgetevents(self.id, min, nr, events, short, mask) },
            #[cfg(target_arch = "riscv32")]
            Way::GetEvents | Way::PGetEvents => -(errno::ENOSYS as isize),
            #[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
            Way::PGetEventsTime64 => {
                let mut long = time
                    .map(|(tv_sec, tv_nsec)| linux_aio::abi::__kernel_timespec { tv_sec, tv_nsec });
                let long = long.as_mut().map_or(core::ptr::null_mut(), |time| &raw mut *time);
                // SAFETY: As above.
                unsafe { sys::io_pgetevents_time64(self.id, min, nr, events, long, mask) }
            }
        }
    }

    /// `io_cancel` of a request: the kernel's word.
    pub fn cancel(&self, request: &Request<'_>) -> isize {
        // SAFETY: The kernel reads the key of the request; nothing is to be written.
        unsafe { sys::io_cancel(self.id, &raw const request.iocb, core::ptr::null_mut()) }
    }

    /// `io_cancel` of what is nowhere: the kernel's word.
    pub fn cancel_nowhere(&self) -> isize {
        let request = core::ptr::without_provenance(NOWHERE);
        // SAFETY: No memory is there; the kernel checks that when it reads the key.
        unsafe { sys::io_cancel(self.id, request, core::ptr::null_mut()) }
    }

    /// `io_destroy`: the kernel's word.
    pub fn destroy(&self) -> isize {
        // SAFETY: No reference to the ring lives longer than a call of `header` or `event`.
        unsafe { sys::io_destroy(self.id) }
    }

    /// The address of the ring: its number, which has more bits than an address on x32.
    fn address(&self) -> usize {
        self.id as _
    }

    /// The header of the ring.
    pub fn header(&self) -> aio_ring {
        let ring: *const aio_ring = core::ptr::with_exposed_provenance(self.address());
        // SAFETY: The kernel has mapped the ring at the address that is the context's number.
        // Volatile, since the kernel writes it; the checks read it when nothing is under way.
        unsafe { ring.read_volatile() }
    }

    /// The event at that place of the ring.
    pub fn event(&self, place: u32) -> io_event {
        let events: *const io_event =
            core::ptr::with_exposed_provenance(self.address() + size_of::<aio_ring>());
        let event = events.wrapping_add(place as usize);
        // SAFETY: Places are below the header's `nr`, and the mapping has as many.
        unsafe { event.read_volatile() }
    }

    /// Stores the head of the ring: events before it are taken.
    pub fn set_head(&self, head: u32) {
        let ring: *mut aio_ring = core::ptr::with_exposed_provenance_mut(self.address());
        let place = ring.cast::<u32>().wrapping_add(core::mem::offset_of!(aio_ring, head) / 4);
        // SAFETY: The mapping is writable, and the process has no other thread.
        unsafe { place.write_volatile(head) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A check may have destroyed it already, or it never was.
        let _ = self.destroy();
    }
}

/// `io_setup`: the kernel's word.
pub fn set_up(nr: u32, id: &mut aio_context_t) -> isize {
    // SAFETY: The number is borrowed mutably.
    unsafe { sys::io_setup(nr, id) }
}

/// `io_setup` with nowhere to store the number: the kernel's word.
pub fn set_up_nowhere(nr: u32) -> isize {
    // SAFETY: No memory is there; the kernel checks that before it makes a context.
    unsafe { sys::io_setup(nr, core::ptr::without_provenance_mut(NOWHERE)) }
}

fn panic_lost(word: isize) -> ! {
    panic!("waiting for an event gave {word}")
}
