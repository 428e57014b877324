//! What a service does about backends that fail, as messages and back.

use lb_proto::v1;

use super::read::{Decoded, counted, duration, positive, share, statuses, text, word};
use crate::{
    config::{Failover, InFlightLimit, OutlierDetection, Overload, Retry, RetryOn, SuccessRate},
    value::{ByteSize, Duration, Factor, HashSource, Percentage, ServiceName, Weight},
};

pub(super) fn encode_retry(object: &Retry) -> v1::Retry {
    v1::Retry {
        attempts: object.attempts,
        initial_interval_ms: object.initial_interval.as_millis(),
        per_try_timeout_ms: object.per_try_timeout.map(Duration::as_millis),
        on: object.on.iter().map(|on| on.as_str().to_owned()).collect(),
        status: object.status.iter().map(ToString::to_string).collect(),
        non_idempotent: object.non_idempotent,
        max_body_bytes: object.max_body_bytes.0,
        budget: object.budget.parts_per_million(),
    }
}

pub(super) fn retry(message: v1::Retry) -> Decoded<Retry> {
    let per_try = message.per_try_timeout_ms;
    Ok(Retry {
        attempts: counted("attempts", message.attempts)?,
        initial_interval: duration("pause between tries", message.initial_interval_ms)?,
        per_try_timeout: per_try.map(|millis| positive("time-out of a try", millis)).transpose()?,
        on: message.on.iter().map(|on| word::<RetryOn>(on)).collect::<Decoded<_>>()?,
        status: statuses(&message.status)?,
        non_idempotent: message.non_idempotent,
        max_body_bytes: ByteSize(message.max_body_bytes),
        budget: share("retry budget", message.budget, Percentage::of_millionths)?,
    })
}

pub(super) fn encode_outliers(object: &OutlierDetection) -> v1::OutlierDetection {
    v1::OutlierDetection {
        max_failed_attempts: object.max_failed_attempts,
        failure_window_ms: object.failure_window.as_millis(),
        ejection_time_ms: object.ejection_time.as_millis(),
        max_ejection_time_ms: object.max_ejection_time.as_millis(),
        max_ejection_share: object.max_ejection_percent.parts_per_million(),
        success_rate: object.success_rate.map(|rate| v1::SuccessRate {
            interval_ms: rate.interval.as_millis(),
            minimum_hosts: rate.minimum_hosts,
            request_volume: rate.request_volume,
            stdev_factor: rate.stdev_factor.thousandths(),
        }),
    }
}

pub(super) fn outliers(message: v1::OutlierDetection) -> Decoded<OutlierDetection> {
    let most = message.max_ejection_share;
    let rate = |rate: v1::SuccessRate| {
        Ok::<_, String>(SuccessRate {
            interval: positive("interval", rate.interval_ms)?,
            minimum_hosts: counted("minimum hosts", rate.minimum_hosts)?,
            request_volume: counted("request volume", rate.request_volume)?,
            stdev_factor: share("factor", rate.stdev_factor, Factor::of_thousandths)?,
        })
    };
    Ok(OutlierDetection {
        max_failed_attempts: counted("failed attempts", message.max_failed_attempts)?,
        failure_window: positive("failure window", message.failure_window_ms)?,
        ejection_time: positive("ejection time", message.ejection_time_ms)?,
        max_ejection_time: positive("longest ejection time", message.max_ejection_time_ms)?,
        max_ejection_percent: share("ejection share", most, Percentage::of_millionths)?,
        success_rate: message.success_rate.map(rate).transpose()?,
    })
}

pub(super) fn encode_failover(object: &Failover) -> v1::Failover {
    v1::Failover {
        service: object.service.to_string(),
        status: object.status.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn failover(message: v1::Failover) -> Decoded<Failover> {
    Ok(Failover {
        service: ServiceName::parse(&message.service).map_err(text)?,
        status: statuses(&message.status)?,
    })
}

pub(super) fn weighted(message: v1::WeightedService) -> Decoded<(ServiceName, Weight)> {
    let weight = Weight::new(message.weight.into());
    let weight = weight.ok_or_else(|| format!("weight: {} is out of range", message.weight))?;
    Ok((ServiceName::parse(&message.service).map_err(text)?, weight))
}

pub(super) fn encode_in_flight(object: &InFlightLimit) -> v1::InFlightLimit {
    v1::InFlightLimit {
        amount: object.amount,
        source: object.source.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn in_flight(message: v1::InFlightLimit) -> Decoded<InFlightLimit> {
    let source = message.source;
    Ok(InFlightLimit {
        amount: counted("requests in flight", message.amount)?,
        source: (!source.is_empty())
            .then(|| HashSource::parse(&source).map_err(text))
            .transpose()?,
    })
}

pub(super) fn encode_overload(object: Overload) -> v1::Overload {
    v1::Overload {
        max_memory: object.max_memory.map_or(0, |memory| memory.0),
        max_delay_ms: object.max_delay.as_millis(),
    }
}

pub(super) fn overload(message: v1::Overload) -> Decoded<Overload> {
    Ok(Overload {
        max_memory: (message.max_memory > 0).then_some(ByteSize(message.max_memory)),
        max_delay: positive("longest delay", message.max_delay_ms)?,
    })
}
