//! Asks whether a range of a file is in the page cache, which the kernel tells without any I/O.

use super::{File, FileDriver, call};
use crate::RwFlags;
use core::ops::Range;
use rustix::fd::AsFd;

/// Returns whether the page cache has all pages of a range. `None` if the kernel does not tell:
/// before Linux 6.5, or for a file that the process may not write, unless it owns it.
pub(super) fn has_all(file: impl AsFd, offset: u64, len: u64) -> Option<bool> {
    let page = rustix::param::page_size() as u64;
    let first = offset - offset % page;
    let pages = (offset + len - first).div_ceil(page);
    let cached = call::cached_pages(file, first, pages * page)?;
    Some(cached >= pages)
}

/// Finds out what a stream can take from the page cache.
pub(super) struct PageCache<D> {
    /// False if the kernel does not tell, or the file cannot be read through the page cache.
    is_useful: bool,
    /// The same file without `O_DIRECT`, once some of a direct file was found in the page cache.
    through: Option<File<D>>,
}

impl<D: FileDriver> PageCache<D> {
    pub(super) fn new() -> Self {
        Self { is_useful: true, through: None }
    }

    /// Returns the handle to copy a range from the page cache with, if that has all of it.
    pub(super) fn cached<'a>(
        &'a mut self,
        file: &'a File<D>,
        range: &Range<u64>,
    ) -> Option<&'a File<D>> {
        if !self.is_useful {
            return None;
        }
        let cached = has_all(file.cached_side(), range.start, range.end - range.start);
        self.is_useful = cached.is_some();
        if cached != Some(true) {
            return None;
        }
        if !file.is_direct() {
            return Some(file);
        }
        if self.through.is_none() {
            self.through = file.through_page_cache();
            self.is_useful = self.through.is_some();
        }
        self.through.as_ref()
    }

    /// Returns the handle to read a range with.
    pub(super) fn file<'a>(&'a mut self, file: &'a File<D>, range: &Range<u64>) -> &'a File<D> {
        self.cached(file, range).unwrap_or(file)
    }
}

impl<D: FileDriver> File<D> {
    /// Returns the descriptor that goes through the page cache, if there is one.
    pub(super) fn cached_side(&self) -> &std::fs::File {
        self.access.open.descriptor(false)
    }

    /// Returns the same file without `O_DIRECT`. `None` if there is no second descriptor, or none
    /// is to be had.
    pub(super) fn through_page_cache(&self) -> Option<Self> {
        let file = self.access.open.second.as_ref()?.try_clone().ok()?;
        Self::from_std(file, &self.access.driver).ok()
    }

    /// Takes flags off a handle.
    pub(super) fn without(mut self, flags: RwFlags) -> Self {
        self.access.rw_flags = self.access.rw_flags.difference(flags);
        self
    }
}
