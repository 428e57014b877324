//! Writes what every message needs: lines, numbers, chunks, dates.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::fields::Fields;

/// Writes one field line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal digits.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes the line before a chunk of `size` bytes.
pub fn chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = size;
    loop {
        at -= 1;
        digits[at] = DIGITS[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes a chunk; an empty one would be the last and is left out.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    chunk_size(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for trailer in trailers.iter().flat_map(|trailers| trailers.iter()) {
        field(out, trailer.name, trailer.value);
    }
    out.extend_from_slice(b"\r\n");
}

thread_local! {
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Hands on the date in the form of HTTP (RFC 9110, 5.6.7), put together once a second.
pub fn with_date<T>(use_it: impl FnOnce(&[u8]) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(last, text)| {
        if *last != second {
            *last = second;
            *text = httpdate::fmt_http_date(now);
        }
        use_it(text.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_their_digits() {
        for (number, decimal_digits, hex_line) in
            [(0, "0", "0\r\n"), (10, "10", "a\r\n"), (65_536, "65536", "10000\r\n")]
        {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            decimal(&mut a, number);
            chunk_size(&mut b, number as usize);
            assert_eq!(
                (a.as_slice(), b.as_slice()),
                (decimal_digits.as_bytes(), hex_line.as_bytes())
            );
        }
        let mut most = Vec::new();
        decimal(&mut most, u64::MAX);
        assert_eq!(most, u64::MAX.to_string().into_bytes());
    }

    #[test]
    fn the_date_is_that_of_now() {
        with_date(|date| {
            let date = httpdate::parse_http_date(str::from_utf8(date).unwrap()).unwrap();
            assert!(date.elapsed().unwrap().as_secs() < 60);
        });
    }

    #[test]
    fn an_empty_chunk_is_not_the_last() {
        let mut out = Vec::new();
        chunk(&mut out, b"");
        chunk(&mut out, b"ab");
        last_chunk(&mut out, None);
        assert_eq!(out, b"2\r\nab\r\n0\r\n\r\n");
    }
}
