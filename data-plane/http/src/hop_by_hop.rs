//! Removes the header fields that are meant for one connection only (RFC 9110, 7.6.1).
//!
//! Works on the map in place and allocates nothing unless a message has several `Connection`
//! lines. An upgrade that the proxy carries is put back by whoever carries it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Removes what must not be forwarded from a request.
pub fn strip_request(headers: &mut HeaderMap) {
    let te = headers.get(TE).is_some_and(accepts_trailers);
    strip(headers);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(HTTP2_SETTINGS);
    if te {
        headers.insert(TE, TRAILERS);
    }
}

/// Removes what must not be forwarded from a response.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(PROXY_AUTHENTICATE);
}

/// The protocol a request or response asks to switch to, if its `Connection` says so as well.
pub fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        .then_some(wanted)
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        if headers.get_all(CONNECTION).iter().nth(1).is_none() {
            if let Some(value) = headers.remove(CONNECTION) {
                remove_named(headers, &value);
            }
        } else {
            let values: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
            headers.remove(CONNECTION);
            for value in &values {
                remove_named(headers, value);
            }
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Removes the fields a `Connection` value names, except those that say who is asked for and
/// where the message ends: no client may have them removed.
fn remove_named(headers: &mut HeaderMap, value: &HeaderValue) {
    for token in tokens(value) {
        if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token)
            && name != HOST
            && name != CONTENT_LENGTH
        {
            headers.remove(name);
        }
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn accepts_trailers(te: &HeaderValue) -> bool {
    tokens(te).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn fields_of_one_connection_do_not_travel() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ]);
        strip_request(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*"), ("te", "trailers")]));
    }

    #[test]
    fn several_connection_lines_all_count() {
        let mut headers = map(&[
            ("connection", "x-a"),
            ("connection", "x-b , ,"),
            ("x-a", "1"),
            ("x-b", "2"),
            ("x-c", "3"),
        ]);
        strip_response(&mut headers);
        assert_eq!(headers, map(&[("x-c", "3")]));
    }

    #[test]
    fn a_client_cannot_have_host_or_length_removed() {
        let mut headers =
            map(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "3")]);
        strip_request(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "3")]));
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let both = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&both).unwrap(), "websocket");
        assert!(upgrade(&map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&map(&[("connection", "upgrade")])).is_none());
    }
}
