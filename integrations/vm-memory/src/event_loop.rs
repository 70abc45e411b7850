//! The loop of a device's thread: it waits for the guest and for the disk.

use crate::Disk;
use linux_aio::EventFd;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

const GUEST: u64 = 0;
const DISK: u64 = 1;

/// Serves a disk until `stop` is set and the guest kicks. `kick` is signalled by the guest, and
/// `interrupt` is signalled for it.
///
/// # Errors
/// Those of `epoll_wait(2)`, and of [`Disk::take_requests`].
pub fn serve(
    disk: &mut Disk,
    kick: &EventFd,
    interrupt: &EventFd,
    stop: &AtomicBool,
) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, kick.fd(), EventData::new_u64(GUEST), EventFlags::IN)?;
    epoll::add(&epoll, disk.completion_fd()?, EventData::new_u64(DISK), EventFlags::IN)?;
    while !stop.load(Ordering::Acquire) {
        let mut events = [MaybeUninit::uninit(); 2];
        let events = match epoll::wait(&epoll, &mut events, None) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mut must_interrupt = false;
        for event in events {
            must_interrupt |= match event.data.u64() {
                GUEST => {
                    kick.take()?;
                    disk.take_requests()?
                }
                _ => disk.complete()?,
            };
        }
        if must_interrupt {
            interrupt.add(1)?;
        }
    }
    Ok(())
}
