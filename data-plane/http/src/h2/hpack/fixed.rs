//! The fields that everybody knows (RFC 7541, Appendix A).

use super::Class;
use crate::fields::Known;

/// A field as a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed {
    pub(super) line: &'static str,
    pub(super) name: usize,
    pub(super) class: Class,
}

/// How many there are; dynamic fields are counted on from here.
pub(super) const COUNT: usize = 61;

macro_rules! fixed {
    ($($name:literal $value:literal $class:expr;)*) => {
        /// All of them, the first being number 1.
        pub(super) static FIXED: [Fixed; COUNT] = [$(Fixed {
            line: concat!($name, ": ", $value, "\r\n"),
            name: $name.len(),
            class: $class,
        },)*];
    };
}

const OTHER: Class = Class::Field(Known::Other);

fixed! {
    ":authority" "" Class::Authority;
    ":method" "GET" Class::Method;
    ":method" "POST" Class::Method;
    ":path" "/" Class::Path;
    ":path" "/index.html" Class::Path;
    ":scheme" "http" Class::Scheme;
    ":scheme" "https" Class::Scheme;
    ":status" "200" Class::Malformed;
    ":status" "204" Class::Malformed;
    ":status" "206" Class::Malformed;
    ":status" "304" Class::Malformed;
    ":status" "400" Class::Malformed;
    ":status" "404" Class::Malformed;
    ":status" "500" Class::Malformed;
    "accept-charset" "" OTHER;
    "accept-encoding" "gzip, deflate" OTHER;
    "accept-language" "" OTHER;
    "accept-ranges" "" OTHER;
    "accept" "" OTHER;
    "access-control-allow-origin" "" OTHER;
    "age" "" OTHER;
    "allow" "" OTHER;
    "authorization" "" OTHER;
    "cache-control" "" OTHER;
    "content-disposition" "" OTHER;
    "content-encoding" "" OTHER;
    "content-language" "" OTHER;
    "content-length" "" Class::Field(Known::ContentLength);
    "content-location" "" OTHER;
    "content-range" "" OTHER;
    "content-type" "" Class::Field(Known::ContentType);
    "cookie" "" Class::Field(Known::Cookie);
    "date" "" Class::Field(Known::Date);
    "etag" "" OTHER;
    "expect" "" Class::Field(Known::Expect);
    "expires" "" OTHER;
    "from" "" OTHER;
    "host" "" Class::Field(Known::Host);
    "if-match" "" OTHER;
    "if-modified-since" "" OTHER;
    "if-none-match" "" OTHER;
    "if-range" "" OTHER;
    "if-unmodified-since" "" OTHER;
    "last-modified" "" OTHER;
    "link" "" OTHER;
    "location" "" OTHER;
    "max-forwards" "" OTHER;
    "proxy-authenticate" "" Class::Field(Known::ProxyAuthenticate);
    "proxy-authorization" "" Class::Field(Known::ProxyAuthorization);
    "range" "" OTHER;
    "referer" "" OTHER;
    "refresh" "" OTHER;
    "retry-after" "" OTHER;
    "server" "" OTHER;
    "set-cookie" "" OTHER;
    "strict-transport-security" "" OTHER;
    "transfer-encoding" "" Class::Malformed;
    "user-agent" "" OTHER;
    "vary" "" OTHER;
    "via" "" OTHER;
    "www-authenticate" "" OTHER;
}

impl Fixed {
    pub(super) fn get(index: usize) -> Option<&'static Self> {
        FIXED.get(index.checked_sub(1)?)
    }

    pub(super) const fn name(&self) -> &'static [u8] {
        self.line.as_bytes().split_at(self.name).0
    }
}

/// The number of `:status` with this value.
pub(super) const fn status(status: u16) -> Option<usize> {
    Some(match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return None,
    })
}

/// The number of a field with this name, in any letter case, or 0.
pub(super) fn find(name: &[u8]) -> usize {
    // Those of one length.
    let candidates: &[u8] = match name.len() {
        3 => &[21, 60],
        4 => &[33, 34, 59, 45, 38, 37],
        5 => &[22, 50],
        6 => &[54, 19, 32, 35],
        7 => &[36, 52, 51],
        8 => &[46, 42, 39],
        10 => &[55, 58],
        11 => &[53],
        12 => &[31, 47],
        13 => &[24, 44, 18, 30, 41, 23],
        14 => &[28, 15],
        15 => &[16, 17],
        16 => &[26, 27, 29, 61],
        17 => &[57, 40],
        18 => &[48],
        19 => &[25, 43, 49],
        25 => &[56],
        27 => &[20],
        _ => &[],
    };
    let is_it = |index: &&u8| FIXED[usize::from(**index) - 1].name().eq_ignore_ascii_case(name);
    candidates.iter().find(is_it).map_or(0, |index| usize::from(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name() {
        for (place, fixed) in FIXED.iter().enumerate().skip(14) {
            assert_eq!(find(fixed.name()), place + 1, "{}", fixed.line);
            assert_eq!(fixed.class, Class::of(fixed.name()), "{}", fixed.line);
        }
        for index in 1..8 {
            let fixed = Fixed::get(index).unwrap();
            assert_eq!(fixed.class, Class::of(fixed.name()), "{}", fixed.line);
        }
        assert_eq!((find(b"Server"), find(b"servers"), find(b"x-one")), (54, 0, 0));
        assert!(Fixed::get(0).is_none() && Fixed::get(62).is_none());
        for code in [200, 204, 206, 304, 400, 404, 500] {
            let line = Fixed::get(status(code).unwrap()).unwrap().line;
            assert_eq!(line, format!(":status: {code}\r\n"));
        }
    }
}
