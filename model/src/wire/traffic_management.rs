//! How backends share requests, as a message and back.

use ipnet::IpNet;
use lb_proto::v1;

use super::read::{
    Decoded, backend_names, counted, duration, positive, share, statuses, text, word,
};
use crate::{
    config::{
        BlueGreen, Canary, CanarySticky, CircuitBreaker, LargeBody, MirrorTarget, SameSite,
        SessionStickiness, Slot, TrafficManagement, TrafficMirroring,
    },
    rule::HeaderName,
    value::{
        BackendName, ByteSize, CookieName, Domain, Duration, Fraction, Percentage, Url, Weight,
    },
};

/// As it travels. The steps of a canary stay behind: the control plane takes them.
pub(super) fn encode(object: &TrafficManagement) -> v1::TrafficManagement {
    let TrafficManagement {
        session_stickiness,
        blue_green,
        canary,
        traffic_mirroring,
        circuit_breaker,
    } = object;
    v1::TrafficManagement {
        session_stickiness: session_stickiness.as_ref().map(|made| v1::SessionStickiness {
            cookie_name: optional(made.cookie_name.as_ref()),
            header_name: header(made.header_name.as_ref()),
            ttl_ms: made.ttl.as_millis(),
            secure: made.secure,
            http_only: made.http_only,
            same_site: made.same_site.as_str().to_owned(),
            path: made.path.clone(),
            domain: optional(made.domain.as_ref()),
        }),
        blue_green: blue_green.as_ref().map(|made| v1::BlueGreen {
            blue: made.blue.iter().map(ToString::to_string).collect(),
            green: made.green.iter().map(ToString::to_string).collect(),
            active: made.active.as_str().to_owned(),
            switch_header: header(made.switch_header.as_ref()),
            switch_header_trusted_ips: made
                .switch_header_trusted_ips
                .iter()
                .map(ToString::to_string)
                .collect(),
            fallback: made.fallback,
        }),
        canary: canary.as_ref().map(|made| v1::Canary {
            backends: made
                .backends
                .iter()
                .map(|(backend, weight)| v1::CanaryBackend {
                    backend: backend.to_string(),
                    weight: weight.get().into(),
                })
                .collect(),
            traffic_split: made.traffic_split.parts_per_million(),
            split_header: header(made.split_header.as_ref()),
            sticky: made.sticky.map(CanarySticky::as_str).unwrap_or_default().to_owned(),
        }),
        traffic_mirroring: traffic_mirroring.as_ref().map(|made| v1::TrafficMirroring {
            targets: made
                .targets
                .iter()
                .map(|target| v1::MirrorTarget {
                    name: target.name.clone(),
                    url: target.url.to_string(),
                    timeout_ms: target.timeout.as_millis(),
                    ignore_body: target.ignore_body,
                })
                .collect(),
            is_async: made.is_async,
            sample_rate: made.sample_rate.parts_per_million(),
            max_body_bytes: made.max_body_bytes.0,
            on_large_body: made.on_large_body.as_str().to_owned(),
            strip_headers: made.strip_headers.iter().map(|name| name.as_str().to_owned()).collect(),
        }),
        circuit_breaker: circuit_breaker.as_ref().map(|made| v1::CircuitBreaker {
            failure_threshold: made.failure_threshold,
            success_threshold: made.success_threshold,
            recovery_timeout_ms: made.recovery_timeout.as_millis(),
            request_volume_threshold: made.request_volume_threshold,
            window_ms: made.window.as_millis(),
            failure_status: made.failure_status.iter().map(ToString::to_string).collect(),
            max_recovery_timeout_ms: made.max_recovery_timeout.map(Duration::as_millis),
        }),
    }
}

fn optional<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn header(name: Option<&HeaderName>) -> String {
    name.map(|name| name.as_str().to_owned()).unwrap_or_default()
}

pub(super) fn decode(message: v1::TrafficManagement) -> Decoded<TrafficManagement> {
    Ok(TrafficManagement {
        session_stickiness: message.session_stickiness.map(session_stickiness).transpose()?,
        blue_green: message.blue_green.map(blue_green).transpose()?,
        canary: message.canary.map(canary).transpose()?,
        traffic_mirroring: message.traffic_mirroring.map(traffic_mirroring).transpose()?,
        circuit_breaker: message.circuit_breaker.map(circuit_breaker).transpose()?,
    })
}

/// A name that may be left out.
fn maybe<T, E: std::fmt::Display>(
    written: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Decoded<Option<T>> {
    (!written.is_empty()).then(|| parse(written).map_err(text)).transpose()
}

fn session_stickiness(message: v1::SessionStickiness) -> Decoded<SessionStickiness> {
    let cookie_name = maybe(&message.cookie_name, CookieName::parse)?;
    let header_name = maybe(&message.header_name, HeaderName::parse)?;
    if cookie_name.is_none() && header_name.is_none() {
        return Err("sessions are known by neither cookie nor header".to_owned());
    }
    let path = message.path;
    if !crate::parse::is_path(&path) || path.contains(';') {
        return Err(format!("`{path}` is not the path of a cookie"));
    }
    Ok(SessionStickiness {
        cookie_name,
        header_name,
        ttl: positive("session ttl", message.ttl_ms)?,
        secure: message.secure,
        http_only: message.http_only,
        same_site: word::<SameSite>(&message.same_site)?,
        path,
        domain: maybe(&message.domain, Domain::parse)?,
    })
}

fn blue_green(message: v1::BlueGreen) -> Decoded<BlueGreen> {
    let ranges = message.switch_header_trusted_ips.iter();
    let trusted: Result<Vec<IpNet>, _> = ranges.map(|range| range.parse()).collect();
    Ok(BlueGreen {
        blue: backend_names(&message.blue, "blue backends")?,
        green: backend_names(&message.green, "green backends")?,
        active: word::<Slot>(&message.active)?,
        switch_header: maybe(&message.switch_header, HeaderName::parse)?,
        switch_header_trusted_ips: trusted.map_err(text)?,
        fallback: message.fallback,
    })
}

fn canary(message: v1::Canary) -> Decoded<Canary> {
    if message.backends.is_empty() {
        return Err("the canary has no backend".to_owned());
    }
    let one = |one: &v1::CanaryBackend| {
        let weight = Weight::new(one.weight.into());
        let weight = weight.ok_or_else(|| format!("weight: {} is out of range", one.weight))?;
        Ok((BackendName::parse(&one.backend).map_err(text)?, weight))
    };
    Ok(Canary {
        backends: message.backends.iter().map(one).collect::<Decoded<_>>()?,
        traffic_split: share("traffic split", message.traffic_split, Percentage::of_millionths)?,
        split_header: maybe(&message.split_header, HeaderName::parse)?,
        sticky: maybe(&message.sticky, word::<CanarySticky>)?,
        steps: Vec::new(),
    })
}

fn traffic_mirroring(message: v1::TrafficMirroring) -> Decoded<TrafficMirroring> {
    if message.targets.is_empty() {
        return Err("there is no target to mirror to".to_owned());
    }
    let target = |target: v1::MirrorTarget| {
        let url = Url::parse(&target.url).map_err(text)?;
        if url.is_secure() {
            return Err(format!("this version does not mirror to `{}`", target.url));
        }
        Ok(MirrorTarget {
            url,
            timeout: positive("mirror time-out", target.timeout_ms)?,
            ignore_body: target.ignore_body,
            name: target.name,
        })
    };
    let strip = message.strip_headers.iter().map(|name| HeaderName::parse(name).map_err(text));
    Ok(TrafficMirroring {
        targets: message.targets.into_iter().map(target).collect::<Decoded<_>>()?,
        is_async: message.is_async,
        sample_rate: share("sample rate", message.sample_rate, Fraction::of_millionths)?,
        max_body_bytes: ByteSize(message.max_body_bytes),
        on_large_body: word::<LargeBody>(&message.on_large_body)?,
        strip_headers: strip.collect::<Decoded<_>>()?,
    })
}

fn circuit_breaker(message: v1::CircuitBreaker) -> Decoded<CircuitBreaker> {
    let most = message.max_recovery_timeout_ms;
    Ok(CircuitBreaker {
        failure_threshold: counted("failure threshold", message.failure_threshold)?,
        success_threshold: counted("success threshold", message.success_threshold)?,
        recovery_timeout: positive("recovery time-out", message.recovery_timeout_ms)?,
        request_volume_threshold: message.request_volume_threshold,
        window: positive("window", message.window_ms)?,
        failure_status: statuses(&message.failure_status)?,
        max_recovery_timeout: most.map(|most| duration("recovery time-out", most)).transpose()?,
    })
}
