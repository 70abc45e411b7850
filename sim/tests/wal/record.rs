//! The records of a log, and what a log does wrong.
//!
//! A record is a length, a checksum and a body. The checksum covers the length, the body and the
//! checksum of the record before. So a record that an earlier process has left behind the end does
//! not become part of the log when another record takes the place before it.

/// Bytes before a body: length and checksum.
pub(crate) const HEADER: usize = 16;
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

/// Returns a record, and its checksum. `before` is the checksum of the record before it.
pub(crate) fn encode(body: &[u8], before: u64, mistake: Mistake) -> (Vec<u8>, u64) {
    let checksum = checksum(body, before, mistake);
    let mut record = (body.len() as u64).to_le_bytes().to_vec();
    record.extend(checksum.to_le_bytes());
    record.extend(body);
    (record, checksum)
}

/// Returns the body of the first record, if there is one, and its checksum.
pub(crate) fn first_of(bytes: &[u8], before: u64, mistake: Mistake) -> Option<(&[u8], u64)> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (length, sum) = (usize::try_from(word(0)?).ok()?, word(8)?);
    if length == 0 || length > LONGEST {
        return None;
    }
    let body = bytes.get(HEADER..HEADER + length)?;
    let valid = sum == checksum(body, before, mistake);
    (valid || mistake == Mistake::NoChecksum).then_some((body, sum))
}

/// FNV-1a, enough for a test.
fn checksum(body: &[u8], before: u64, mistake: Mistake) -> u64 {
    let length = (body.len() as u64).to_le_bytes();
    let body = if mistake == Mistake::LengthTrusted { &[] } else { body };
    let bytes = before.to_le_bytes().into_iter().chain(length).chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
