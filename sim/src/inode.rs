//! [`Inode`], a simulated file: what programs see of it, and what a crash may leave.
//!
//! A file is what was durable at some time, and the log of changes since then, in the order of
//! their execution. A sync marks the changes that it covers. A crash replays the log. Each sector
//! becomes one of the versions that it has had, no older than the marked one. The length becomes
//! one of the lengths that the file has had, by the same rule. So lengths and data are independent,
//! as Linux permits: a length may survive without its data, which then reads as zeros.

use crate::faults::Faults;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// All sectors of a file.
pub(crate) const EVERYWHERE: Range<u64> = 0..u64::MAX;
/// The longest file, so that a wrong offset fails as on a disk, and does not use up the memory.
const LONGEST: u64 = 1 << 30;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Inode {
    /// The content that programs read.
    content: Vec<u8>,
    /// The content that has become durable, without what the log holds. Its length is the durable
    /// length.
    durable: Vec<u8>,
    log: Vec<Change>,
    next_number: u64,
    /// Versions of sectors that a failed sync has given up: sector and number of the change.
    lost: BTreeSet<(u64, u64)>,
    /// Those of them that programs do not see any more. A later version does not contain them.
    dropped: BTreeSet<(u64, u64)>,
    /// Sectors that cannot be read.
    unreadable: BTreeSet<u64>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    what: What,
    /// A sync has made it durable.
    forced: bool,
}

#[derive(Debug)]
enum What {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

/// Chooses what a crash keeps of the changes that are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Everything,
    Nothing,
    Some,
}

/// The sectors of `length` bytes at `at`.
fn sectors(at: u64, length: usize, size: usize) -> Range<u64> {
    let size = size as u64;
    at / size..(at + length as u64).div_ceil(size)
}

impl Inode {
    pub(crate) fn len(&self) -> u64 {
        self.content.len() as u64
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Returns the number of the next change: a sync that is submitted now covers those before.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Returns whether a write may end there.
    pub(crate) fn may_be_so_long(length: u64) -> bool {
        length <= LONGEST
    }

    fn note(&mut self, what: What) {
        let number = self.next_number;
        self.next_number += 1;
        self.log.push(Change { number, what, forced: false });
    }

    pub(crate) fn set_len(&mut self, length: u64) {
        if length != self.len() {
            self.content.resize(length as usize, 0);
            self.note(What::Length(length));
        }
    }

    /// Writes bytes, which may lengthen the file.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8], size: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len() as u64;
        if end > self.len() {
            self.set_len(end);
        }
        self.content[at as usize..end as usize].copy_from_slice(bytes);
        self.note(What::Write { at, bytes: bytes.to_vec() });
        for sector in sectors(at, bytes.len(), size) {
            let start = sector * size as u64;
            if at <= start && start + size as u64 <= end {
                self.unreadable.remove(&sector);
            }
        }
    }

    /// Returns how many bytes at `at` can be read before a sector that cannot.
    pub(crate) fn readable(&self, at: u64, length: usize, size: usize) -> usize {
        let mut sectors = sectors(at, length, size);
        match sectors.find(|sector| self.unreadable.contains(sector)) {
            Some(bad) => (bad * size as u64).saturating_sub(at) as usize,
            None => length,
        }
    }

    pub(crate) fn make_unreadable(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// Changes a bit, in the cache and on the disk.
    pub(crate) fn rot(&mut self, at: u64, bit: u8) {
        for copy in [&mut self.content, &mut self.durable] {
            if let Some(byte) = copy.get_mut(at as usize) {
                *byte ^= 1 << bit;
            }
        }
        for change in &mut self.log {
            if let What::Write { at: start, bytes } = &mut change.what {
                let byte = at.checked_sub(*start).and_then(|at| bytes.get_mut(at as usize));
                if let Some(byte) = byte {
                    *byte ^= 1 << bit;
                }
            }
        }
    }

    /// Returns the number of changes that are not durable.
    pub(crate) fn uncovered(&self) -> usize {
        self.log.iter().filter(|change| !change.forced).count()
    }

    /// Makes the changes before `number` durable.
    pub(crate) fn force(&mut self, number: u64, size: usize) {
        for change in &mut self.log {
            change.forced |= change.number < number;
        }
        self.shorten_log(size);
    }

    /// Makes the newest change durable, and the length that it needs: `RWF_DSYNC`.
    pub(crate) fn force_newest(&mut self, size: usize) {
        let Some(newest) = self.log.last_mut() else { return };
        newest.forced = true;
        let length = self.log.iter_mut().rfind(|change| matches!(change.what, What::Length(_)));
        if let Some(length) = length {
            length.forced = true;
        }
        self.shorten_log(size);
    }

    /// Gives up changes of these sectors before `number`, by halves. What a failed sync has lost
    /// stays lost, but programs still see it. Returns the number of sectors.
    pub(crate) fn lose(
        &mut self,
        number: u64,
        among: Range<u64>,
        size: usize,
        random: &mut Random,
    ) -> usize {
        let mut count = 0;
        for (sector, versions) in self.versions(size) {
            if !among.contains(&sector) {
                continue;
            }
            let pending = versions.iter().filter(|version| !version.1 && version.0 < number);
            let pending: Vec<_> = pending.map(|version| (sector, version.0)).collect();
            if !pending.is_empty() && random.one_in(2) {
                count += 1;
                self.lost.extend(pending);
            }
        }
        count
    }

    /// Drops from the cache what a failed sync has given up, as memory pressure does.
    pub(crate) fn drop_lost(&mut self, faults: &Faults, random: &mut Random) {
        if self.lost.is_empty() {
            return;
        }
        for (sector, versions) in self.versions(faults.sector) {
            let keys = versions.iter().rev().map(|version| (sector, version.0));
            let dropped: Vec<_> = keys.take_while(|key| self.lost.contains(key)).collect();
            self.dropped.extend(dropped);
        }
        let length = self.content.len();
        self.content = self.replay(Keep::Everything, faults, random).0;
        self.content.resize(length, 0);
    }

    /// Moves changes at the beginning of the log that are durable out of it.
    fn shorten_log(&mut self, size: usize) {
        let mut count = 0;
        for change in &self.log {
            let is_lost = match &change.what {
                What::Write { at, bytes } => sectors(*at, bytes.len(), size)
                    .any(|sector| self.lost.contains(&(sector, change.number))),
                What::Length(_) => false,
            };
            if !change.forced || is_lost {
                break;
            }
            count += 1;
        }
        for change in self.log.drain(..count) {
            match change.what {
                What::Length(length) => self.durable.resize(length as usize, 0),
                What::Write { at, bytes } => put(&mut self.durable, at, &bytes),
            }
        }
    }

    /// The versions of each sector that the log knows: the number of the change, and whether it is
    /// durable.
    fn versions(&self, size: usize) -> BTreeMap<u64, Vec<(u64, bool)>> {
        let mut versions: BTreeMap<u64, Vec<(u64, bool)>> = BTreeMap::new();
        for change in &self.log {
            if let What::Write { at, bytes } = &change.what {
                for sector in sectors(*at, bytes.len(), size) {
                    if self.dropped.contains(&(sector, change.number)) {
                        continue;
                    }
                    let lost = self.lost.contains(&(sector, change.number));
                    let version = (change.number, change.forced && !lost);
                    versions.entry(sector).or_default().push(version);
                }
            }
        }
        versions
    }

    /// Returns what the disk holds after a crash, and a text for the trace.
    fn replay(&self, keep: Keep, faults: &Faults, random: &mut Random) -> (Vec<u8>, String) {
        let size = faults.sector;
        let (mut kept, mut dropped) = (0, 0);
        let mut bounds = BTreeMap::new();
        let mut torn = BTreeMap::new();
        for (sector, versions) in self.versions(size) {
            let least = versions.iter().rposition(|version| version.1).map_or(0, |last| last + 1);
            let is_on_disk = |count: &usize| {
                let lost = |last: usize| self.lost.contains(&(sector, versions[last].0));
                *count == least || !lost(*count - 1)
            };
            let possible: Vec<usize> = (least..=versions.len()).filter(is_on_disk).collect();
            let count = match keep {
                Keep::Everything => possible[possible.len() - 1],
                Keep::Nothing => possible[0],
                Keep::Some => possible[random.index(possible.len())],
            };
            kept += count - least;
            dropped += versions.len() - count;
            let bound = |count: usize| versions.get(count).map_or(u64::MAX, |next| next.0);
            bounds.insert(sector, bound(count));
            let may_tear = faults.torn_sectors && keep == Keep::Some && count < versions.len();
            if may_tear && random.one_in(4) {
                let part = random.index(size) as u64;
                torn.insert(sector, (bound(count + 1), sector * size as u64 + part));
            }
        }
        let lengths: Vec<(u64, bool)> = self.log.iter().filter_map(Change::length).collect();
        let least = lengths.iter().rposition(|length| length.1).map_or(0, |last| last + 1);
        let count = match keep {
            Keep::Everything => lengths.len(),
            Keep::Nothing => least,
            Keep::Some => least + random.index(lengths.len() - least + 1),
        };
        let length = match count {
            0 => self.durable.len() as u64,
            count => lengths[count - 1].0,
        };
        let (mut data, mut lengths_left) = (self.durable.clone(), count);
        for change in &self.log {
            match &change.what {
                What::Length(length) if lengths_left > 0 => {
                    lengths_left -= 1;
                    data.resize(*length as usize, 0);
                }
                What::Length(_) => {}
                What::Write { at, bytes } => {
                    for sector in sectors(*at, bytes.len(), size) {
                        let start = (*at).max(sector * size as u64);
                        let end = (*at + bytes.len() as u64).min((sector + 1) * size as u64);
                        let is_dropped = self.dropped.contains(&(sector, change.number));
                        let bound = bounds.get(&sector).copied().unwrap_or(0);
                        let end = match torn.get(&sector) {
                            _ if is_dropped => continue,
                            _ if change.number < bound => end,
                            Some((bound, at)) if change.number < *bound => end.min(*at),
                            _ => continue,
                        };
                        if start < end {
                            let part = (start - at) as usize..(end - at) as usize;
                            put(&mut data, start, &bytes[part]);
                        }
                    }
                }
            }
        }
        data.resize(length as usize, 0);
        let text = format!(
            "length {length} of {}, {kept} versions of sectors kept, {dropped} lost, {} torn",
            self.content.len(),
            torn.len(),
        );
        (data, text)
    }

    /// Has the power fail: what is not durable is kept or lost. Returns a text for the trace.
    pub(crate) fn crash(&mut self, faults: &Faults, random: &mut Random) -> String {
        let keep = match random.below(6) {
            _ if !faults.lost_writes => Keep::Everything,
            0 => Keep::Everything,
            1 => Keep::Nothing,
            _ => Keep::Some,
        };
        let (data, text) = self.replay(keep, faults, random);
        self.durable.clone_from(&data);
        self.content = data;
        self.log.clear();
        self.lost.clear();
        self.dropped.clear();
        text
    }
}

impl Change {
    fn length(&self) -> Option<(u64, bool)> {
        match self.what {
            What::Length(length) => Some((length, self.forced)),
            What::Write { .. } => None,
        }
    }
}

/// Puts bytes at a position, behind the end if need be.
fn put(data: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (at, end) = (at as usize, at as usize + bytes.len());
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{EVERYWHERE, Inode};
    use crate::faults::Faults;
    use crate::random::Random;
    use std::collections::BTreeSet;

    const SIZE: usize = 512;

    /// Tests what a thousand crashes leave of a file.
    fn crashes(make: impl Fn(&mut Inode)) -> BTreeSet<Vec<u8>> {
        let mut random = Random::new(1);
        let crash = |_| {
            let mut inode = Inode::default();
            make(&mut inode);
            inode.crash(&Faults::legal(), &mut random);
            inode.content().to_vec()
        };
        (0..1000).map(crash).collect()
    }

    /// The first byte of each sector, and the length.
    fn outline(data: &[u8]) -> (Vec<u8>, usize) {
        (data.iter().step_by(SIZE).copied().collect(), data.len())
    }

    #[test]
    fn synced_data_and_lengths_survive_every_crash() {
        let left = crashes(|inode| {
            inode.write(0, &[1; 700], SIZE);
            inode.force(inode.next_number(), SIZE);
        });
        assert_eq!(left, BTreeSet::from([vec![1; 700]]));
    }

    #[test]
    fn unsynced_sectors_are_kept_or_lost_one_by_one() {
        let left = crashes(|inode| {
            inode.write(0, &[1; 1024], SIZE);
            inode.force(inode.next_number(), SIZE);
            inode.write(0, &[2; 1024], SIZE);
        });
        let left: BTreeSet<_> = left.iter().map(|data| outline(data)).collect();
        let all = [[1, 1], [1, 2], [2, 1], [2, 2]].map(|first| (first.to_vec(), 1024));
        assert_eq!(left, BTreeSet::from(all));
    }

    #[test]
    fn a_sector_is_a_version_that_it_has_had() {
        let left = crashes(|inode| {
            inode.write(0, &[0; 4], SIZE);
            inode.force(inode.next_number(), SIZE);
            inode.write(0, &[1], SIZE);
            inode.write(1, &[2], SIZE);
        });
        // Not [0, 2]: the second version of the sector contains the first.
        let all = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0]].map(|data| data.to_vec());
        assert_eq!(left, BTreeSet::from(all));
    }

    #[test]
    fn a_length_may_survive_without_its_data_and_reads_as_zeros() {
        let left = crashes(|inode| inode.write(0, &[7; 4], SIZE));
        assert_eq!(left, BTreeSet::from([vec![], vec![0; 4], vec![7; 4]]));
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_was_submitted() {
        let left = crashes(|inode| {
            inode.write(0, &[1], SIZE);
            let number = inode.next_number();
            inode.write(SIZE as u64, &[2], SIZE);
            inode.force(number, SIZE);
        });
        assert!(left.iter().all(|data| data[0] == 1), "the first byte is durable");
        assert!(left.iter().any(|data| data.len() == 1), "the second write may be lost");
    }

    #[test]
    fn dsync_covers_its_own_range_alone() {
        let left = crashes(|inode| {
            inode.write(0, &[1; 1024], SIZE);
            inode.write(512, &[2; 512], SIZE);
            inode.force_newest(SIZE);
        });
        assert!(left.iter().all(|data| data.len() == 1024 && data[512] == 2));
        assert!(left.iter().any(|data| data[0] == 0), "the earlier write may be lost");
    }

    #[test]
    fn what_a_failed_sync_has_lost_no_later_sync_brings_back() {
        let left = crashes(|inode| {
            inode.write(0, &[1; 4], SIZE);
            // By halves: a seed that loses it.
            let lost = (0..).any(|seed| {
                inode.lose(inode.next_number(), EVERYWHERE, SIZE, &mut Random::new(seed)) > 0
            });
            assert!(lost && inode.content() == [1; 4], "programs still see it");
            inode.force(inode.next_number(), SIZE);
        });
        assert_eq!(left, BTreeSet::from([vec![0; 4]]));
    }

    #[test]
    fn what_has_left_the_cache_is_not_in_a_later_version() {
        let left = crashes(|inode| {
            inode.write(0, &[1; 4], SIZE);
            let lost = (0..).any(|seed| {
                inode.lose(inode.next_number(), EVERYWHERE, SIZE, &mut Random::new(seed)) > 0
            });
            inode.drop_lost(&Faults::failing(), &mut Random::new(0));
            assert!(lost && inode.content() == [0; 4], "programs see what the disk has");
            inode.write(2, &[2; 2], SIZE);
            inode.force(inode.next_number(), SIZE);
            assert_eq!(inode.content(), [0, 0, 2, 2]);
        });
        assert_eq!(left, BTreeSet::from([vec![0, 0, 2, 2]]));
    }

    #[test]
    fn a_shortened_file_that_grows_again_reads_as_zeros() {
        let left = crashes(|inode| {
            inode.write(0, &[9; 8], SIZE);
            inode.set_len(0);
            inode.set_len(8);
            inode.force(inode.next_number(), SIZE);
        });
        assert_eq!(left, BTreeSet::from([vec![0; 8]]));
    }
}
