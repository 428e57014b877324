//! Numbers that begin within a byte (RFC 7541, 5.1).

use super::Corrupt;

/// Reads a number whose first `prefix` bits are the low ones of the byte at `at`; returns also
/// where it ends. Numbers that no length or index can be are refused.
pub(super) fn decode(input: &[u8], at: usize, prefix: u32) -> Result<(usize, usize), Corrupt> {
    let most = (1_usize << prefix) - 1;
    let first = usize::from(*input.get(at).ok_or(Corrupt)?) & most;
    if first < most {
        return Ok((first, at + 1));
    }
    let mut number = most;
    // Four bytes hold 28 bits, more than any block has.
    for (index, byte) in input.iter().skip(at + 1).take(4).enumerate() {
        number += usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((number, at + 2 + index));
        }
    }
    Err(Corrupt)
}

/// Writes a number behind the bits of `pattern`.
pub(super) fn encode(out: &mut Vec<u8>, pattern: u8, prefix: u32, number: usize) {
    let most = (1_usize << prefix) - 1;
    if number < most {
        out.push(pattern | number as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut left = number - most;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541, C.1.
        for (prefix, number, bytes) in
            [(5, 10, &[10][..]), (5, 1337, &[31, 154, 10]), (8, 42, &[42])]
        {
            let mut out = Vec::new();
            encode(&mut out, 0, prefix, number);
            assert_eq!(out, bytes);
            assert_eq!(decode(bytes, 0, prefix), Ok((number, bytes.len())));
        }
    }

    #[test]
    fn a_number_that_is_cut_or_too_long_is_refused() {
        for bytes in [&[][..], &[31], &[31, 0x80], &[31, 0xff, 0xff, 0xff, 0xff, 0]] {
            assert_eq!(decode(bytes, 0, 5), Err(Corrupt), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 0_usize..1 << 28, prefix in 4_u32..8) {
            let mut out = vec![7];
            encode(&mut out, 0, prefix, number);
            prop_assert_eq!(decode(&out, 1, prefix), Ok((number, out.len())));
        }
    }
}
