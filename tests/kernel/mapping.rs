//! The kernel: the ring as a mapping that can be moved and unmapped. In children, since a context
//! whose ring is gone lasts as long as the process.

use crate::common;

use common::Watchdog;
use common::child::{Ended, in_child};
use common::raw::{Context, data_of, read_of};
use linux_aio::Errno;
use linux_aio::abi::{io_event, iocb};
use std::fs::File;
use std::os::fd::AsRawFd;

fn complete(context: &Context, first: u64, count: u64) {
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut byte = [0u8];
    let mut iocbs: Vec<iocb> =
        (first..first + count).map(|i| read_of(zero.as_raw_fd(), &mut byte, i)).collect();
    assert_eq!(context.submit(&mut iocbs), Ok(count as usize));
}

/// Whole pages.
fn size_of_ring(context: &Context) -> usize {
    // SAFETY: No argument but a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    (32 + context.ring().nr as usize * size_of::<io_event>()).next_multiple_of(page)
}

/// Goal: without its ring a context is not to be reached any more.
#[test]
fn a_context_whose_ring_is_unmapped_is_out_of_reach() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let mut context = Context::new(4);
        complete(&context, 0, 2);
        let (ring, size) = (context.ring_address(), size_of_ring(&context));
        // SAFETY: Nobody reads the ring after this.
        assert_eq!(unsafe { libc::munmap(ring.cast(), size) }, 0);
        assert_eq!(context.submit(&mut []), Err(Errno::EINVAL));
        assert_eq!(context.getevents(0, 2, Some((0, 0))), Err(Errno::EINVAL));
        assert_eq!(context.destroy(), Err(Errno::EINVAL));
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a ring that is moved takes its context along: the new address is the context's number, and
/// the old one is nobody's.
#[test]
fn a_ring_that_is_moved_changes_the_contexts_number() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let mut context = Context::new(4);
        complete(&context, 0, 2);
        let (ring, size) = (context.ring_address(), size_of_ring(&context));
        let new = common::files::Pages::new(size, libc::PROT_NONE);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: The target pages are ours, and nobody reads the ring at its old place after this.
        let moved = unsafe { libc::mremap(ring.cast(), size, size, flags, new.start) };
        assert_eq!(moved.cast(), new.start, "{}", std::io::Error::last_os_error());
        let old = context.id;
        core::mem::forget(new);
        context.id = moved.expose_provenance() as _;
        assert_eq!(data_of(&context.wait(2, 2)), [0, 1]);
        complete(&context, 2, 3);
        assert_eq!((context.ring().head, context.ring().tail), (2, 5));
        assert_eq!(data_of(&context.wait(3, 3)), [2, 3, 4]);
        let old = Context { id: old };
        assert_eq!(old.submit(&mut []), Err(Errno::EINVAL));
        assert_eq!(context.destroy(), Ok(0));
    });
    assert_eq!(ended, Ended::WELL);
}
