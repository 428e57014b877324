//! Which bytes may stand where, and how far a run of them goes.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const LOWER: u8 = 4;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        // RFC 9110, 5.6.2.
        if c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            table[byte] |= TOKEN;
            if !c.is_ascii_uppercase() {
                table[byte] |= LOWER;
            }
        }
        // RFC 3986 and what clients send unencoded besides; never a fragment.
        if c.is_ascii_graphic() && !matches!(c, b'#' | b'<' | b'>' | b'`') {
            table[byte] |= TARGET;
        }
        byte += 1;
    }
    table
}

fn run(bytes: &[u8], from: usize, class: u8) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().position(|byte| CLASSES[usize::from(*byte)] & class == 0);
    end.map_or(bytes.len(), |end| from + end)
}

/// Where the token that begins at `from` ends. Field names are letters and hyphens nearly always,
/// so those are passed over eight at a time.
pub(crate) fn token_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..at + 8).and_then(|eight| <[u8; 8]>::try_from(eight).ok())
    {
        let marks = unusual(u64::from_le_bytes(eight));
        if marks == 0 {
            at += 8;
            continue;
        }
        let found = (marks.trailing_zeros() / 8) as usize;
        at += found;
        if CLASSES[usize::from(eight[found])] & TOKEN == 0 {
            return at;
        }
        at += 1;
    }
    run(bytes, at, TOKEN)
}

/// Marks the top bit of every byte that is neither a letter nor a hyphen.
const fn unusual(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES * 0x80;
    // Nothing carries from byte to byte: all of them are below 0x80 before something up to 0x7f is
    // added.
    let low = word & !TOPS;
    let lower = low | (ONES * 0x20);
    let from_a = lower + ONES * (0x80 - b'a' as u64);
    let past_z = lower + ONES * (0x7f - b'z' as u64);
    let not_hyphen = (low ^ (ONES * b'-' as u64)) + ONES * 0x7f;
    ((!from_a | past_z) & not_hyphen | word) & TOPS
}

/// Whether all of it is a token without capital letters, as HTTP/2 wants names.
pub(crate) fn is_lower_case_token(name: &[u8]) -> bool {
    !name.is_empty() && run(name, 0, LOWER) == name.len()
}

/// Where the request target that begins at `from` ends.
pub(crate) fn target_end(bytes: &[u8], from: usize) -> usize {
    run(bytes, from, TARGET)
}

/// The place of the first control character at or after `from`, or the end. A tab is none, as it
/// may stand within a field value.
pub(crate) fn control(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let Some(eight) = bytes.get(at..at + 8).and_then(|eight| <[u8; 8]>::try_from(eight).ok())
        else {
            let rest = bytes.get(at..).unwrap_or_default();
            let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
            return rest.iter().position(is_control).map_or(bytes.len(), |found| at + found);
        };
        let marks = controls(u64::from_le_bytes(eight));
        if marks == 0 {
            at += 8;
            continue;
        }
        let found = (marks.trailing_zeros() / 8) as usize;
        at += found;
        if eight[found] != b'\t' {
            return at;
        }
        at += 1;
    }
}

/// Marks the top bit of bytes below 0x20 and of 0x7f. The lowest mark is right; those above it
/// may be too many, as a borrow runs upwards.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES * 0x80;
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (below | delete) & TOPS
}

/// `value` without the spaces and tabs around it.
pub(crate) fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    let is_space = |at: usize| matches!(bytes.get(at), Some(b' ' | b'\t'));
    while start < end && is_space(start) {
        start += 1;
    }
    while start < end && is_space(end - 1) {
        end -= 1;
    }
    (start, end)
}

/// The members of a comma-separated list, without the white space around them and without empty
/// ones.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_control_character_is_found(bytes in prop::collection::vec(any::<u8>(), 0..64), from in 0usize..64) {
            let from = from.min(bytes.len());
            let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
            let expected = bytes[from..].iter().position(is_control).map_or(bytes.len(), |at| from + at);
            prop_assert_eq!(control(&bytes, from), expected);
        }

        #[test]
        fn a_token_ends_at_the_first_byte_that_is_of_none(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[A-Za-z-]{0,30}[@\\[`{:, _.0é]?[A-Za-z-]{0,12}".prop_map(String::into_bytes),
            ],
            from in 0_usize..40,
        ) {
            let from = from.min(bytes.len());
            let is_token = |byte: &u8| {
                byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
            };
            let end = bytes[from..].iter().position(|byte| !is_token(byte));
            prop_assert_eq!(token_end(&bytes, from), end.map_or(bytes.len(), |end| from + end));
        }

        #[test]
        fn tabs_are_passed_over(text in "[a-z\t]{0,20}[\r\n\x7f]?[a-z\t\r]{0,9}") {
            let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
            let expected = text.bytes().position(is_control).unwrap_or(text.len());
            prop_assert_eq!(control(text.as_bytes(), 0), expected);
        }

        #[test]
        fn plain_text_has_no_control_character(text in "[ -~]{0,40}") {
            prop_assert_eq!(control(text.as_bytes(), 0), text.len());
        }
    }

    #[test]
    fn a_token_ends_where_another_byte_begins() {
        assert_eq!(token_end(b"X-Name: a", 0), 6);
        assert_eq!(token_end(b"X Name", 2), 6);
        assert_eq!(token_end("é".as_bytes(), 0), 0);
        assert_eq!(target_end(b"/a?b=\\\"{|} HTTP", 0), 10);
        assert_eq!(target_end(b"/a#b", 0), 2);
    }

    #[test]
    fn a_list_is_split_at_commas() {
        let all: Vec<_> = members(b" a,, b\t ,c").collect();
        assert_eq!(all, [b"a", b"b", b"c"]);
    }
}
