//! Bytes that look random and that a receiver can make again from their seed, to compare every one it got.

/// A generator (splitmix64): the same seed gives the same bytes however they are asked for.
#[derive(Debug, Clone)]
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, word: [0; 8], used: 8 }
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.word.len() {
                self.word = self.next_word().to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
    }

    /// Whether these are the next bytes.
    pub fn matches(&mut self, bytes: &[u8]) -> bool {
        let mut expected = vec![0; bytes.len()];
        self.fill(&mut expected);
        expected == bytes
    }

    /// The next eight bytes, as a number.
    pub fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_do_not_depend_on_how_they_are_asked_for() {
        let mut whole = [0; 100];
        Pattern::new(7).fill(&mut whole);
        let mut pattern = Pattern::new(7);
        for part in whole.chunks(13) {
            assert!(pattern.matches(part));
        }
    }

    #[test]
    fn another_byte_or_seed_is_noticed() {
        let mut bytes = [0; 64];
        Pattern::new(7).fill(&mut bytes);
        assert!(!Pattern::new(8).matches(&bytes));
        bytes[63] ^= 1;
        assert!(!Pattern::new(7).matches(&bytes));
    }
}
