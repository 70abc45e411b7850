//! The kernel: what a child of fork sees of its parent's context. It is why the library guards its
//! contexts. Linux 6.18 maps the ring in the child, 7.2 maps nothing there.

use crate::common;

use common::child::{Ended, in_child};
use common::raw::{Context, data_of, is_mapped, read_of};
use common::{Watchdog, skip};
use linux_aio::Errno;
use linux_aio::abi::iocb;
use std::fs::File;
use std::os::fd::AsRawFd;

fn with_events(count: u64) -> Context {
    let context = Context::new(16);
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut byte = [0u8];
    let mut iocbs: Vec<iocb> =
        (0..count).map(|i| read_of(zero.as_raw_fd(), &mut byte, i)).collect();
    assert_eq!(context.submit(&mut iocbs), Ok(count as usize));
    context
}

/// Goal: a child sees the ring or nothing, every call is EINVAL, and it costs the parent nothing.
#[test]
fn a_child_sees_the_ring_or_nothing_and_owns_no_context() {
    let _watchdog = Watchdog::new();
    let mut context = with_events(5);
    let ended = in_child(|| {
        if is_mapped(context.ring_address().cast()) {
            let ring = context.ring();
            assert_eq!((ring.head, ring.tail), (0, 5));
        }
        let mut read = iocb::ZERO;
        assert_eq!(context.submit(core::slice::from_mut(&mut read)), Err(Errno::EINVAL));
        assert_eq!(context.submit(&mut []), Err(Errno::EINVAL));
        assert_eq!(context.getevents(0, 1, Some((0, 0))), Err(Errno::EINVAL));
        assert_eq!(context.getevents(0, 0, None), Err(Errno::EINVAL));
        assert_eq!(context.cancel(&raw const read), Err(Errno::EINVAL));
        assert_eq!(context.destroy(), Err(Errno::EINVAL));
    });
    assert_eq!(ended, Ended::WELL);
    assert_eq!(data_of(&context.wait(5, 8)), [0, 1, 2, 3, 4]);
}

/// Goal: the pages are shared: if a child advances head, the parent loses those events.
#[test]
fn a_child_that_advances_head_takes_events_from_its_parent() {
    let _watchdog = Watchdog::new();
    let context = with_events(5);
    let ended = in_child(|| assert!(is_mapped(context.ring_address().cast())));
    if ended != Ended::WELL {
        skip!("this kernel maps no ring in children");
    }
    assert_eq!(in_child(|| context.set_head(3)), Ended::WELL);
    assert_eq!(context.ring().head, 3);
    let left = context.getevents(0, 8, Some((0, 0))).map(|events| data_of(&events));
    assert_eq!(left, Ok(vec![3, 4]));
}

/// Goal: the kernel does not offer to wipe the ring in children: MADV_WIPEONFORK on it is EINVAL.
#[test]
fn the_ring_cannot_be_wiped_in_children() {
    let context = Context::new(4);
    let ring = context.ring_address().cast();
    // SAFETY: The advice is refused; were it taken, it would concern children only.
    let advised = unsafe { libc::madvise(ring, 4096, libc::MADV_WIPEONFORK) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((advised, error), (-1, Some(libc::EINVAL)));
}

/// Goal: a child can make contexts, and not where it sees its parent's ring.
#[test]
fn a_child_makes_contexts_of_its_own() {
    let _watchdog = Watchdog::new();
    let context = with_events(3);
    let ended = in_child(|| {
        let sees_the_ring = is_mapped(context.ring_address().cast());
        let own = with_events(2);
        assert_eq!(data_of(&own.wait(2, 8)), [0, 1]);
        if sees_the_ring {
            assert_ne!(own.id, context.id);
            assert_eq!(context.ring().tail, 3);
        }
    });
    assert_eq!(ended, Ended::WELL);
    assert_eq!(data_of(&context.wait(3, 8)), [0, 1, 2]);
}
