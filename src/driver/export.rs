//! Gives [`Metrics`] to the crate `metrics`.

use super::metrics::Metrics;
use ::metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};
use alloc::borrow::ToOwned;
use alloc::vec;

impl Metrics {
    /// Gives every number to the recorder of the crate `metrics`, with the labels `driver` and
    /// `operation`. `driver` is the name that the program has for the driver.
    ///
    /// Call it every few seconds, or before the recorder is read. The names are those of
    /// [`for_each_value`](Self::for_each_value). What ends in `_total` is a counter, and is set to
    /// the count of the driver. Everything else is a gauge in seconds. Without a recorder nothing
    /// happens.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Driver, op::Read};
    /// use std::fs::File;
    ///
    /// let driver = Driver::on_thread(8)?;
    /// driver.measure(true);
    /// let zero = File::open("/dev/zero")?;
    /// pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
    /// // linux_aio_bytes_total{driver="log",operation="pread"} 64
    /// driver.metrics().export("log");
    /// # Ok(()) }
    /// ```
    pub fn export(&self, driver: &str) {
        self.for_each_value(|name, operation, value| {
            let labels = vec![
                Label::new("driver", driver.to_owned()),
                Label::from_static_parts("operation", operation),
            ];
            match counted(name) {
                Some((unit, text)) => {
                    describe_counter!(name, unit, text);
                    counter!(name, labels).absolute(value as u64);
                }
                None => {
                    describe_gauge!(name, Unit::Seconds, stretch(name));
                    gauge!(name, labels).set(value);
                }
            }
        });
    }
}

/// Returns what a counter counts. Returns `None` for a gauge.
fn counted(name: &str) -> Option<(Unit, &'static str)> {
    Some(match name {
        "linux_aio_operations_total" => (Unit::Count, "Operations that have completed."),
        "linux_aio_failed_operations_total" => {
            (Unit::Count, "Operations that have completed with an errno.")
        }
        "linux_aio_bytes_total" => (Unit::Bytes, "Bytes that were read or written."),
        _ => return None,
    })
}

/// Returns which time a gauge shows.
fn stretch(name: &str) -> &'static str {
    const STRETCHES: [(&str, &str); 4] = [
        ("linux_aio_waiting_", "From the first poll of a future to the call of io_submit."),
        ("linux_aio_submitting_", "In the call of io_submit."),
        ("linux_aio_in_kernel_", "From io_submit until the driver has seen the completion."),
        ("linux_aio_until_polled_", "From the completion until the task has polled the future."),
    ];
    STRETCHES.iter().find(|it| name.starts_with(it.0)).map_or("", |it| it.1)
}
