//! Which header fields are meant for one connection only (RFC 9110, 7.6.1).
//!
//! Nothing is removed: whoever writes a message asks for each field whether it passes. An upgrade
//! that the proxy carries, and the framing of the message it sends, are written by it anew.

use crate::{
    fields::{Field, Fields, Known},
    h1::members,
};

/// Decides which fields of one message pass.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// The fields, if `Connection` names some of them.
    nominating: Option<&'a Fields>,
}

impl<'a> Filter<'a> {
    /// For a message with these fields; `nominates` tells whether its `Connection` names more
    /// than the usual words.
    pub const fn new(fields: &'a Fields, nominates: bool) -> Self {
        Self { nominating: if nominates { Some(fields) } else { None } }
    }

    /// Whether a field passes. `Host` and `Content-Length` always do: no client may have removed
    /// who is asked for and where the message ends.
    pub fn passes(&self, field: &Field<'_>) -> bool {
        match field.known {
            Known::Host | Known::ContentLength => true,
            Known::Http2Settings => false,
            known if known.is_hop_by_hop() => false,
            _ => self.nominating.is_none_or(|all| !is_nominated(all, field.name)),
        }
    }
}

fn is_nominated(fields: &Fields, name: &[u8]) -> bool {
    let mut named = fields.values(Known::Connection).flat_map(members);
    named.any(|member| member.eq_ignore_ascii_case(name))
}

/// Whether a client takes trailers (RFC 9110, 10.1.4).
pub fn accepts_trailers(fields: &Fields) -> bool {
    let mut members = fields.values(Known::Te).flat_map(members);
    members.any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(lines: &[(&str, &str)]) -> Vec<String> {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let filter = Filter::new(&fields, true);
        let all = fields.iter().filter(|field| filter.passes(field));
        all.map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let lines = [
            ("Host", "a"),
            ("Connection", "close, X-One"),
            ("connection", "x-two ,,te"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "x"),
            ("TE", "gzip"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "x"),
            ("X-One", "1"),
            ("x-TWO", "2"),
            ("X-Three", "3"),
            ("Content-Length", "3"),
        ];
        assert_eq!(passing(&lines), ["Host", "X-Three", "Content-Length"]);
    }

    #[test]
    fn nobody_may_have_the_host_or_the_length_removed() {
        let lines =
            [("Connection", "host, content-length"), ("host", "a"), ("content-length", "3")];
        assert_eq!(passing(&lines), ["host", "content-length"]);
    }

    #[test]
    fn trailers_are_taken_by_those_who_say_so() {
        let mut fields = Fields::new();
        assert!(!accepts_trailers(&fields));
        fields.push(b"te", b"gzip;q=0.5, Trailers");
        assert!(accepts_trailers(&fields));
    }
}
