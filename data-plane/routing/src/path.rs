//! The form of a path that rules are written for.

use std::borrow::Cow;

/// A path that can be read in two ways, or that no server should be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPath;

/// The path to match and to forward: the one given where that is plain, or another with its dot
/// segments resolved (RFC 3986 section 5.2.4).
///
/// # Errors
///
/// [`InvalidPath`] for a percent sign that begins no escape, an encoded control character, and
/// for climbing above the root.
pub fn resolve(given: &str) -> Result<Cow<'_, str>, InvalidPath> {
    let path = given.as_bytes();
    let mut has_dots = false;
    for (index, byte) in path.iter().enumerate() {
        match byte {
            b'/' => has_dots |= path.get(index + 1) == Some(&b'.'),
            b'%' => {
                let code = path.get(index + 1..index + 3).ok_or(InvalidPath)?;
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(InvalidPath);
                let code = digit(code[0])? * 16 + digit(code[1])?;
                if code < 0x20 || code == 0x7f {
                    return Err(InvalidPath);
                }
                has_dots |= code == u32::from(b'.');
            }
            _ => {}
        }
    }
    if has_dots { segments(given) } else { Ok(Cow::Borrowed(given)) }
}

/// RFC 3986, 5.2.4, with `%2e` taken for a dot.
fn segments(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut is_last_a_dot = false;
    for segment in path.split('/').skip(1) {
        is_last_a_dot = true;
        match dots(segment) {
            Some(1) => changed = true,
            Some(2) => {
                changed = true;
                kept.pop().ok_or(InvalidPath)?;
            }
            _ => {
                is_last_a_dot = false;
                kept.push(segment);
            }
        }
    }
    if !changed {
        return Ok(Cow::Borrowed(path));
    }
    if is_last_a_dot {
        kept.push("");
    }
    let mut text = String::with_capacity(path.len());
    for segment in kept {
        text.push('/');
        text.push_str(segment);
    }
    Ok(Cow::Owned(text))
}

/// How many dots a segment is, if it is nothing else and not more than two.
fn dots(segment: &str) -> Option<usize> {
    let mut rest = segment.as_bytes();
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
    (1..=2).contains(&count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_resolved_and_nothing_else_is_touched() {
        for plain in ["/", "/a/b.c", "/.hidden", "/...", "/a//b", "/a%2Fb", "*"] {
            assert!(matches!(resolve(plain), Ok(Cow::Borrowed(same)) if same == plain), "{plain}");
        }
        for (from, to) in [
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/", "/"),
            ("/.", "/"),
        ] {
            assert_eq!(resolve(from).as_deref(), Ok(to), "{from}");
        }
        for bad in ["/..", "/a/../../b", "/%00", "/a%1f", "/%7F", "/%", "/%zz", "/%2"] {
            assert_eq!(resolve(bad), Err(InvalidPath), "{bad}");
        }
    }
}
