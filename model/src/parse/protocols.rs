//! HTTP/3 and gRPC.

use super::{Faults, or, overlap::Listening, traffic_management::on};
use crate::{
    config::Grpc,
    diagnostic::code,
    document::{self, Document},
    value::{ByteSize, Duration},
};

/// The UDP port of HTTP/3 where none is written.
const PORT: u16 = 8443;

impl Faults<'_> {
    /// HTTP/3: its certificate, and whether there is TLS beside it.
    pub(super) fn http3(&mut self, document: &Document) {
        let Some(written) = on(document.http3.as_ref()) else { return };
        self.path = vec!["http3".to_owned()];
        let has_files = written.cert_file.is_some() || written.key_file.is_some();
        if has_files {
            self.certificate(written.at, written.files(), false);
        } else if !document.entry_points.iter().flatten().any(|(_, made)| made.tls.is_some()) {
            let message = "there is no certificate for it and no entry point with `tls`";
            let help = "write cert_file and key_file, or turn on `tls` at an entry point";
            self.error(written.at, code::NO_CERTIFICATE, message, help);
        }
        if let Some(early) = written.zero_rtt.filter(|early| early.value) {
            self.within("zero_rtt", |faults| {
                let message = "requests that come early can be sent again by others (RFC 8470)";
                faults.note(early.at, code::OPEN, message, "only safe methods are let through");
            });
        }
        self.path.clear();
    }

    /// Whether anybody else listens on the port of HTTP/3.
    pub(super) fn http3_port(&mut self, document: &Document, listening: &Listening<'_>) {
        let Some(written) = on(document.http3.as_ref()) else { return };
        let port = written.port.map_or(PORT, |port| port.value.get());
        if let Some(name) = listening.on_udp(port) {
            self.path = vec!["http3".to_owned(), "port".to_owned()];
            let at = written.port.map_or(written.at, |port| port.at);
            let message = format!("the entry point `{name}` listens on UDP port {port} already");
            self.error(at, code::ADDRESS_TAKEN, message, "give one of the two another port");
            self.path.clear();
        }
    }
}

/// What a block says.
pub(super) fn grpc(written: &document::Grpc) -> Grpc {
    Grpc {
        timeout: written.timeout.map_or(Duration::from_secs(30), |d| d.value.get()),
        enable_h2c: or(written.enable_h2c.as_ref(), false),
        max_receive_size: or(written.max_receive_size.as_ref(), ByteSize(4 << 20)),
        max_send_size: or(written.max_send_size.as_ref(), ByteSize(4 << 20)),
        enable_compression: or(written.enable_compression.as_ref(), false),
        enable_web: or(written.enable_web.as_ref(), false),
    }
}
