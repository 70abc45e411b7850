//! Reads the instructions and bytes that `counts` has recorded.

/// Names what was counted, its unit, and the count.
pub type Count = (&'static str, &'static str, f64);

/// Returns all of them, in order.
pub fn counts() -> impl Iterator<Item = Count> {
    let rows = include_str!("../counts.tsv").lines().skip(1);
    rows.filter_map(|row| {
        let mut cells = row.split('\t');
        Some((cells.next()?, cells.next()?, cells.next()?.parse().ok()?))
    })
}

/// Returns the instructions of the subject of that name.
pub fn instructions(name: &str) -> Option<f64> {
    counts().find(|count| count.0 == name).map(|count| count.2)
}
