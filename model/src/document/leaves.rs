//! How single values are read, and what a schema says of them.

use std::num::{NonZeroU16, NonZeroU32};

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::reader::{At, Item, Leaf, Reader, Spanned, Visitor};
use crate::{
    rule::{HeaderName, MethodName},
    schema::Definitions,
    value::{
        BackendName, BackendUrl, ByteSize, CertificateName, CookieName, Domain, Duration, Email,
        Endpoint, EntryPointName, Factor, FilePath, Fraction, HashSource, InvalidValue, Label,
        ListenAddress, MiddlewareName, PathPattern, Pattern, Percentage, PositiveDuration,
        RouteName, Secret, ServiceName, StatusRange, TlsOptionsName, Url, Weight,
    },
    yaml::{Node, Value},
};

/// Types that parse themselves, with their schema.
macro_rules! leaves {
    ($($kind:ty => $schema:tt,)*) => {$(
        impl Leaf for $kind {
            fn leaf(text: &str) -> Result<Self, InvalidValue> {
                <$kind>::parse(text)
            }

            fn schema() -> Json {
                json!($schema)
            }
        }
    )*};
}
leaves! {
    BackendName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    CertificateName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    EntryPointName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    MiddlewareName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    RouteName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    ServiceName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    TlsOptionsName => { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$" },
    ByteSize => {
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": "^[0-9]+ *(B|kB|KB|MB|GB|KiB|MiB|GiB)?$",
        "examples": ["10MiB"],
    },
    CookieName => { "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$" },
    Domain => { "type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)+\\.?$" },
    Duration => {
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$",
        "examples": ["30s", "1h30m"],
    },
    PositiveDuration => {
        "type": ["integer", "string"],
        "minimum": 1,
        "pattern": "^([0-9]*[1-9][0-9]*|([0-9]+(ms|s|m|h|d))+)$",
        "examples": ["30s", "1h30m"],
    },
    Email => { "type": "string", "pattern": "^[^@ ]+@[^@ ]+\\.[^@ ]+$" },
    Endpoint => { "type": "string", "pattern": "^(https?://)?[^/@?# ]+/?$" },
    Fraction => { "type": ["number", "string"], "minimum": 0, "maximum": 1,
                  "pattern": "^[01](\\.[0-9]{1,6})?$" },
    Percentage => { "type": ["number", "string"], "minimum": 0, "maximum": 100,
                    "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})?$" },
    Factor => { "type": ["number", "string"], "minimum": 0, "maximum": 10,
                "pattern": "^(10|[0-9])(\\.[0-9]{1,3})?$" },
    HashSource => {
        "type": "string",
        "pattern": "^(client_ip|path|header:.+|cookie:.+)$",
    },
    Label => { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$" },
    ListenAddress => {
        "type": "string",
        "pattern": "^.*:[0-9]{1,5}$",
        "examples": ["0.0.0.0:8000", "[::]:8443", ":80"],
    },
    PathPattern => { "type": "string", "pattern": "^/[^?# ]*$", "examples": ["/api/v1/*"] },
    Pattern => { "type": "string" },
    StatusRange => { "type": ["integer", "string"],
                     "pattern": "^[1-5]([0-9]{2}(-[1-5][0-9]{2})?|xx)$",
                     "minimum": 100, "maximum": 599 },
    Url => { "type": "string", "pattern": "^https?://[^/@# ]+[^# ]*$" },
    Weight => { "type": "integer", "minimum": 0, "maximum": 1000 },
}

impl Leaf for BackendUrl {
    const KIND: &'static str = "Scheme";

    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": "^(https?|h2c|grpcs?|tcp|udp)://[^?#@ ]+$",
            "examples": ["http://10.0.0.7:8080"],
        })
    }

    fn word(&self) -> Option<&'static str> {
        Some(self.scheme().as_str())
    }
}

impl Leaf for FilePath {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn visit(&self, at: At, visitor: &mut Visitor) {
        visitor.files.push(Spanned { value: self.as_str().to_owned(), at });
    }
}

impl Leaf for Secret<String> {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self::new(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number"] })
    }

    fn visit(&self, at: At, visitor: &mut Visitor) {
        visitor.secrets.push(at);
    }
}

impl Leaf for String {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.to_owned())
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Leaf for bool {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(InvalidValue::new(
                format!("`{text}` is neither true nor false"),
                "write true or false",
            )),
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn is_on(&self) -> bool {
        *self
    }
}

macro_rules! whole_numbers {
    ($($kind:ty: $least:expr, $most:expr;)*) => {$(
        impl Leaf for $kind {
            fn leaf(text: &str) -> Result<Self, InvalidValue> {
                text.parse().map_err(|_| InvalidValue::new(
                    format!("`{text}` is not a whole number within range"),
                    format!("write a number from {} to {}", <$kind>::MIN, <$kind>::MAX),
                ))
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": $least, "maximum": $most })
            }
        }
    )*};
}
whole_numbers! {
    u8: u8::MIN, u8::MAX;
    u16: u16::MIN, u16::MAX;
    u32: u32::MIN, u32::MAX;
    u64: u64::MIN, u64::MAX;
    i64: i64::MIN, i64::MAX;
    NonZeroU16: 1, u16::MAX;
    NonZeroU32: 1, u32::MAX;
}

impl Leaf for IpNet {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        let address = text.parse::<std::net::IpAddr>().map(Self::from);
        text.parse().or(address).map_err(|_| {
            InvalidValue::new(
                format!("`{text}` is neither an address nor a range"),
                "write an IP address or a range such as 10.0.0.0/8",
            )
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" })
    }
}

impl Leaf for HeaderName {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text).map_err(|fault| {
            InvalidValue::new(fault.to_string(), "write a name such as X-Request-Id")
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

impl Leaf for MethodName {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
            .map_err(|fault| InvalidValue::new(fault.to_string(), "write a method such as GET"))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// The value of a header field (RFC 9110 section 5.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(pub Box<str>);

impl HeaderValue {
    /// Takes any text without control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(InvalidValue::new(
                "a header value has no line breaks or other control characters",
                "write it on one line",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Leaf for HeaderValue {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// A value or a list of them: `a` means `[a]`.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<Spanned<T>>);

impl<T: Leaf> Item for OneOrMany<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::read(node, reader).map(Self),
            _ => Spanned::read(node, reader).map(|one| Self(vec![one])),
        }
    }

    fn schema(definitions: &mut Definitions) -> Json {
        let many = <Vec<Spanned<T>> as Item>::schema(definitions);
        json!({ "anyOf": [T::schema(), many] })
    }

    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }

    fn is_on(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Anything at all, for those who know what it means: the configuration of a plugin.
#[derive(Debug, Clone)]
pub struct Anything {
    /// The same as JSON.
    pub value: Json,
    /// Where values stand whose key speaks of a secret.
    secrets: Vec<At>,
}

/// Keys with one of these in them hold what must not be shown.
const SECRET_KEYS: [&str; 6] = ["secret", "password", "token", "credential", "private", "key"];

impl Item for Anything {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut secrets = Vec::new();
        let value = anything(node, false, reader, &mut secrets);
        Some(Self { value, secrets })
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["object", "null"] })
    }

    fn visit(&self, visitor: &mut Visitor) {
        visitor.secrets.extend(&self.secrets);
    }
}

/// A node as JSON. Depth is bounded by the YAML reader.
fn anything(node: &Node, is_secret: bool, reader: &Reader<'_>, secrets: &mut Vec<At>) -> Json {
    match &node.value {
        Value::Null | Value::Faulty => Json::Null,
        Value::Scalar { text, quoted } => {
            if is_secret {
                secrets.push(reader.at(node));
            }
            match serde_json::from_str(text) {
                Ok(value @ (Json::Bool(_) | Json::Number(_))) if !quoted => value,
                _ => json!(text),
            }
        }
        Value::List(items) => {
            items.iter().map(|item| anything(item, is_secret, reader, secrets)).collect()
        }
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let key = entry.key.to_ascii_lowercase();
                let is_secret = is_secret || SECRET_KEYS.iter().any(|word| key.contains(word));
                (entry.key.clone(), anything(&entry.node, is_secret, reader, secrets))
            })
            .collect(),
    }
}
