//! Backends that a registry knows.

use super::{Faults, or, traffic_management::on};
use crate::{
    diagnostic::code,
    document::{Document, Operator, Provider, ServiceDiscovery},
    value::Pattern,
};

impl Faults<'_> {
    /// Where a registry is, what is taken from it, and what it is shown.
    pub(super) fn service_discovery(&mut self, document: &Document) {
        let Some(written) = on(document.service_discovery.as_ref()) else { return };
        self.path = vec!["service_discovery".to_owned()];
        self.discovery_endpoints(written);
        self.each("filters", written.filters.iter().flatten(), |faults, filter| {
            let operator = or(filter.operator.as_ref(), Operator::Equals);
            let values = filter.values.as_deref().unwrap_or_default();
            match operator {
                Operator::Exists => {
                    if let [first, ..] = values {
                        let message = "`exists` compares with nothing";
                        faults.error(first.at, code::CONFLICT, message, "leave `values` out");
                    }
                }
                _ if values.is_empty() && !filter.faulty.contains(&"values") => {
                    let help = "write values: [ONE, ...]";
                    faults.error(filter.at, code::MISSING, "`values` is missing", help);
                }
                Operator::Regex => {
                    faults.each("values", values, |faults, value| {
                        if let Err(fault) = Pattern::parse(&value.value) {
                            let help = fault.help.unwrap_or_default();
                            faults.error(value.at, code::INVALID_PATTERN, fault.message, help);
                        }
                    });
                }
                _ => {}
            }
        });
        self.discovery_credentials(written);
        self.client_tls(written.tls.as_ref());
        self.path.clear();
    }

    fn discovery_endpoints(&mut self, written: &ServiceDiscovery) {
        let Some(provider) = written.provider else { return };
        // Kubernetes, Docker and the DNS are where this machine knows them to be.
        let needed = matches!(provider.value, Provider::Consul | Provider::Etcd | Provider::Http);
        let is_empty = written.endpoints.as_ref().is_none_or(Vec::is_empty);
        if needed && is_empty && !written.faulty.contains(&"endpoints") {
            let message = format!("`endpoints` is missing: where is {}?", provider.value.as_str());
            let help = "write endpoints: [\"consul:8500\"]";
            self.error(written.at, code::MISSING, message, help);
        }
        let needs_path = matches!(provider.value, Provider::File | Provider::Etcd);
        if needs_path && written.path.is_none() && !written.faulty.contains(&"path") {
            let message = format!("`path` is missing: what of {}?", provider.value.as_str());
            let help = "write path: the file, or the prefix of the keys";
            self.error(written.at, code::MISSING, message, help);
        }
    }

    fn discovery_credentials(&mut self, written: &ServiceDiscovery) {
        let token = written.token.as_ref().map(|token| token.at);
        let file = written.token_file.as_ref();
        if let (Some(_), Some(file)) = (token, file) {
            let message = "`token` and `token_file` say the same twice";
            self.error(file.at, code::CONFLICT, message, "keep one of the two");
        }
        if let Some(path) = file {
            self.secret_file("token_file", path);
        }
        if let Some(basic) = &written.basic_auth {
            if let Some(at) = token.or(file.map(|file| file.at)) {
                let message = "it is shown a token or a password, not both";
                self.error(at, code::CONFLICT, message, "keep one of the two");
            }
            self.within("basic_auth", |faults| match (&basic.password, &basic.password_file) {
                (Some(_), Some(file)) => {
                    let message = "`password` and `password_file` say the same twice";
                    faults.error(file.at, code::CONFLICT, message, "keep one of the two");
                }
                (None, Some(file)) => faults.secret_file("password_file", file),
                (None, None) if !basic.faulty.contains(&"password") => {
                    let help = "write password_file: PATH";
                    faults.error(basic.at, code::MISSING, "`password` is missing", help);
                }
                _ => {}
            });
        }
    }

    /// A file with a secret of one line.
    pub(super) fn secret_file(
        &mut self,
        key: &str,
        path: &crate::document::Spanned<crate::value::FilePath>,
    ) {
        let Some(content) = self.file(key, path, "") else { return };
        if content.trim_ascii().is_empty() || std::str::from_utf8(content).is_err() {
            self.within(key, |faults| {
                let message = format!("the file `{}` holds no text", path.value);
                faults.error(path.at, code::INVALID_FILE, message, "put the secret in it");
            });
        }
    }
}
