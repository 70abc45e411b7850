//! The [`Work`] of each driver, and how requests go on. The futures are the same; the boxes are
//! not.

use super::File;
use super::access::Access;
use super::drivers::InPlace;
use super::memory::Memory;
use super::step::Step;
use super::transfer::{GoesOn, Way};
use super::whole::Moved;
use super::work::{Cut, Work};
use crate::{Driver, LocalDriver, Part};
use alloc::boxed::Box;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use std::io;

macro_rules! in_boxes {
    ($driver:ty, $boxed:ty) => {
        impl GoesOn for $driver {
            fn go_on<M: Memory>(
                access: Access<Self>,
                step: Box<Step<M>>,
                way: Way,
            ) -> Self::Boxed<(Moved, M)> {
                Box::pin(async move { access.go_on(step, way).await })
            }
        }

        impl Work for $driver {
            type Boxed<T: Send + 'static> = $boxed;

            fn read<B>(file: File<Self>, buf: B, offset: u64) -> Self::Boxed<(io::Result<usize>, B)>
            where
                B: AsMut<[u8]> + Send + 'static,
            {
                Box::pin(async move { file.read_at(buf, offset).await })
            }

            fn write<B>(
                file: File<Self>,
                mut buf: B,
                part: Range<usize>,
                offset: u64,
            ) -> Self::Boxed<(usize, io::Result<()>)>
            where
                B: AsRef<[u8]> + Send + 'static,
            {
                Box::pin(async move {
                    let mut done = 0;
                    while done < part.len() {
                        let rest = Part::new(buf, part.start + done..part.end);
                        let (result, rest) = file.write_at(rest, offset + done as u64).await;
                        buf = rest.into_inner();
                        match result {
                            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                            Ok(count) => done += count,
                            Err(error) => return (done, Err(error)),
                        }
                    }
                    (done, Ok(()))
                })
            }

            fn allocate(file: File<Self>, range: Range<u64>) -> Self::Boxed<io::Result<()>> {
                Box::pin(async move { file.allocate(range.start, range.end - range.start).await })
            }

            fn finish(
                file: File<Self>,
                cut: Option<Cut>,
                sync: bool,
            ) -> Self::Boxed<io::Result<()>> {
                Box::pin(async move {
                    if let Some(Cut { exact, most }) = cut {
                        let len = file.metadata()?.len();
                        if exact < len && len <= most {
                            file.set_len(exact).await?;
                        }
                    }
                    if sync { file.sync_data().await } else { Ok(()) }
                })
            }
        }
    };
}

in_boxes!(Driver, Pin<Box<dyn Future<Output = T> + Send>>);
in_boxes!(InPlace, Pin<Box<dyn Future<Output = T> + Send>>);
in_boxes!(LocalDriver, Pin<Box<dyn Future<Output = T>>>);
