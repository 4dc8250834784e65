//! New inputs from old ones: a few random changes each, the same ones in every run.

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    511,
    4096,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];
/// The words that have a meaning for parsers of text.
const WORDS: [&[u8]; 20] = [
    b"=",
    b":",
    b",",
    b"\n",
    b"\\",
    b"\"",
    b"'",
    b"%",
    b"/",
    b"../",
    b"-",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\xfe",
    b"\0",
    b"4294967296",
    b"18446744073709551615",
    b"0.5",
];

/// A source of changes; the same seed gives the same ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The source for this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1 }
    }

    /// A number below `end`, 0 if that is 0. (xorshift64*, Vigna 2016.)
    pub fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        if end == 0 { 0 } else { number as usize % end }
    }

    /// Makes an input out of those of `corpus`, at most `longest` bytes long.
    pub fn input(&mut self, corpus: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut input = corpus.get(self.below(corpus.len())).cloned().unwrap_or_default();
        // Mostly one or two changes: more of them break more than one thing, and the first breach hides the others.
        let changes = 1 << self.below(4).min(self.below(4));
        for _ in 0..changes {
            self.change(&mut input, corpus);
        }
        input.truncate(longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(10) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.below(256) as u8;
                }
            }
            3 => {
                let number = EDGES[self.below(EDGES.len())].wrapping_sub(self.below(2) as u64);
                let width = 1 << self.below(4);
                let bytes = if self.below(2) == 0 {
                    number.to_le_bytes()
                } else {
                    number.rotate_right(8 * width as u32).to_be_bytes()
                };
                for (to, from) in input.iter_mut().skip(at).zip(&bytes[..width]) {
                    *to = *from;
                }
            }
            // A number in text.
            4 => {
                let digit = |byte: &u8| byte.is_ascii_digit();
                if let Some(start) = input[at..].iter().position(digit).map(|start| at + start) {
                    let length = input[start..].iter().take_while(|byte| digit(byte)).count();
                    let number =
                        EDGES[self.below(EDGES.len())].wrapping_add(self.below(3) as u64).to_string();
                    input.splice(start..start + length, number.into_bytes());
                }
            }
            5 => drop(input.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
            6 => drop(input.drain(at..end.max(at))),
            7 => {
                let piece = input[at..end.max(at)].repeat(1 + self.below(8));
                input.splice(at..at, piece);
            }
            8 => {
                let other = corpus.get(self.below(corpus.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..end.max(at), other[from..to].iter().copied());
            }
            _ => input.truncate(at.max(input.len() / 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let corpus = vec![b"key=12,34".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..1000).map(|_| mutator.input(&corpus, 64)).collect::<Vec<_>>()
        };
        assert!(inputs(1) == inputs(1) && inputs(1) != inputs(3));
        assert!(inputs(1).iter().all(|input| input.len() <= 64));
    }
}
