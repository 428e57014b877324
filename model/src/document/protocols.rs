//! HTTP/3 and gRPC, as written.

use std::num::{NonZeroU16, NonZeroU32};

use super::{CertificateFiles, Spanned, record};
use crate::value::{ByteSize, Duration, FilePath, PositiveDuration};

record! {
    /// HTTP/3 beside the TLS entry points.
    pub struct Http3 {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// The UDP port.
        port: Spanned<NonZeroU16> = "8443",
        /// The port that clients are told (`Alt-Svc`), where it is another.
        advertised_port: Spanned<NonZeroU16>,
        /// A file with a PEM chain; by default the certificates of TLS entry points are shown.
        cert_file: Spanned<FilePath>,
        /// A file with its PEM key.
        key_file: Spanned<FilePath>,
        /// After how long without progress a stream is reset; 0 means never.
        max_stream_timeout: Spanned<Duration> = "30s",
        /// Streams of a connection at once.
        max_concurrent_streams: Spanned<NonZeroU32> = "100",
        /// Connections at once; 0 means no limit.
        max_connections: Spanned<u32> = "0",
        /// Whether safe requests may come before the handshake is over (RFC 8470).
        zero_rtt: Spanned<bool> = "false",
    }
}

impl Http3 {
    /// Its keys, as those that check a chain and its key want them.
    pub(crate) fn files(&self) -> CertificateFiles<'_> {
        CertificateFiles {
            cert_file: self.cert_file.as_ref(),
            key_file: self.key_file.as_ref(),
            cert: None,
            key: None,
            faulty: &self.faulty,
        }
    }
}

record! {
    /// gRPC. At the top level it is for every route that does not set its own.
    pub struct Grpc {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// For a call without streams in all; for streams until the first answer, and the
        /// longest pause.
        timeout: Spanned<PositiveDuration> = "30s",
        /// Whether clients may speak HTTP/2 without TLS.
        enable_h2c: Spanned<bool> = "false",
        /// The largest message from a client.
        max_receive_size: Spanned<ByteSize> = "4MiB",
        /// The largest message from a backend.
        max_send_size: Spanned<ByteSize> = "4MiB",
        /// Whether messages are compressed for those who take it.
        enable_compression: Spanned<bool> = "false",
        /// Whether browsers may speak gRPC-Web.
        enable_web: Spanned<bool> = "false",
    }
}
