//! Where the process runs, and where its filter of system calls is set there.

use linux_aio_probe::{Availability, Call, Kernel};
use std::env;
use std::fmt;
use std::fs;
use std::path::Path;

/// Shows what can be seen of the place where this process runs.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    manager: Manager,
    /// True if a filter of system calls is installed; `None` without `/proc`.
    pub(crate) filtered: Option<bool>,
}

/// Names what started the process, as far as it can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Kubernetes,
    Podman,
    Docker,
    Systemd,
    Unknown,
}

impl Place {
    pub(crate) fn look() -> Self {
        Self { manager: Manager::look(), filtered: is_filtered() }
    }

    pub(crate) fn name(self) -> &'static str {
        match self.manager {
            Manager::Kubernetes => "a Kubernetes pod",
            Manager::Podman => "a podman container",
            Manager::Docker => "a Docker container",
            Manager::Systemd => "a systemd service",
            Manager::Unknown => "no container or service that this program knows",
        }
    }

    /// The setting to change, if a call is missing or refused.
    pub(crate) fn cure(self, kernel: &Kernel) -> Option<Cure> {
        let refused = |call: &Call| kernel.call(*call) != Availability::There;
        Call::ALL.iter().any(refused).then(|| Cure { place: self, gvisor: kernel.is_gvisor() })
    }
}

impl Manager {
    /// The files and variables that each sets. A pod has those of its engine, too.
    fn look() -> Self {
        let variable = |name| env::var_os(name).is_some();
        if variable("KUBERNETES_SERVICE_HOST") {
            Self::Kubernetes
        } else if Path::new("/run/.containerenv").exists() {
            Self::Podman
        } else if Path::new("/.dockerenv").exists() {
            Self::Docker
        } else if variable("INVOCATION_ID") {
            Self::Systemd
        } else {
            Self::Unknown
        }
    }
}

/// `Seccomp:` in `proc_pid_status(5)`: 0 without a filter, 2 with filters.
fn is_filtered() -> Option<bool> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() == "2")
}

/// A sentence or two for an administrator.
pub(crate) struct Cure {
    place: Place,
    gvisor: bool,
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gvisor {
            return f.write_str(
                "gVisor implements no more than this; for all of AIO, run the pod or container \
                 with another runtime class",
            );
        }
        if self.place.filtered == Some(false) {
            return f.write_str(
                "this process has no seccomp filter, so the kernel itself does not have these \
                 calls: use a kernel with CONFIG_AIO, or threads instead of AIO",
            );
        }
        f.write_str(match self.place.manager {
            Manager::Kubernetes => {
                "place a profile that allows these calls on the nodes and name it in the pod: \
                 securityContext.seccompProfile: {type: Localhost, localhostProfile: FILE}"
            }
            Manager::Podman => {
                "allow these calls in a copy of /usr/share/containers/seccomp.json, and start the \
                 container with --security-opt seccomp=FILE"
            }
            Manager::Docker => {
                "allow these calls in a copy of Docker's default profile, and start the container \
                 with --security-opt seccomp=FILE"
            }
            Manager::Systemd => "add SystemCallFilter=@aio to the unit",
            Manager::Unknown => {
                "allow these calls where the filter is made: --security-opt seccomp=FILE of a \
                 container engine, seccompProfile of a pod, SystemCallFilter=@aio of a unit"
            }
        })
    }
}
