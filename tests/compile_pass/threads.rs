//! What may be sent and shared.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::op::{Any, Read};
use linux_aio::{
    AlignedBuf, Errno, EventFd, Fd, IoContext, IoEvent, Iocb, OwnedReaper, OwnedSubmitter, Queue,
    Reaper, SetupError, Submitter, Token,
};
use std::fs::File;

fn send<T: Send>() {}
fn send_and_sync<T: Send + Sync>() {}
fn copy<T: Copy>() {}

fn main() {
    send_and_sync::<IoContext>();
    send_and_sync::<Submitter<'static>>();
    copy::<Submitter<'static>>();
    send::<Reaper<'static>>();
    send_and_sync::<OwnedSubmitter>();
    send::<OwnedReaper>();
    send::<Queue<Any<File, Vec<u8>>>>();
    send::<Queue<Read<File, AlignedBuf>>>();
    send_and_sync::<AlignedBuf>();
    send_and_sync::<EventFd>();
    send_and_sync::<Fd<'static>>();
    send_and_sync::<Iocb>();
    send_and_sync::<IoEvent>();
    send_and_sync::<Token>();
    send_and_sync::<Errno>();
    send_and_sync::<SetupError>();
}
