//! Where clients connect, as written.

use ipnet::IpNet;

use super::{CertificateFiles, Spanned, TlsVersion, record, words};
use crate::value::{
    ByteSize, CertificateName, Duration, EntryPointName, FilePath, Label, ListenAddress,
    MiddlewareName, PositiveDuration, TlsOptionsName,
};

record! {
    /// An address, what is spoken there and within which limits.
    pub struct EntryPoint {
        /// `ADDRESS:PORT` to listen on; port 0 lets each proxy pick one.
        address: Spanned<ListenAddress>,
        /// What is spoken: `http` (1.1 and 2), `tcp` or `udp`.
        protocol: Spanned<Protocol> = "http",
        /// TLS with the certificate picked by server name; `{}` turns it on.
        tls: Tls,
        /// How long clients may take.
        timeouts: EntryPointTimeouts,
        /// How much clients may send.
        limits: Limits,
        /// How long a connection may be reused.
        keep_alive: KeepAlive,
        /// Peers whose `X-Forwarded-*` fields are believed; nobody's by default.
        trusted_ips: Vec<Spanned<IpNet>>,
        /// Labels of the proxies that run it; every proxy by default.
        proxies: Vec<Spanned<Label>>,
        /// Middlewares of every route here, in this order and before the route's own.
        middlewares: Vec<Spanned<MiddlewareName>>,
        /// Sends every request to another entry point, such as from HTTP to HTTPS.
        redirect_to: Redirect,
        /// Reads the client's address from a PROXY protocol header (version 1 or 2).
        proxy_protocol: ProxyProtocol,
    }
    required: address = "address: \"0.0.0.0:8000\""
}

record! {
    /// TLS on an entry point.
    pub struct Tls {
        /// Which certificates clients may see, the first also without a matching server name;
        /// every one by default.
        certificates: Vec<Spanned<CertificateName>>,
        /// A named set from `tls_options`; keys beside it override it.
        options: Spanned<TlsOptionsName>,
        /// The oldest version spoken.
        min_version: Spanned<TlsVersion> = "1.2",
        /// The newest version spoken.
        max_version: Spanned<TlsVersion> = "1.3",
        /// The cipher suites of TLS 1.2 and 1.3 that may be used, by their IANA names.
        cipher_suites: Vec<Spanned<CipherSuite>>,
        /// Whether clients show a certificate.
        client_auth: ClientAuth,
    }
}

record! {
    /// A named set of TLS options.
    pub struct TlsOptions {
        /// The oldest version spoken.
        min_version: Spanned<TlsVersion> = "1.2",
        /// The newest version spoken.
        max_version: Spanned<TlsVersion> = "1.3",
        /// The cipher suites of TLS 1.2 and 1.3 that may be used, by their IANA names.
        cipher_suites: Vec<Spanned<CipherSuite>>,
        /// The key exchange groups that may be used, the preferred one first.
        curve_preferences: Vec<Spanned<Curve>>,
        /// The protocols offered by ALPN, the preferred one first.
        alpn_protocols: Vec<Spanned<Alpn>> = "[\"h2\", \"http/1.1\"]",
        /// Whether a client without a matching server name is refused.
        sni_strict: Spanned<bool> = "false",
        /// Whether clients show a certificate.
        client_auth: ClientAuth,
    }
}

record! {
    /// Certificates of clients.
    pub struct ClientAuth {
        /// Files with the PEM certificates of who may have issued them.
        ca_files: Vec<Spanned<FilePath>>,
        /// Whether a client must show one.
        client_auth_type: Spanned<ClientAuthType> = "require_and_verify",
    }
    required: ca_files = "ca_files: [./certs/clients-ca.crt]"
}

record! {
    /// How long clients of an entry point may take.
    pub struct EntryPointTimeouts {
        /// Until the request head is whole.
        header: Spanned<PositiveDuration> = "10s",
        /// Until the next request.
        idle: Spanned<PositiveDuration> = "60s",
        /// The longest pause in a body; 0 means no limit.
        body: Spanned<Duration> = "60s",
    }
}

record! {
    /// How much clients of an entry point may send.
    pub struct Limits {
        /// Open connections of one proxy; 0 means no limit.
        connections: Spanned<u64> = "0",
        /// Open connections of one client's address; 0 means no limit.
        connections_per_client: Spanned<u64> = "0",
        /// Bytes of the request line.
        request_line: Spanned<ByteSize> = "8KiB",
        /// Bytes of all header fields.
        header_bytes: Spanned<ByteSize> = "16KiB",
        /// Number of header fields.
        header_count: Spanned<u16> = "100",
        /// Bytes of the request body; 0 means no limit.
        body: Spanned<ByteSize> = "0",
    }
}

record! {
    /// How long a connection may be reused.
    pub struct KeepAlive {
        /// Requests on one connection; 0 means no limit.
        max_requests: Spanned<u64> = "0",
        /// Age of a connection; 0 means no limit.
        max_time: Spanned<Duration> = "0",
    }
}

record! {
    /// The PROXY protocol of whoever stands in front.
    pub struct ProxyProtocol {
        /// Peers that send it; from anyone else it is a fault of the connection.
        trusted_ips: Vec<Spanned<IpNet>>,
        /// Whether everybody may say who they are. For tests.
        insecure: Spanned<bool> = "false",
    }
}

record! {
    /// Another entry point for every request.
    pub struct Redirect {
        /// Which.
        entry_point: Spanned<EntryPointName>,
        /// The scheme of the new address; by default `https` if TLS is spoken there.
        scheme: Spanned<RedirectScheme>,
        /// Whether clients may remember it (308 and not 307).
        permanent: Spanned<bool> = "true",
    }
    required: entry_point = "entry_point: websecure"
}

record! {
    /// A certificate chain and its key, from files or inline.
    pub struct Certificate {
        /// A file with the PEM chain, leaf first.
        cert_file: Spanned<FilePath>,
        /// A file with the PEM key.
        key_file: Spanned<FilePath>,
        /// The PEM chain itself.
        cert: Spanned<String>,
        /// The PEM key itself.
        key: Spanned<crate::value::Secret<String>>,
    }
}

impl Certificate {
    /// Its keys, as those that check a chain and its key want them.
    pub(crate) fn files(&self) -> CertificateFiles<'_> {
        CertificateFiles {
            cert_file: self.cert_file.as_ref(),
            key_file: self.key_file.as_ref(),
            cert: self.cert.as_ref(),
            key: self.key.as_ref(),
            faulty: &self.faulty,
        }
    }
}

words! {
    /// What an entry point speaks.
    pub enum Protocol: "a protocol" {
        /// HTTP/1.1 and HTTP/2.
        Http = "http",
        /// Bytes over TCP.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }
}

words! {
    /// The scheme of a redirection.
    pub enum RedirectScheme: "a scheme" {
        /// Plain HTTP.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
    }
}

words! {
    /// Whether a client must show a certificate; Traefik's words in snake_case.
    pub enum ClientAuthType: "a way to ask for a certificate" {
        /// Clients are not asked.
        None = "no_client_cert",
        /// Clients are asked, and what they show is not looked at.
        Request = "request_client_cert",
        /// What clients show must be good.
        VerifyIfGiven = "verify_client_cert_if_given",
        /// Clients must show one, and it must be good.
        RequireAndVerify = "require_and_verify" | "require_and_verify_client_cert",
    }
}

words! {
    /// A key exchange group.
    pub enum Curve: "a key exchange group" {
        /// X25519 with ML-KEM-768 (post-quantum hybrid).
        X25519MlKem768 = "X25519MLKEM768",
        /// RFC 7748.
        X25519 = "X25519",
        /// NIST P-256.
        P256 = "P-256" | "CurveP256" | "secp256r1",
        /// NIST P-384.
        P384 = "P-384" | "CurveP384" | "secp384r1",
    }
}

words! {
    /// A protocol offered by ALPN (RFC 7301).
    pub enum Alpn: "a protocol of ALPN" {
        /// HTTP/2.
        H2 = "h2",
        /// HTTP/1.1.
        Http11 = "http/1.1",
    }
}

words! {
    /// A cipher suite by its IANA name. All of them are AEAD with forward secrecy.
    pub enum CipherSuite: "a cipher suite that is spoken" {
        /// TLS 1.3.
        Aes128 = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3.
        Aes256 = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3.
        ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2.
        EcdheEcdsaAes128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2.
        EcdheEcdsaAes256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2.
        EcdheEcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2.
        EcdheRsaAes128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2.
        EcdheRsaAes256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2.
        EcdheRsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

impl CipherSuite {
    /// Whether it is one of TLS 1.3.
    pub(crate) const fn is_for_tls13(self) -> bool {
        matches!(self, Self::Aes128 | Self::Aes256 | Self::ChaCha20)
    }
}
