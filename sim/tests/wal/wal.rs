//! A write-ahead log on `linux_aio::Queue`, with mistakes to choose from.

use crate::record::{HEADER, Mistake, encode, first_of};
use linux_aio::op::{Any, Fdsync, Read, Write};
use linux_aio::{Completion, Errno, Queue};
use std::os::fd::OwnedFd;
use std::sync::Arc;

type File = Arc<OwnedFd>;
type Operation = Any<File, Vec<u8>>;

pub(crate) struct Wal {
    queue: Queue<Operation>,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// The checksum of the last record.
    last: u64,
    mistake: Mistake,
}

impl Wal {
    /// Opens a log, and returns the records that are in it, which are durable.
    pub(crate) fn open(
        file: OwnedFd,
        directory: OwnedFd,
        mistake: Mistake,
    ) -> Result<(Self, Vec<Vec<u8>>), Errno> {
        let queue = Queue::with_capacity(8)?;
        let mut wal = Self { queue, file: Arc::new(file), end: 0, last: 0, mistake };
        if mistake != Mistake::NoDirectorySync {
            wal.sync(&Arc::new(directory))?;
        }
        let bytes = wal.read_all()?;
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while let Some((body, checksum)) = first_of(rest, wal.last, mistake) {
            rest = &rest[HEADER + body.len()..];
            wal.last = checksum;
            records.push(body.to_vec());
        }
        wal.end = match mistake {
            Mistake::TornTailTrusted => bytes.len() as u64,
            _ => (bytes.len() - rest.len()) as u64,
        };
        if mistake != Mistake::RecoveryWithoutSync {
            // The process before may have been killed between its writes and its sync.
            wal.sync(&Arc::clone(&wal.file))?;
        }
        Ok((wal, records))
    }

    /// Appends records. When this returns `Ok`, they are durable. After an error the log must be
    /// opened again.
    pub(crate) fn append(&mut self, bodies: &[Vec<u8>]) -> Result<(), Errno> {
        for body in bodies {
            let (record, checksum) = encode(body, self.last, self.mistake);
            let length = record.len() as u64;
            self.push(Write::new(Arc::clone(&self.file), record, self.end).into())?;
            (self.end, self.last) = (self.end + length, checksum);
        }
        if self.mistake == Mistake::SyncBesideTheWrites {
            self.push(Fdsync::new(Arc::clone(&self.file)).into())?;
        }
        while let Some(done) = self.queue.wait()? {
            self.finish_write(done)?;
        }
        match self.mistake {
            Mistake::NoSync | Mistake::SyncBesideTheWrites => Ok(()),
            Mistake::SyncErrorIgnored => {
                let _ = self.sync(&Arc::clone(&self.file));
                Ok(())
            }
            _ => self.sync(&Arc::clone(&self.file)),
        }
    }

    /// Writes the rest of a write that was short.
    fn finish_write(&mut self, done: Completion<Operation>) -> Result<(), Errno> {
        let count = done.result? as usize;
        let Any::Write(Write { buf, offset, .. }) = done.op else { return Ok(()) };
        if count < buf.len() && self.mistake != Mistake::ShortWriteTakenForWhole {
            let (rest, offset) = (buf[count..].to_vec(), offset + count as u64);
            self.push(Write::new(Arc::clone(&self.file), rest, offset).into())?;
        }
        Ok(())
    }

    fn push(&mut self, operation: Operation) -> Result<(), Errno> {
        self.queue.push(operation).map(drop).map_err(|error| error.errno())
    }

    fn sync(&mut self, file: &File) -> Result<(), Errno> {
        self.push(Fdsync::new(Arc::clone(file)).into())?;
        let done = self.queue.wait()?.expect("a sync is queued");
        done.result.map(drop)
    }

    fn read_all(&mut self) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        loop {
            let at = bytes.len() as u64;
            self.push(Read::new(Arc::clone(&self.file), vec![0; 4096], at).into())?;
            let done = self.queue.wait()?.expect("a read is queued");
            let count = done.result? as usize;
            let Any::Read(Read { buf, .. }) = done.op else { unreachable!("it was a read") };
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend(&buf[..count]);
        }
    }
}
