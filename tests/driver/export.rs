//! What the feature `metrics` gives to a recorder of the crate `metrics`.

use super::each::{AnyDriver, on_each_driver};
use crate::common;

use common::Watchdog;
use linux_aio::Errno;
use linux_aio::op::{Fsync, Read};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, with_local_recorder,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex};

on_each_driver![
    a_recorder_has_every_number_of_each_driver,
    an_export_without_a_recorder_does_nothing,
];

/// The last value of each metric, by its name and its labels.
#[derive(Clone, Default)]
struct Recorded {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Arc<Mutex<BTreeMap<String, Option<Unit>>>>,
}

/// One metric.
struct Metric {
    of: Recorded,
    key: String,
}

impl Metric {
    fn is(&self, value: f64) {
        self.of.values.lock().expect("nobody panics").insert(self.key.clone(), value);
    }
}

impl CounterFn for Metric {
    fn increment(&self, _: u64) {
        panic!("a count of the driver is no difference");
    }

    fn absolute(&self, value: u64) {
        self.is(value as f64);
    }
}

impl GaugeFn for Metric {
    fn increment(&self, _: f64) {
        panic!("a time is no difference");
    }

    fn decrement(&self, _: f64) {
        panic!("a time is no difference");
    }

    fn set(&self, value: f64) {
        self.is(value);
    }
}

impl Recorded {
    fn metric(&self, key: &Key, kind: &str) -> Arc<Metric> {
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let key = format!("{kind} {} {}", key.name(), labels.join(" "));
        Arc::new(Metric { of: self.clone(), key })
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.described.lock().expect("nobody panics").insert(name.as_str().into(), unit);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        assert!(!text.is_empty());
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        assert!(!text.is_empty(), "{name:?}");
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("{name:?}: the driver has no samples");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key, "counter"))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key, "gauge"))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("{key:?}: the driver has no samples");
    }
}

/// Goal: a recorder has every number of the snapshot, once, under its name and labels, and those of
/// two drivers apart. Method: its content is compared with `for_each_value`, before and after more
/// operations.
fn a_recorder_has_every_number_of_each_driver<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let recorded = Recorded::default();
    let drivers = ["first", "second"].map(|name| (name, D::with_capacity(8)));
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    for (_, driver) in &drivers {
        driver.measure(true);
    }
    for round in 0..2 {
        for (number, (_, driver)) in drivers.iter().enumerate() {
            for _ in 0..=number + round {
                let read = Read::new(Arc::clone(&zero), vec![1; 64], 0);
                assert_eq!(driver.block_on(driver.perform(read)).0, Ok(64));
            }
            let refused = driver.block_on(driver.perform(Fsync::new(Arc::clone(&zero)))).0;
            assert_eq!(refused, Err(Errno::EINVAL));
        }
        let mut expected = BTreeMap::new();
        for (name, driver) in &drivers {
            let metrics = driver.metrics();
            with_local_recorder(&recorded, || metrics.export(name));
            metrics.for_each_value(|value_name, operation, value| {
                let kind = if value_name.ends_with("_total") { "counter" } else { "gauge" };
                let key = format!("{kind} {value_name} driver={name} operation={operation}");
                expected.insert(key, value);
            });
        }
        assert_eq!(*recorded.values.lock().expect("nobody panics"), expected);
    }
    let values = recorded.values.lock().expect("nobody panics");
    let of = |name: &str| values[name];
    assert_eq!(of("counter linux_aio_bytes_total driver=first operation=pread"), 192.0);
    assert_eq!(of("counter linux_aio_operations_total driver=second operation=pread"), 5.0);
    assert_eq!(of("counter linux_aio_failed_operations_total driver=first operation=fsync"), 2.0);
    for (name, unit) in &*recorded.described.lock().expect("nobody panics") {
        let due = match name.as_str() {
            "linux_aio_bytes_total" => Unit::Bytes,
            name if name.ends_with("_total") => Unit::Count,
            _ => Unit::Seconds,
        };
        assert_eq!(*unit, Some(due), "{name}");
    }
}

/// Without a recorder, an export does nothing.
fn an_export_without_a_recorder_does_nothing<D: AnyDriver>() {
    let driver = D::with_capacity(8);
    driver.measure(true);
    let zero = File::open("/dev/zero").expect("/dev/zero");
    assert_eq!(driver.block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0, Ok(64));
    driver.metrics().export("no one");
}
