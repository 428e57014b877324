//! Whom and what a request asks for, if it may be asked for at all.
//!
//! Two servers that read one request differently are an attacker's way around the rules of the
//! first. So what can be read in two ways is refused, except for dot segments, which clients do
//! send: they are resolved, and what was matched is what is forwarded.

use http::{HeaderMap, HeaderValue, Uri, Version, header::HOST, uri::PathAndQuery};
use lb_http::Reason;

/// The name in a request, without a port, and the field it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name.
    pub name: &'a str,
    /// Whether the request line names it, which is then what counts.
    pub is_in_target: bool,
}

/// Reads the host of a request.
///
/// HTTP/1.1 needs exactly one valid `Host` field, whatever the request line says (RFC 9112,
/// 3.2). HTTP/2 may say it twice, but not differently (RFC 9113, 8.3.1).
pub fn host<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
    version: Version,
) -> Result<Host<'a>, Reason> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (version == Version::HTTP_11 && field.is_none()) {
        return Err(Reason::BadRequest);
    }
    let field_name = match field {
        Some(value) => Some(name(value).ok_or(Reason::BadRequest)?),
        None => None,
    };
    let Some(authority) = uri.authority() else {
        return Ok(Host { name: field_name.unwrap_or_default(), is_in_target: false });
    };
    let says_otherwise =
        |field: &HeaderValue| !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if authority.as_str().contains('@')
        || (version == Version::HTTP_2 && field.is_some_and(says_otherwise))
    {
        return Err(Reason::BadRequest);
    }
    Ok(Host { name: authority.host(), is_in_target: true })
}

/// The name in a `Host` field: what stands before the port, if all of it is well formed.
fn name(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let (name, port) = if text.starts_with('[') {
        let end = text.find(']')? + 1;
        text.split_at(end)
    } else {
        text.find(':').map_or((text, ""), |colon| text.split_at(colon))
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match inner {
        Some(address) => {
            address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        // reg-name of RFC 3986.
        None => name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)),
    };
    (is_port && is_name && !name.is_empty() && inner != Some("")).then_some(name)
}

/// The path to match and to forward: the one in `uri` where that is plain, or another with its
/// dot segments resolved. Encoded control characters are refused, and so is climbing above the
/// root.
pub fn path(uri: &Uri) -> Result<Option<PathAndQuery>, Reason> {
    let path = uri.path().as_bytes();
    let mut has_dots = false;
    for (index, byte) in path.iter().enumerate() {
        match byte {
            b'/' => has_dots |= path.get(index + 1) == Some(&b'.'),
            b'%' => {
                let code = path.get(index + 1..index + 3).ok_or(Reason::BadRequest)?;
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(Reason::BadRequest);
                let code = digit(code[0])? * 16 + digit(code[1])?;
                if code < 0x20 || code == 0x7f {
                    return Err(Reason::BadRequest);
                }
                has_dots |= code == u32::from(b'.');
            }
            _ => {}
        }
    }
    if !has_dots {
        return Ok(None);
    }
    resolve(uri)
}

/// RFC 3986, 5.2.4, with `%2e` taken for a dot.
fn resolve(uri: &Uri) -> Result<Option<PathAndQuery>, Reason> {
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut is_last_a_dot = false;
    for segment in uri.path().split('/').skip(1) {
        is_last_a_dot = true;
        match dots(segment) {
            Some(1) => changed = true,
            Some(2) => {
                changed = true;
                kept.pop().ok_or(Reason::BadRequest)?;
            }
            _ => {
                is_last_a_dot = false;
                kept.push(segment);
            }
        }
    }
    if !changed {
        return Ok(None);
    }
    if is_last_a_dot {
        kept.push("");
    }
    let mut text = String::with_capacity(uri.path().len());
    for segment in kept {
        text.push('/');
        text.push_str(segment);
    }
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    let resolved = PathAndQuery::try_from(text).map_err(|_| Reason::BadRequest)?;
    Ok(Some(resolved))
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

    fn host_of(target: &str, fields: &[&str], version: Version) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HOST, HeaderValue::from_str(field).unwrap());
        }
        let uri: Uri = target.parse().unwrap();
        host(&uri, &headers, version).map(|host| host.name.to_owned())
    }

    #[test]
    fn a_valid_host_is_its_name_without_the_port() {
        for (field, name) in [
            ("shop.example.com", "shop.example.com"),
            ("shop:8080", "shop"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("10.0.0.1:", "10.0.0.1"),
        ] {
            assert_eq!(host_of("/", &[field], Version::HTTP_11).as_deref(), Ok(name));
        }
    }

    #[test]
    fn a_host_that_can_be_misread_is_refused() {
        for fields in [
            &[][..],
            &[""],
            &["a", "a"],
            &["a b"],
            &["a/b"],
            &["user@a"],
            &["a:b"],
            &["a:1:2"],
            &["[::1"],
            &["[]"],
            &["a, b@c"],
        ] {
            let found = host_of("/", fields, Version::HTTP_11);
            assert_eq!(found, Err(Reason::BadRequest), "{fields:?}");
        }
    }

    #[test]
    fn the_request_line_goes_before_the_field() {
        assert_eq!(host_of("http://a:81/x", &["b"], Version::HTTP_11).as_deref(), Ok("a"));
        assert_eq!(host_of("http://a/", &[], Version::HTTP_2).as_deref(), Ok("a"));
        assert_eq!(host_of("/", &[], Version::HTTP_10).as_deref(), Ok(""));
        assert!(host_of("http://a/", &["b"], Version::HTTP_2).is_err());
        assert!(host_of("http://u@a/", &["a"], Version::HTTP_11).is_err());
    }

    #[test]
    fn dot_segments_are_resolved_and_nothing_else_is_touched() {
        let resolved =
            |text: &str| path(&text.parse().unwrap()).map(|path| path.map(|path| path.to_string()));
        for plain in ["/", "/a/b.c", "/.hidden", "/...", "/a//b", "/a%2Fb?x=/../y", "*"] {
            assert_eq!(resolved(plain), Ok(None), "{plain}");
        }
        for (from, to) in [
            ("/a/../b?q", "/b?q"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/", "/"),
            ("/.", "/"),
        ] {
            assert_eq!(resolved(from), Ok(Some(to.to_owned())), "{from}");
        }
        for bad in ["/..", "/a/../../b", "/%00", "/a%1f", "/%7F", "/%", "/%zz", "/%2"] {
            assert_eq!(resolved(bad), Err(Reason::BadRequest), "{bad}");
        }
    }
}
