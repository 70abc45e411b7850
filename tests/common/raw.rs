//! The six calls with nothing between the test and the kernel but the error as a number.

use core::ptr;
use core::time::Duration;
use linux_aio::abi::{__kernel_old_timespec, aio_context_t, aio_ring, io_event, iocb};
use linux_aio::{Errno, sys};
use std::thread;

/// What a call returned.
pub(crate) fn check(returned: isize) -> Result<usize, Errno> {
    match Errno::from_raw((-returned.min(0)) as i32) {
        Some(errno) => Err(errno),
        None => Ok(returned as usize),
    }
}

/// A context without a guard: destroyed with the value, by whatever process drops it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: aio_context_t,
}

/// `io_setup`, once.
pub(crate) fn setup(nr_events: u32, id: &mut aio_context_t) -> Result<usize, Errno> {
    // SAFETY: `id` is valid for reads and writes.
    check(unsafe { sys::io_setup(nr_events, ptr::from_mut(id)) })
}

impl Context {
    /// When the system has room for it.
    pub(crate) fn new(nr_events: u32) -> Self {
        for _ in 0..300 {
            let mut id = 0;
            match setup(nr_events, &mut id) {
                Ok(_) => return Self { id },
                Err(Errno::EAGAIN) => thread::sleep(Duration::from_millis(100)),
                Err(errno) => panic!("io_setup: {errno}"),
            }
        }
        panic!("fs.aio-max-nr has been used up for half a minute");
    }

    /// `io_submit`. The iocbs are copied by the kernel; the buffers they name must outlive the
    /// context or the wait for their events, which every test here sees to.
    pub(crate) fn submit(&self, iocbs: &mut [iocb]) -> Result<usize, Errno> {
        let pointers: Vec<*mut iocb> = iocbs.iter_mut().map(ptr::from_mut).collect();
        self.submit_pointers(&pointers)
    }

    pub(crate) fn submit_pointers(&self, pointers: &[*mut iocb]) -> Result<usize, Errno> {
        // SAFETY: The array is valid; the iocbs are, or are addresses that the kernel refuses.
        check(unsafe { sys::io_submit(self.id, pointers.len() as _, pointers.as_ptr()) })
    }

    /// `io_getevents` for up to `nr` events.
    pub(crate) fn getevents(
        &self,
        min: isize,
        nr: isize,
        timeout: Option<(i64, i64)>,
    ) -> Result<Vec<io_event>, Errno> {
        let mut events = vec![io_event::default(); nr.clamp(0, 1 << 16) as usize];
        let mut time = timeout.map(|(seconds, nanoseconds)| __kernel_old_timespec {
            tv_sec: seconds as _,
            tv_nsec: nanoseconds as _,
        });
        let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: There is room for `nr` events where `nr` is a number that the kernel takes, and
        // nobody here reads the ring meanwhile.
        let taken = check(unsafe {
            sys::io_getevents(self.id, min as _, nr as _, events.as_mut_ptr(), time)
        })?;
        events.truncate(taken);
        Ok(events)
    }

    /// `min` events at least, and up to `nr`, without a timeout.
    pub(crate) fn wait(&self, min: usize, nr: usize) -> Vec<io_event> {
        self.getevents(min as _, nr as _, None).expect("io_getevents")
    }

    /// `io_cancel` by address.
    pub(crate) fn cancel(&self, iocb: *const iocb) -> Result<usize, Errno> {
        // SAFETY: No result is asked for, and the kernel checks the address.
        check(unsafe { sys::io_cancel(self.id, iocb, ptr::null_mut()) })
    }

    /// Destroys the context. Its number, which may soon be that of another thread's context, is
    /// forgotten, so that the drop does not destroy that one.
    pub(crate) fn destroy(&mut self) -> Result<usize, Errno> {
        // SAFETY: Nobody reads the ring any more.
        let destroyed = check(unsafe { sys::io_destroy(self.id) });
        if destroyed.is_ok() {
            self.id = 0;
        }
        destroyed
    }

    /// The ring's header, as it is now.
    pub(crate) fn ring(&self) -> aio_ring {
        // SAFETY: The context is live, and its number is the address of its ring.
        unsafe { self.ring_address().read_volatile() }
    }

    pub(crate) fn ring_address(&self) -> *mut aio_ring {
        #[allow(clippy::unnecessary_cast, reason = "the two are one type except on x32")]
        ptr::with_exposed_provenance_mut(self.id as usize)
    }

    /// Stores the ring's `head`, as a reader in user space does.
    pub(crate) fn set_head(&self, head: u32) {
        // SAFETY: In bounds of the header.
        let place = unsafe { &raw mut (*self.ring_address()).head };
        // SAFETY: The context is live; nobody else is writing.
        unsafe { place.write_volatile(head) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.destroy();
    }
}

/// The kernel's form of ours, to be changed at will.
pub(crate) fn iocb_of(iocb: linux_aio::Iocb) -> iocb {
    *iocb.as_raw()
}

/// A read of `buf` at offset 0.
pub(crate) fn read_of(fd: i32, buf: &mut [u8], data: u64) -> iocb {
    iocb_of(linux_aio::Iocb::pread(fd, buf.as_mut_ptr(), buf.len(), 0).user_data(data))
}

/// A POLL.
pub(crate) fn poll_of(fd: i32, events: linux_aio::PollEvents, data: u64) -> iocb {
    iocb_of(linux_aio::Iocb::poll(fd, events).user_data(data))
}

/// The `data` of events, in order.
pub(crate) fn data_of(events: &[io_event]) -> Vec<u64> {
    events.iter().map(|event| event.data).collect()
}

/// Whether the kernel can read a byte at the address.
pub(crate) fn is_mapped(address: *const u8) -> bool {
    use std::os::fd::AsRawFd;
    let pipe = super::files::pipe(libc::O_NONBLOCK);
    // SAFETY: The kernel answers EFAULT where nothing is mapped.
    unsafe { libc::write(pipe.writer.as_raw_fd(), address.cast(), 1) == 1 }
}

impl Context {
    /// `io_pgetevents` for one event, with a mask of the given size.
    pub(crate) fn pgetevents(
        &self,
        timeout: Option<(i64, i64)>,
        mask: &linux_aio::SigSet,
        mask_size: usize,
    ) -> Result<Vec<io_event>, Errno> {
        let mut event = io_event::default();
        let mut time = timeout.map(|(seconds, nanoseconds)| __kernel_old_timespec {
            tv_sec: seconds as _,
            tv_nsec: nanoseconds as _,
        });
        let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let sigset = linux_aio::abi::__aio_sigset {
            sigmask: ptr::from_ref(mask).expose_provenance() as _,
            sigsetsize: mask_size as _,
        };
        // SAFETY: There is room for one event, and everything else lives during the call.
        let taken = check(unsafe {
            sys::io_pgetevents(self.id, 1, 1, &raw mut event, time, &raw const sigset)
        })?;
        Ok(vec![event; taken])
    }
}
