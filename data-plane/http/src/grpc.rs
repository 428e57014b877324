//! What of gRPC over HTTP a proxy has to know: which messages are of a call, and how calls ended
//! (the protocol's PROTOCOL-HTTP2.md).

use crate::fields::{Fields, Known};

/// How messages of a call are called; what follows names the encoding, as `+proto`.
const KIND: &[u8] = b"application/grpc";

/// Codes that say that the server, or the way to it, is in trouble: `DEADLINE_EXCEEDED`,
/// `INTERNAL` and `UNAVAILABLE`. All others are about the call.
const FAILURES: [u32; 3] = [4, 13, 14];

/// Whether the fields are those of a request or an answer of gRPC.
pub fn is_message(fields: &Fields) -> bool {
    let kind = fields.value(Known::ContentType).and_then(|value| value.get(..KIND.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

/// The code with which a call ended, if the fields say so: those of an answer without a body, or
/// those behind one.
pub fn status(fields: &Fields) -> Option<u32> {
    str::from_utf8(fields.first("grpc-status")?).ok()?.parse().ok()
}

/// Whether a code is a failure of the backend.
pub fn is_failure(code: u32) -> bool {
    FAILURES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in all {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn messages_of_a_call_are_known_by_their_type() {
        for (kind, is) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc-web+proto", true),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_message(&fields(&[("Content-Type", kind)])), is, "{kind}");
        }
        assert!(!is_message(&Fields::new()));
    }

    #[test]
    fn a_call_ends_with_a_code() {
        assert_eq!(status(&fields(&[("grpc-status", "14")])), Some(14));
        assert_eq!(status(&fields(&[("Grpc-Status", "0")])), Some(0));
        for bad in ["", "-1", "x", "99999999999"] {
            assert_eq!(status(&fields(&[("grpc-status", bad)])), None, "{bad}");
        }
        let failures: Vec<_> = (0..=16).filter(|code| is_failure(*code)).collect();
        assert_eq!(failures, [4, 13, 14]);
    }
}
