//! Sizes, as people write them.

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Returns the bytes that a text such as "64MiB" stands for.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let with_unit = |&(unit, bytes)| Some((text.strip_suffix(unit)?, bytes));
    let (number, bytes) = UNITS.iter().find_map(with_unit).unwrap_or((text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(bytes)
}

/// Writes bytes as "256 MiB" or "1.5 GiB".
pub(crate) fn text(bytes: u64) -> String {
    let Some(&(unit, of_unit)) = UNITS.iter().find(|&&(_, of_unit)| bytes >= of_unit) else {
        return format!("{bytes} B");
    };
    let number = format!("{:.1}", bytes as f64 / of_unit as f64);
    format!("{} {unit}", number.strip_suffix(".0").unwrap_or(&number))
}
