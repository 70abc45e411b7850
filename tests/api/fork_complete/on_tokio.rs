//! What a forked child does with `linux_aio::tokio`.

use super::checks::Check;
use linux_aio::{File, tokio};

pub(crate) const TOKIO: &[(&str, Check)] = &[
    ("tokio::driver", |_| {
        // The child has a runtime of its own.
        let builder = &mut ::tokio::runtime::Builder::new_current_thread();
        builder.enable_io().build().expect("a runtime").block_on(async {
            let driver = tokio::driver(2).expect("a driver of the child's");
            let file = File::open(&driver, "/dev/zero").await.expect("a file");
            let (result, buf) = file.read_at(vec![1; 8], 0).await;
            assert_eq!((result.expect("a read"), buf), (8, vec![0; 8]));
            driver.close().await;
        });
    }),
    ("tokio::local_driver", |_| {
        let builder = &mut ::tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build().expect("a runtime");
        ::tokio::task::LocalSet::new().block_on(&runtime, async {
            let driver = tokio::local_driver(2).expect("a driver of the child's");
            let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
            let read = linux_aio::op::Read::new(zero, [1; 8], 0);
            assert_eq!(driver.perform(read).await.0, Ok(8));
            driver.close().await;
        });
    }),
];
