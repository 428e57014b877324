//! Domain names and addresses of mail.

use std::fmt;

use super::InvalidValue;

/// A domain name in lower case, perhaps `*.` and a name. It is no address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// An address of mail, as far as it can be told from its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(Box<str>);

impl Domain {
    /// Reads a name of at least two labels; a trailing dot does not count.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not a domain name: {why}"),
                "write a name such as shop.example.com or *.example.com",
            )
        };
        if !text.is_ascii() {
            return Err(InvalidValue::new(
                format!("`{text}` is not a domain name: it is not ASCII"),
                "write the punycode form of each label, such as xn--bcher-kva.example",
            ));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = name.strip_prefix("*.").unwrap_or(&name);
        if plain.contains('*') {
            return Err(wrong("`*` may only be its whole first label"));
        }
        if plain.parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong("it is an address"));
        }
        if plain.len() > 253 || !plain.contains('.') || !plain.split('.').all(is_label) {
            return Err(wrong("it is two labels or more, of letters, digits and `-`"));
        }
        Ok(Self(name.into()))
    }

    /// The name, with its `*.` if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for every name with one more label.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl Email {
    /// Reads `NAME@DOMAIN`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let is_local = |local: &str| {
            (1..=64).contains(&local.len())
                && local.bytes().all(|b| b.is_ascii_graphic() && !b"@,;:\\\"<>()[]".contains(&b))
        };
        let fits = text.rsplit_once('@').is_some_and(|(local, domain)| {
            is_local(local) && Domain::parse(domain).is_ok_and(|domain| !domain.is_wildcard())
        });
        if !fits {
            return Err(InvalidValue::new(
                format!("`{text}` is not an address of mail"),
                "write one such as admin@example.com",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses_and_nonsense() {
        for (text, canonical, is_wildcard) in [
            ("api.example.com", "api.example.com", false),
            ("API.Example.com.", "api.example.com", false),
            ("*.example.com", "*.example.com", true),
        ] {
            let domain = Domain::parse(text).unwrap();
            assert_eq!((domain.as_str(), domain.is_wildcard()), (canonical, is_wildcard));
        }
        for text in ["", "example", "a..b", "a.*.b", "10.0.0.1", "-a.b", "é.example", "a b.c"] {
            assert!(Domain::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_mail_has_a_name_and_a_domain() {
        assert_eq!(Email::parse("admin@example.com").unwrap().as_str(), "admin@example.com");
        for text in ["", "admin", "@example.com", "a b@example.com", "a@localhost", "a@*.b.c"] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }
}
