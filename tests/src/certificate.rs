//! Certificates made for a test.

use std::{fmt::Write, path::Path};

/// A self-signed certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Pair {
    /// A new pair for a host name.
    pub fn new(host: &str) -> Self {
        let made =
            rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// The pair as an entry of the `certificates` map of a document.
    pub fn entry(&self, name: &str) -> String {
        let mut entry = format!("  {name}:\n");
        for (key, pem) in [("cert", &self.certificate), ("key", &self.key)] {
            let _ = writeln!(entry, "    {key}: |");
            for line in pem.lines() {
                let _ = writeln!(entry, "      {line}");
            }
        }
        entry
    }

    /// What may stand for a file that is not there, if it is one of a pair by its ending.
    pub fn stand_in(&self, path: &Path) -> Option<Vec<u8>> {
        let text = match path.extension()?.to_str()? {
            "crt" => &self.certificate,
            "key" => &self.key,
            _ => return None,
        };
        Some(text.clone().into_bytes())
    }

    /// The certificate without the armour and the line ends of PEM.
    pub fn bare(&self) -> String {
        self.certificate.lines().filter(|line| !line.starts_with("-----")).collect()
    }
}
