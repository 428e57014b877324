//! Certificates that a certification authority issues by itself.

use super::{Faults, or, traffic_management::on};
use crate::{
    diagnostic::code,
    document::{Challenge, DnsProviderName, Document, LetsEncrypt},
};

/// Days of the usual 90 from which on a third of the life is left.
const THIRD: u16 = 30;

impl Faults<'_> {
    /// The names, and whether the challenge can show that they are ours.
    pub(super) fn lets_encrypt(&mut self, document: &Document) {
        let Some(written) = on(document.lets_encrypt.as_ref()) else { return };
        self.path = vec!["lets_encrypt".to_owned()];
        let challenge = or(written.challenge_type.as_ref(), Challenge::Http);
        if let Some(domains) = &written.domains {
            let names = self.within("domains", |faults| faults.distinct(domains));
            if names.is_empty() {
                let help = "write domains: [shop.example.com]";
                self.error(written.at, code::EMPTY, "there is no name for a certificate", help);
            }
            for domain in domains {
                if domain.value.is_wildcard() && challenge != Challenge::Dns {
                    self.within("domains", |faults| {
                        let message = format!(
                            "`{}` cannot be shown to be ours by {}",
                            domain.value,
                            challenge.as_str()
                        );
                        let help = "write challenge_type: dns, or name each host";
                        faults.error(domain.at, code::CONFLICT, message, help);
                    });
                }
            }
        }
        if let Some(days) = written.renewal_days {
            self.within("renewal_days", |faults| match days.value {
                0 => {
                    let message = "a certificate would end before it is renewed";
                    faults.error(days.at, code::INVALID_VALUE, message, "write 30");
                }
                1..=THIRD => {}
                more => {
                    let message = format!(
                        "a certificate of 90 days is not renewed {more} days before its end, but \
                         with a third of its life left"
                    );
                    faults.warn(days.at, code::RENEWAL, message, "write 30 or less");
                }
            });
        }
        if written.email.is_none() && !written.faulty.contains(&"email") {
            let message = "the authority can warn nobody of a certificate that ends";
            self.warn(written.at, code::MISSING, message, "write email: admin@example.com");
        }
        if let (Some(staging), Some(url)) = (written.staging, &written.ca_url)
            && staging.value
        {
            let message = "`staging` and `ca_url` name two authorities";
            self.error(url.at, code::CONFLICT, message, "keep one of the two");
        }
        self.dns_provider(written, challenge);
        self.external_account(written);
        self.path.clear();
    }

    fn dns_provider(&mut self, written: &LetsEncrypt, challenge: Challenge) {
        let provider = written.dns_provider.as_ref();
        match (challenge, provider) {
            (Challenge::Dns, None) if !written.faulty.contains(&"dns_provider") => {
                let at = written.challenge_type.map_or(written.at, |challenge| challenge.at);
                let help = "write dns_provider: { name: cloudflare, credentials: { ... } }";
                self.error(at, code::MISSING, "`dns_provider` is missing", help);
            }
            (Challenge::Http | Challenge::TlsAlpn, Some(provider)) => {
                let message = format!("{} changes no DNS", challenge.as_str());
                let help = "write challenge_type: dns, or leave this out";
                self.error(provider.at, code::CONFLICT, message, help);
            }
            _ => {}
        }
        let Some(provider) = provider else { return };
        let missing = match provider.name.map(|name| name.value) {
            Some(DnsProviderName::Exec) if provider.command.is_none() => Some("command"),
            Some(DnsProviderName::Webhook | DnsProviderName::Rfc2136)
                if provider.endpoint.is_none() =>
            {
                Some("endpoint")
            }
            _ => None,
        };
        if let Some(key) = missing.filter(|key| !provider.faulty.contains(key)) {
            self.within("dns_provider", |faults| {
                let message = format!("`{key}` is missing");
                faults.error(provider.at, code::MISSING, message, format!("write {key}: ..."));
            });
        }
    }

    fn external_account(&mut self, written: &LetsEncrypt) {
        let Some(account) = &written.external_account else { return };
        self.within("external_account", |faults| {
            match (&account.hmac_key, &account.hmac_key_file) {
                (Some(_), Some(file)) => {
                    let message = "`hmac_key` and `hmac_key_file` say the same twice";
                    faults.error(file.at, code::CONFLICT, message, "keep one of the two");
                }
                (None, Some(file)) => faults.secret_file("hmac_key_file", file),
                (None, None) if !account.faulty.contains(&"hmac_key") => {
                    let help = "write hmac_key_file: PATH";
                    faults.error(account.at, code::MISSING, "`hmac_key` is missing", help);
                }
                _ => {}
            }
        });
    }
}
