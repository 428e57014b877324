//! Versions of TLS, the broken ones included so that they can be refused by name.

use super::words;

words! {
    /// A version of TLS.
    pub enum TlsVersion: "a version of TLS" {
        /// RFC 2246; broken.
        Tls10 = "1.0" | "VersionTLS10" | "tls1.0",
        /// RFC 4346; broken.
        Tls11 = "1.1" | "VersionTLS11" | "tls1.1",
        /// RFC 5246.
        Tls12 = "1.2" | "VersionTLS12" | "tls1.2",
        /// RFC 8446.
        Tls13 = "1.3" | "VersionTLS13" | "tls1.3",
    }
}

impl TlsVersion {
    /// Whether this proxy speaks it.
    pub(crate) const fn is_spoken(self) -> bool {
        matches!(self, Self::Tls12 | Self::Tls13)
    }

    /// Its place in the order of versions.
    pub(crate) const fn rank(self) -> u8 {
        self as u8
    }
}
