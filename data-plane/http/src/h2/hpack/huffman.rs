//! The code for strings (RFC 7541, 5.2 and Appendix B).
//!
//! It is a canonical code: the lengths say it all, and the tables here are computed from them
//! when this is compiled. Codes of up to eight bits, which text consists of, are looked up; for
//! longer ones the length is found first.

use super::Corrupt;

/// The lengths of all codes, the end's last.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The code of the end, which no string may have in it.
const END: u16 = 256;

/// The longest code.
const LONGEST: usize = 30;

const TABLES: Tables = Tables::new();

struct Tables {
    /// The code of each symbol.
    codes: [u32; 257],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// Of each length: the first code, and the place of its symbol.
    first: [(u32, u16); LONGEST + 1],
    /// Of each length: one behind its last code, both moved to the left end of 32 bits.
    limits: [u32; LONGEST + 1],
    /// For eight bits: the symbol they begin with and its length, or 0 if that is longer.
    short: [(u8, u8); 256],
}

impl Tables {
    const fn new() -> Self {
        let mut tables = Self {
            codes: [0; 257],
            symbols: [0; 257],
            first: [(0, 0); LONGEST + 1],
            limits: [0; LONGEST + 1],
            short: [(0, 0); 256],
        };
        let (mut code, mut place) = (0_u32, 0_u16);
        let mut length = 1;
        while length <= LONGEST {
            code <<= 1;
            tables.first[length] = (code, place);
            let mut symbol = 0;
            while symbol < 257 {
                if LENGTHS[symbol] as usize == length {
                    tables.codes[symbol] = code;
                    tables.symbols[place as usize] = symbol as u16;
                    if length <= 8 {
                        let mut rest = 0;
                        while rest < 1 << (8 - length) {
                            let bits = (code as usize) << (8 - length) | rest;
                            tables.short[bits] = (symbol as u8, length as u8);
                            rest += 1;
                        }
                    }
                    code += 1;
                    place += 1;
                }
                symbol += 1;
            }
            // The last code has all bits set: one behind it does not fit.
            tables.limits[length] =
                if length == LONGEST { u32::MAX } else { code << (32 - length) };
            length += 1;
        }
        tables
    }
}

/// Decodes a string to the end of `out`.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    static TABLES: Tables = self::TABLES;
    out.reserve(input.len() * 8 / 5 + 1);
    // Bits that were taken and not used yet stand at the left end.
    let (mut bits, mut count, mut at) = (0_u64, 0_u32, 0);
    loop {
        while count <= 56
            && let Some(byte) = input.get(at)
        {
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
            at += 1;
        }
        let (symbol, length) = TABLES.short[(bits >> 56) as usize];
        let (symbol, length) = if length != 0 {
            (u16::from(symbol), u32::from(length))
        } else {
            long(&TABLES, (bits >> 32) as u32)
        };
        if length > count {
            break;
        }
        if symbol == END {
            return Err(Corrupt);
        }
        out.push(symbol as u8);
        bits <<= length;
        count -= length;
    }
    // What is left is less than a byte of ones.
    let is_padding = count < 8 && bits == !(u64::MAX >> count);
    if is_padding { Ok(()) } else { Err(Corrupt) }
}

/// Finds a symbol whose code is longer than eight bits.
fn long(tables: &Tables, bits: u32) -> (u16, u32) {
    let mut length = 9;
    while length < LONGEST && bits >= tables.limits[length] {
        length += 1;
    }
    let (code, place) = tables.first[length];
    let offset = (bits >> (32 - length)).wrapping_sub(code) as usize;
    // A code that is none would be longer than the longest; there is none such.
    let symbol = tables.symbols.get(usize::from(place) + offset).copied().unwrap_or(END);
    (symbol, length as u32)
}

/// How many bytes `text` is encoded.
pub(super) fn length(text: impl Iterator<Item = u8>) -> usize {
    let bits: usize = text.map(|byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Encodes a string.
pub(super) fn encode(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    static TABLES: Tables = self::TABLES;
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(TABLES.codes[usize::from(byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff_u8 >> count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text.iter().copied(), &mut out);
        assert_eq!(out.len(), length(text.iter().copied()));
        out
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541, C.4 and C.6.
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(encoded(b"www.example.com"), example);
        assert_eq!(encoded(b"no-cache"), [0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]);
        assert_eq!(encoded(b"302"), [0x64, 0x02]);
    }

    #[test]
    fn the_longest_codes_are_the_last() {
        assert_eq!(TABLES.codes[256], 0x3fff_ffff);
        assert_eq!(TABLES.codes[22], 0x3fff_fffe);
        assert_eq!(TABLES.codes[usize::from(b'0')], 0);
    }

    #[test]
    fn padding_is_short_and_of_ones_and_the_end_is_no_symbol() {
        let refused = |input: &[u8]| decode(input, &mut Vec::new()) == Err(Corrupt);
        // `0` is five zeros.
        assert!(!refused(&[0b0000_0111]));
        assert!(refused(&[0b0000_0110]) && refused(&[0b0000_0011]));
        assert!(refused(&[0xff]) && refused(&[0b0000_0111, 0xff]));
        assert!(refused(&[0xff, 0xff, 0xff, 0xff]) && refused(&[0xff, 0xff, 0xff, 0xfc]));
        assert!(!refused(&[]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = b"before".to_vec();
            prop_assert_eq!(decode(&encoded(&text), &mut out), Ok(()));
            prop_assert_eq!(&out[6..], &text[..]);
        }

        #[test]
        fn what_is_decoded_is_encoded_alike(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            if decode(&bytes, &mut out).is_ok() {
                prop_assert_eq!(encoded(&out), bytes);
            }
        }
    }
}
