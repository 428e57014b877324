//! Certificates that a certification authority issues by itself, as written.

use super::{Named, Spanned, record, words};
use crate::value::{Domain, Email, FilePath, PositiveDuration, Secret, Url};

record! {
    /// Certificates by ACME (RFC 8555), from Let's Encrypt or another authority.
    pub struct LetsEncrypt {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Where the authority may write to.
        email: Spanned<Email>,
        /// The names that certificates are for.
        domains: Vec<Spanned<Domain>>,
        /// How it is shown that they are ours.
        challenge_type: Spanned<Challenge> = "http",
        /// How many days before its end a certificate is renewed; never earlier than with a
        /// third of its life left.
        renewal_days: Spanned<u16> = "30",
        /// Whether the authority is the one for tests.
        staging: Spanned<bool> = "false",
        /// The directory of another authority.
        ca_url: Spanned<Url>,
        /// Whether each name gets a certificate of its own.
        certificate_per_domain: Spanned<bool> = "true",
        /// The kind of keys.
        key_type: Spanned<KeyType> = "ec256",
        /// The issuer at the top of the chain, where there are several.
        preferred_chain: Spanned<String>,
        /// The profile of certificates asked for.
        profile: Spanned<String>,
        /// An account that exists elsewhere.
        external_account: ExternalAccount,
        /// Who changes the DNS, for challenge `dns`.
        dns_provider: DnsProvider,
        /// Whether a client is refused rather than shown a certificate of our own making.
        strict_sni: Spanned<bool> = "false",
    }
    required: domains = "domains: [shop.example.com]"
}

record! {
    /// An account that exists elsewhere (external account binding).
    pub struct ExternalAccount {
        /// Its number.
        key_id: Spanned<String>,
        /// Its key, in base64url.
        hmac_key: Spanned<Secret<String>>,
        /// A file with it.
        hmac_key_file: Spanned<FilePath>,
    }
    required: key_id = "key_id: ID"
}

record! {
    /// Who changes the DNS.
    pub struct DnsProvider {
        /// Who.
        name: Spanned<DnsProviderName>,
        /// What it wants to know, as it calls it.
        credentials: Named<String, Spanned<Secret<String>>>,
        /// How long changes take to be seen.
        propagation_timeout: Spanned<PositiveDuration> = "2m",
        /// The program of exec.
        command: Spanned<String>,
        /// The address of webhook or rfc2136.
        endpoint: Spanned<String>,
    }
    required: name = "name: cloudflare"
}

words! {
    /// How it is shown that a name is ours.
    pub enum Challenge: "a challenge" {
        /// A file under a path (RFC 8555 section 8.3).
        Http = "http" | "http-01",
        /// A record in the DNS (RFC 8555 section 8.4).
        Dns = "dns" | "dns-01",
        /// A certificate (RFC 8737).
        TlsAlpn = "tls-alpn" | "tls-alpn-01",
    }
}

words! {
    /// A kind of key.
    pub enum KeyType: "a kind of key" {
        /// ECDSA with P-256.
        Ec256 = "ec256",
        /// ECDSA with P-384.
        Ec384 = "ec384",
        /// RSA with 2048 bits.
        Rsa2048 = "rsa2048",
        /// RSA with 4096 bits.
        Rsa4096 = "rsa4096",
    }
}

words! {
    /// Who changes the DNS.
    pub enum DnsProviderName: "a provider of DNS" {
        /// Cloudflare.
        Cloudflare = "cloudflare",
        /// Amazon Route 53.
        Route53 = "route53",
        /// Gandi.
        Gandi = "gandi",
        /// DigitalOcean.
        DigitalOcean = "digitalocean",
        /// Dynamic updates.
        Rfc2136 = "rfc2136",
        /// acme-dns.
        AcmeDns = "acme-dns",
        /// A program.
        Exec = "exec",
        /// A request.
        Webhook = "webhook",
    }
}
