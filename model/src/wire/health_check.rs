//! Health checks as messages, and back.

use std::num::NonZeroU16;

use lb_proto::v1;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::read::{Decoded, positive, small, statuses, text};
use crate::{
    config::{GrpcProbe, HealthCheck, HttpProbe, Probe},
    document::HeaderValue,
    rule::{HeaderName, MethodName},
    value::Pattern,
};

pub(super) fn encode(check: &HealthCheck) -> v1::HealthCheck {
    let HealthCheck {
        probe,
        port,
        host,
        tls,
        authorities,
        interval,
        unhealthy_interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
    } = check;
    let probe = match probe {
        Probe::Http(HttpProbe { path, method, headers, status, body }) => {
            v1::health_check::Probe::Http(v1::HttpProbe {
                path: path.clone(),
                method: method.as_str().to_owned(),
                headers: encode_headers(headers),
                status: status.iter().map(ToString::to_string).collect(),
                body: body.as_ref().map(|body| body.as_str().to_owned()),
            })
        }
        Probe::Tcp => v1::health_check::Probe::Tcp(v1::TcpProbe {}),
        Probe::Grpc(GrpcProbe { service, headers }) => {
            let headers = encode_headers(headers);
            v1::health_check::Probe::Grpc(v1::GrpcProbe { service: service.clone(), headers })
        }
    };
    v1::HealthCheck {
        interval_ms: interval.as_millis(),
        timeout_ms: timeout.as_millis(),
        healthy_threshold: (*healthy_threshold).into(),
        unhealthy_threshold: (*unhealthy_threshold).into(),
        unhealthy_interval_ms: unhealthy_interval.as_millis(),
        probe: Some(probe),
        port: port.map(|port| port.get().into()),
        host: host.as_ref().map(|host| host.0.to_string()),
        tls: *tls,
        authorities: authorities.iter().map(|der| der.to_vec().into()).collect(),
    }
}

fn encode_headers(headers: &[(HeaderName, HeaderValue)]) -> Vec<v1::HeaderField> {
    let field = |(name, value): &(HeaderName, HeaderValue)| v1::HeaderField {
        name: name.as_str().to_owned(),
        value: value.0.to_string(),
    };
    headers.iter().map(field).collect()
}

pub(super) fn decode(message: v1::HealthCheck) -> Decoded<HealthCheck> {
    let port = match message.port {
        None => None,
        Some(port) => Some(small("port", port).map(NonZeroU16::new)?.ok_or("port: it is 0")?),
    };
    let host = message.host.as_deref().map(|host| {
        if !HealthCheck::is_host(host) {
            return Err(format!("`{host}` is neither a name nor an address"));
        }
        HeaderValue::parse(host).map_err(text)
    });
    let authorities = message.authorities.iter().map(|der| {
        X509Certificate::from_der(der).map_err(|_| "an authority is not X.509".to_owned())?;
        Ok(CertificateDer::from(der.to_vec()))
    });
    let authorities: Vec<_> = authorities.collect::<Decoded<_>>()?;
    if message.tls == Some(false) && !authorities.is_empty() {
        return Err("there are authorities for a check without TLS".to_owned());
    }
    let timeout = positive("time-out", message.timeout_ms)?;
    let interval = positive("interval", message.interval_ms)?;
    Ok(HealthCheck {
        probe: probe(message.probe.ok_or("it does not say what is asked")?)?,
        port,
        host: host.transpose()?,
        tls: message.tls,
        authorities,
        interval,
        unhealthy_interval: positive("unhealthy interval", message.unhealthy_interval_ms)?,
        timeout,
        healthy_threshold: small("healthy threshold", message.healthy_threshold)?,
        unhealthy_threshold: small("unhealthy threshold", message.unhealthy_threshold)?,
    })
}

fn probe(message: v1::health_check::Probe) -> Decoded<Probe> {
    let message = match message {
        v1::health_check::Probe::Http(message) => message,
        v1::health_check::Probe::Tcp(v1::TcpProbe {}) => return Ok(Probe::Tcp),
        v1::health_check::Probe::Grpc(v1::GrpcProbe { service, headers }) => {
            return Ok(Probe::Grpc(GrpcProbe { service, headers: decode_headers(&headers)? }));
        }
    };
    let path = message.path;
    if !HttpProbe::is_path(&path) {
        return Err(format!("`{path}` is not the path of a request"));
    }
    let method = MethodName::parse(&message.method).map_err(text)?;
    if !HttpProbe::is_method(&method) {
        return Err(format!("a check cannot ask with {}", method.as_str()));
    }
    let status = statuses(&message.status)?;
    if status.is_empty() {
        return Err("no status passes".to_owned());
    }
    let body = message.body.as_deref().map(Pattern::parse).transpose().map_err(text)?;
    if body.is_some() && !HttpProbe::has_body(&method) {
        return Err("answers to HEAD have no body".to_owned());
    }
    let headers = decode_headers(&message.headers)?;
    Ok(Probe::Http(HttpProbe { path, method, headers, status, body }))
}

fn decode_headers(fields: &[v1::HeaderField]) -> Decoded<Vec<(HeaderName, HeaderValue)>> {
    let field = |field: &v1::HeaderField| {
        let name = HeaderName::parse(&field.name).map_err(text)?;
        if HealthCheck::owns(&name) {
            return Err(format!("a check writes `{}` itself", name.as_str()));
        }
        Ok((name, HeaderValue::parse(&field.value).map_err(text)?))
    };
    fields.iter().map(field).collect()
}
