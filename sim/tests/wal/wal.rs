//! A write-ahead log on `linux_aio::Queue`, with mistakes to choose from.
//!
//! A record is a length, a checksum and a body. The checksum covers the length, the body and the
//! checksum of the record before. So a record that an earlier process has left behind the end does
//! not become part of the log when another record takes the place before it.

use linux_aio::op::{Any, Fdsync, Read, Write};
use linux_aio::{Completion, Errno, Queue};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes before a body: length and checksum.
const HEADER: usize = 16;
/// The longest body.
const LONGEST: usize = 1 << 16;

/// What a log does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Nothing.
    None,
    /// It acknowledges records without fdatasync.
    NoSync,
    /// It submits the fdatasync together with the writes that it shall cover.
    SyncBesideTheWrites,
    /// It does not sync the directory after it has created the file.
    NoDirectorySync,
    /// It takes a short write for a whole one.
    ShortWriteTakenForWhole,
    /// It appends at the end of the file, where a torn record may lie in front.
    TornTailTrusted,
    /// It takes a record for valid if its length is one.
    NoChecksum,
    /// Its checksum covers the header. It trusts that the file's length vouches for the body.
    LengthTrusted,
    /// It acknowledges records although fdatasync has failed.
    SyncErrorIgnored,
    /// Recovery does not sync what it has read before it reports it.
    RecoveryWithoutSync,
}

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
        while let Some((body, checksum)) = wal.first_of(rest) {
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
            let checksum = self.checksum(self.last, body);
            let mut record = (body.len() as u64).to_le_bytes().to_vec();
            record.extend(checksum.to_le_bytes());
            record.extend(body);
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

    /// The first record, if there is one, and its checksum.
    fn first_of<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], u64)> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (length, checksum) = (usize::try_from(word(0)?).ok()?, word(8)?);
        if length == 0 || length > LONGEST {
            return None;
        }
        let body = bytes.get(HEADER..HEADER + length)?;
        let valid = checksum == self.checksum(self.last, body);
        (valid || self.mistake == Mistake::NoChecksum).then_some((body, checksum))
    }

    /// FNV-1a, enough for a test.
    fn checksum(&self, before: u64, body: &[u8]) -> u64 {
        let length = (body.len() as u64).to_le_bytes();
        let body = if self.mistake == Mistake::LengthTrusted { &[] } else { body };
        let bytes = before.to_le_bytes().into_iter().chain(length).chain(body.iter().copied());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}
