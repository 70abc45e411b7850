//! [`Random`], the choices of a simulation.

/// The source of choices: the numbers of a seed, or the bytes of a fuzzer's input.
#[derive(Clone, Debug)]
pub(crate) enum Random {
    /// The same numbers in every version of this package and on every machine: SplitMix64 (Steele,
    /// Lea and Flood, 2014).
    Seed(u64),
    /// Once they have run out, each choice is the first.
    Bytes(std::vec::IntoIter<u8>),
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self::Seed(seed)
    }

    /// Returns a number below `limit`, or 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        match self {
            Self::Seed(state) => ((u128::from(next(state)) * u128::from(limit)) >> 64) as u64,
            Self::Bytes(bytes) => {
                // A byte for a choice of up to 256, and one more for each factor of 256.
                let (mut word, mut rest) = (0_u64, limit.saturating_sub(1));
                loop {
                    word = word << 8 | bytes.next().map_or(0, u64::from);
                    rest >>= 8;
                    if rest == 0 {
                        return if limit == 0 { 0 } else { word % limit };
                    }
                }
            }
        }
    }

    /// Returns an index below `limit`, or 0 if that is 0.
    pub(crate) fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    /// Returns `true` once in `times`, and never when bytes have run out.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Random, next};

    #[test]
    fn the_numbers_of_a_seed_are_those_of_the_algorithm() {
        let mut state = 0;
        let first = [(); 3].map(|()| next(&mut state));
        // The reference values of the algorithm's authors for seed 0.
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_each() {
        let bytes = (0..=255).cycle().take(1000).collect::<Vec<u8>>();
        for mut random in [Random::new(7), Random::Bytes(bytes.into_iter())] {
            let mut seen = [false; 5];
            (0..200).for_each(|_| seen[random.index(5)] = true);
            assert_eq!((seen, random.below(0)), ([true; 5], 0));
            assert!((0..200).all(|_| random.below(1000) < 1000));
        }
    }

    #[test]
    fn without_bytes_nothing_goes_wrong() {
        let mut random = Random::Bytes(vec![15].into_iter());
        assert_eq!([(); 3].map(|()| random.one_in(16)), [true, false, false]);
    }
}
