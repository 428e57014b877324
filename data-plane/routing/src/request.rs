//! The part of a request that rules ask about, and the host in the form they compare.

use std::net::IpAddr;

use http::{HeaderMap, Method};

/// The longest host that is compared: the bytes of a DNS name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 255;

/// Header fields as rules see them.
pub trait Headers: std::fmt::Debug {
    /// Whether one of the values of the fields called `name`, in any letter case, is `wanted`.
    fn any(&self, name: &str, wanted: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl Headers for HeaderMap {
    fn any(&self, name: &str, wanted: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| wanted(value.as_bytes()))
    }
}

/// What rules can ask about.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host without port, in any letter case; empty when the request names none. A trailing
    /// dot and the brackets of an IPv6 address do not count. A host of more than 255 bytes is
    /// taken for none.
    pub host: &'a str,
    /// The path, compared byte by byte as it is here.
    pub path: &'a str,
    /// The query, without its `?`, as it was received.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a dyn Headers,
    /// The address the request is taken to come from. IPv4 in IPv6 is taken for IPv4.
    pub client: IpAddr,
}

/// Room for one host in lower case, taken only for those that are not.
pub(crate) struct HostBuffer(String);

/// A head whose host and address are in the form they are compared in.
pub(crate) struct Seen<'a> {
    pub(crate) head: RequestHead<'a>,
    pub(crate) host: &'a str,
    pub(crate) client: IpAddr,
}

impl HostBuffer {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }
}

impl<'a> Seen<'a> {
    /// Brings `head` into form; `buffer` is only written when the host has upper case letters.
    pub(crate) fn new(head: &RequestHead<'a>, buffer: &'a mut HostBuffer) -> Self {
        Self { head: *head, host: canonical(head.host, buffer), client: head.client.to_canonical() }
    }
}

fn canonical<'a>(host: &'a str, buffer: &'a mut HostBuffer) -> &'a str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.len() > MAX_HOST {
        return "";
    }
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return host;
    }
    buffer.0.push_str(host);
    buffer.0.make_ascii_lowercase();
    &buffer.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_in_lower_case_without_dot_and_brackets() {
        let form = |host: &str| canonical(host, &mut HostBuffer::new()).to_owned();
        assert_eq!(form("Shop.Example.COM."), "shop.example.com");
        assert_eq!(form("shop.example.com"), "shop.example.com");
        assert_eq!(form("[2001:DB8::1]"), "2001:db8::1");
        assert_eq!(form("É.A"), "É.a");
        assert_eq!(form(""), "");
    }

    #[test]
    fn a_host_longer_than_any_name_is_none() {
        let form = |host: &str| canonical(host, &mut HostBuffer::new()).to_owned();
        assert_eq!(form(&"a".repeat(255)), "a".repeat(255));
        assert_eq!(form(&"A".repeat(255)), "a".repeat(255));
        assert_eq!(form(&"a".repeat(256)), "");
        assert_eq!(form(&"A".repeat(256)), "");
    }
}
