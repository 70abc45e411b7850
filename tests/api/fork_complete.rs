//! What each public function does in a forked child, where none of the parent's threads is left and
//! any lock may be held for good: it returns, with the answer that its documentation names.

use crate::common;

mod api;
mod checks;
mod in_slots;
mod on_driver;
mod on_file;
mod on_local;
mod on_streams;
#[cfg(feature = "tokio")]
mod on_tokio;
mod plain;
mod world;

use checks::Check;
use common::child::{Ended, in_child};
use common::skip;
use linux_aio::raw::ForkGuard;
use std::collections::BTreeSet;
use std::process::Command;
use world::World;

type Table = &'static [(&'static str, Check)];

/// What may meet a lock.
const LOCKING: &[Table] = &[
    on_driver::DRIVER,
    on_file::FILE,
    on_streams::STREAMS,
    on_file::BLOCKING,
    #[cfg(feature = "tokio")]
    on_tokio::TOKIO,
];

/// What may not.
const OTHERS: &[Table] =
    &[on_local::LOCAL, in_slots::QUEUE, in_slots::SCOPE, checks::CONTEXT, checks::OTHERS];

/// Goal: no public function is forgotten below. Method: what the sources declare is compared with
/// what is tried and with what needs no trial.
#[test]
fn every_public_function_is_tried_or_needs_none() {
    let mut declared = api::public_functions();
    if cfg!(not(feature = "tokio")) {
        declared.retain(|name| !name.starts_with("tokio::"));
    }
    let mut listed = BTreeSet::new();
    let tried = LOCKING.iter().chain(OTHERS).copied().flatten().map(|it| it.0.to_owned());
    for name in tried.chain(plain::names()) {
        assert!(listed.insert(name.clone()), "{name} is listed twice");
    }
    let new: Vec<_> = declared.difference(&listed).collect();
    assert!(
        new.is_empty(),
        "what does a forked child get from {new:#?}? Try it in tests/api/fork_complete/checks.rs, and say so on its page"
    );
    let gone: Vec<_> = listed.difference(&declared).collect();
    assert!(gone.is_empty(), "{gone:#?} are listed, and no longer public");
}

/// Goal: in a child each function returns, with the documented answer, and costs the parent
/// nothing. Method: a process of its own has a value of every type in every state, and threads that
/// hold the drivers' locks as often as they can; each function is tried in children of it, which an
/// alarm ends; then the process completes all that it had begun. What may meet a lock is tried
/// twice, or as often as `LINUX_AIO_FORK_TRIES` says.
#[test]
fn every_public_function_returns_in_a_forked_child() {
    const CHOSEN: &str = "LINUX_AIO_FORKS";
    if !ForkGuard::of_this_process().notices_forks() {
        skip!("this kernel wipes no page in children");
    }
    if std::env::var_os(CHOSEN).is_none() {
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        let test = "fork_complete::every_public_function_returns_in_a_forked_child";
        command.args([test, "--exact", "--nocapture"]).env(CHOSEN, "yes");
        assert!(command.status().expect("it starts").success());
        return;
    }
    // At a fork the lock is held more often than not.
    let tries = std::env::var("LINUX_AIO_FORK_TRIES");
    let tries = tries.map_or(2, |tries| tries.parse().expect("a number"));
    world::run(
        |world| try_in_children(tries, LOCKING, world),
        |world| try_in_children(1, OTHERS, world),
    );
}

fn try_in_children(times: usize, tables: &[Table], world: &mut World<'_>) {
    for &(name, check) in tables.iter().copied().flatten() {
        for _ in 0..times {
            let ended = in_child(|| check(world));
            assert_ne!(ended, Ended::Killed(libc::SIGALRM), "{name} hangs");
            assert_eq!(ended, Ended::WELL, "{name}");
        }
    }
}
