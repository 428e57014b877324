//! Health checks: what is asked, of whom, and how often.

use super::{Faults, or};
use crate::{
    config::{GrpcProbe, HealthCheck, HttpProbe, Probe},
    diagnostic::code,
    document::{self, At, CheckType, HeaderValue, Spanned},
    rule::{HeaderName, MethodName},
    value::{Duration, StatusRange},
};

/// A key and where it stands, if it was written.
type WrittenKey = (&'static str, Option<At>);

impl Faults<'_> {
    pub(super) fn health_check(&mut self, written: &document::HealthCheck) -> HealthCheck {
        let kind = or(written.r#type.as_ref(), CheckType::Http);
        self.only_for(kind, written);
        let probe = match kind {
            CheckType::Http => Probe::Http(self.http_probe(written)),
            CheckType::Tcp => Probe::Tcp,
            CheckType::Grpc => Probe::Grpc(GrpcProbe {
                service: or(written.service.as_ref(), String::new()),
                headers: self.probe_headers(written),
            }),
        };
        let tls = written.tls.as_ref().map(|tls| tls.value);
        let authorities = match &written.ca_file {
            Some(path) => {
                if tls == Some(false) {
                    let message = "nobody vouches for a backend without TLS";
                    let help = "leave it out, or write tls: true";
                    self.conflict("ca_file", path.at, message, help);
                }
                self.authorities("ca_file", path)
            }
            None => Vec::new(),
        };
        let (interval, timeout) = self.rhythm(written);
        HealthCheck {
            probe,
            port: written.port.as_ref().map(|port| port.value),
            host: self.probe_host(kind, written),
            tls,
            authorities,
            interval,
            unhealthy_interval: written.unhealthy_interval.map_or(interval, |d| d.value.get()),
            timeout,
            healthy_threshold: self.threshold(
                "healthy_threshold",
                written.healthy_threshold.as_ref(),
                2,
            ),
            unhealthy_threshold: self.threshold(
                "unhealthy_threshold",
                written.unhealthy_threshold.as_ref(),
                3,
            ),
        }
    }

    /// Reports keys that mean nothing for this kind of check.
    fn only_for(&mut self, kind: CheckType, written: &document::HealthCheck) {
        let at_of_status = written.status.as_ref().and_then(|status| status.0.first());
        let at_of_headers = written.headers.as_ref().and_then(|headers| headers.first());
        let http = [
            ("path", written.path.as_ref().map(|path| path.at)),
            ("method", written.method.as_ref().map(|method| method.at)),
            ("status", at_of_status.map(|status| status.at)),
            ("body", written.body.as_ref().map(|body| body.at)),
        ];
        let headers = [("headers", at_of_headers.map(|(name, _)| name.at))];
        let grpc = [("service", written.service.as_ref().map(|service| service.at))];
        let (without, said): (&[&[WrittenKey]], _) = match kind {
            CheckType::Http => (&[&grpc], "a request over HTTP/1.1"),
            CheckType::Tcp => (&[&http, &headers, &grpc], "a bare connection"),
            CheckType::Grpc => (&[&http], "a call of grpc.health.v1"),
        };
        for (key, at) in without.iter().copied().flatten() {
            if let Some(at) = at {
                let message = format!("`{key}` does not go with `type: {}`", kind.as_str());
                let help = match *key {
                    "service" => "leave it out, or write type: grpc",
                    "headers" => "leave them out, or write type: http or grpc",
                    _ => "leave it out, or write type: http",
                };
                self.conflict(key, *at, format!("{message}, which is {said}"), help);
            }
        }
    }

    fn http_probe(&mut self, written: &document::HealthCheck) -> HttpProbe {
        let path = or(written.path.as_ref(), "/".to_owned());
        if let Some(at) = written.path.as_ref().map(|path| path.at)
            && !HttpProbe::is_path(&path)
        {
            self.within("path", |faults| {
                let message = format!("`{path}` is not the path of a request");
                let help = "write a path that starts with `/` and has no spaces";
                faults.error(at, code::INVALID_VALUE, message, help);
            });
        }
        let method = or(written.method.as_ref(), MethodName::get());
        if let Some(at) = written.method.as_ref().map(|method| method.at)
            && !HttpProbe::is_method(&method)
        {
            self.within("method", |faults| {
                let message = "CONNECT asks for a tunnel, not for an answer";
                faults.error(at, code::INVALID_VALUE, message, "write GET, HEAD or OPTIONS");
            });
        }
        let headers = self.probe_headers(written);
        let status = written.status.as_ref().map(|status| &status.0);
        if status.is_some_and(Vec::is_empty) {
            self.within("status", |faults| {
                let message = "no status passes, so no backend is ever well";
                faults.error(written.at, code::EMPTY, message, "write status: 200-399");
            });
        }
        let usual = || StatusRange::parse("200-399").into_iter().collect();
        let status = status.map_or_else(usual, |s| s.iter().map(|range| range.value).collect());
        if let Some(body) = written.body.as_ref().filter(|_| !HttpProbe::has_body(&method)) {
            let message = "answers to HEAD have no body to look at";
            self.conflict("body", body.at, message, "write method: GET");
        }
        let body = written.body.as_ref().map(|body| body.value.clone());
        HttpProbe { path, method, headers, status, body }
    }

    /// Fields that are sent along, without those that the check writes itself.
    fn probe_headers(&mut self, written: &document::HealthCheck) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (name, value) in written.headers.iter().flatten() {
            if HealthCheck::owns(&name.value) {
                self.within("headers", |faults| {
                    let message = format!("a check writes `{}` itself", name.value.as_str());
                    let help = match name.value.as_str() {
                        "host" => "write it as `host` beside `headers`",
                        _ => "leave it out",
                    };
                    faults.error(name.at, code::CONFLICT, message, help);
                });
                continue;
            }
            headers.push((name.value.clone(), value.value.clone()));
        }
        headers
    }

    fn probe_host(
        &mut self,
        kind: CheckType,
        written: &document::HealthCheck,
    ) -> Option<HeaderValue> {
        let host = written.host.as_ref()?;
        if !HealthCheck::is_host(&host.value.0) {
            self.within("host", |faults| {
                let message = format!("`{}` is neither a name nor an address", host.value.0);
                let help = "write a host, perhaps with a port, such as shop.example.com";
                faults.error(host.at, code::INVALID_VALUE, message, help);
            });
            return None;
        }
        if kind == CheckType::Tcp && written.tls.as_ref().is_none_or(|tls| !tls.value) {
            let message = "a bare connection asks for nobody by name";
            self.conflict("host", host.at, message, "leave it out, or write tls: true");
        }
        Some(host.value.clone())
    }

    /// The interval and the time-out.
    fn rhythm(&mut self, written: &document::HealthCheck) -> (Duration, Duration) {
        let interval = written.interval.map_or(Duration::from_secs(5), |d| d.value.get());
        // A short interval without a time-out of its own still makes sense.
        let usual = Duration::from_secs(1);
        let default = if usual < interval {
            usual
        } else {
            Duration::from_millis((interval.as_millis() / 2).max(1))
        };
        let timeout = written.timeout.map_or(default, |d| d.value.get());
        if let Some(written) = &written.timeout
            && timeout >= interval
        {
            let message =
                format!("the time-out ({timeout}) is not shorter than the interval ({interval})");
            let help = "checks of one backend do not overlap: shorten the time-out";
            self.conflict("timeout", written.at, message, help);
        }
        (interval, timeout)
    }

    fn threshold(&mut self, key: &str, written: Option<&Spanned<u16>>, default: u16) -> u16 {
        let Some(written) = written else {
            return default;
        };
        if written.value == 0 {
            self.within(key, |faults| {
                let message = "zero checks in a row decide nothing".to_owned();
                faults.error(written.at, code::INVALID_VALUE, message, format!("write {default}"));
            });
        }
        written.value
    }

    fn conflict(&mut self, key: &str, at: At, message: impl Into<String>, help: &str) {
        self.within(key, |faults| faults.error(at, code::CONFLICT, message, help));
    }
}
