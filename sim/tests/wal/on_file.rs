//! The same log on `linux_aio::File`, of either driver. The file writes what is short to its end by
//! itself, so that mistake cannot be made here.

use crate::record::{HEADER, Mistake, encode, first_of};
use linux_aio::{Direct, File, FileDriver};
use linux_aio_sim::Sim;
use std::io;

pub(crate) struct FileWal<D> {
    file: File<D>,
    /// Where the next record goes.
    end: u64,
    /// The checksum of the last record.
    last: u64,
    mistake: Mistake,
}

impl<D: FileDriver> FileWal<D> {
    /// Opens a log, and returns the records that are in it, which are durable.
    pub(crate) async fn open(
        driver: &D,
        sim: &Sim,
        direct: Direct,
        mistake: Mistake,
    ) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let file = options.open(driver, sim.path("wal")).await?;
        if mistake != Mistake::NoDirectorySync {
            File::open(driver, sim.path("")).await?.sync_all().await?;
        }
        let mut bytes = Vec::new();
        loop {
            let (count, buf) = file.read_at(vec![0; 4096], bytes.len() as u64).await;
            let count = count?;
            bytes.extend(&buf[..count]);
            if count == 0 {
                break;
            }
        }
        let (mut records, mut rest, mut last) = (Vec::new(), &bytes[..], 0);
        while let Some((body, checksum)) = first_of(rest, last, mistake) {
            rest = &rest[HEADER + body.len()..];
            last = checksum;
            records.push(body.to_vec());
        }
        let end = match mistake {
            Mistake::TornTailTrusted => bytes.len() as u64,
            _ => (bytes.len() - rest.len()) as u64,
        };
        if mistake != Mistake::RecoveryWithoutSync {
            // The process before may have been killed between its writes and its sync.
            file.sync_data().await?;
        }
        Ok((Self { file, end, last, mistake }, records))
    }

    /// Appends records. When this returns `Ok`, they are durable. After an error the log must be
    /// opened again.
    pub(crate) async fn append(&mut self, bodies: &[Vec<u8>]) -> io::Result<()> {
        for body in bodies {
            let (record, checksum) = encode(body, self.last, self.mistake);
            let length = record.len() as u64;
            self.file.write_all_at(record, self.end).await.0?;
            (self.end, self.last) = (self.end + length, checksum);
        }
        match self.mistake {
            Mistake::NoSync => Ok(()),
            Mistake::SyncErrorIgnored => {
                let _ = self.file.sync_data().await;
                Ok(())
            }
            _ => self.file.sync_data().await,
        }
    }
}
