//! Names of configured objects. One type a kind, so that a service's name cannot be looked up
//! among the backends.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::InvalidValue;

/// The longest name; metrics and tables carry names whole.
pub const MAX_LEN: usize = 128;

fn check(kind: &str, text: &str) -> Result<(), InvalidValue> {
    let wrong = |why: &str| {
        Err(InvalidValue::new(
            format!("`{text}` is not a name for {kind}: {why}"),
            "use letters, digits, `-`, `_`, `.` and `@`, starting with a letter or digit",
        ))
    };
    if text.is_empty() {
        return wrong("it is empty");
    }
    if text.len() > MAX_LEN {
        return wrong("it is longer than 128 bytes");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if let Some(c) = text.chars().find(|c| !fits(*c)) {
        return wrong(&format!("it contains {c:?}"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return wrong("it does not start with a letter or digit");
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name; letters, digits, `-`, `_`, `.` and `@` make one.
            pub fn parse(text: &str) -> Result<Self, InvalidValue> {
                check($kind, text)?;
                Ok(Self(text.into()))
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as a shared string, for those who keep many copies.
            pub fn to_arc(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The name of an entry point.
    EntryPointName = "an entry point";
    /// The name of a backend: the id that operators and the admin API use.
    BackendName = "a backend";
    /// The name of a service.
    ServiceName = "a service";
    /// The name of a route.
    RouteName = "a route";
    /// The name of a certificate.
    CertificateName = "a certificate";
    /// The name of a middleware.
    MiddlewareName = "a middleware";
    /// The name of a set of TLS options.
    TlsOptionsName = "TLS options";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_to_its_alphabet() {
        for good in ["web", "web-1", "api.v2", "orders@consul", "1"] {
            assert_eq!(RouteName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "-a", "é", &"x".repeat(129)] {
            assert!(RouteName::parse(bad).is_err(), "{bad}");
        }
    }
}
