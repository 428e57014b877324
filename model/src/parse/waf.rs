//! What may be asked and how often.

use std::collections::HashSet;

use super::{Faults, list, number, or, traffic_management::on};
use crate::{
    config::{
        BotDetection, Detection, Detectors, RateLimit, SecurityHeaders, Waf, WafAction, WafMode,
        WafRule, WafSeverity, WafTarget,
    },
    diagnostic::code,
    document::{self, HeaderValue, Leaf, Named, Spanned},
    rule::HeaderName,
    value::{ByteSize, Duration, HashSource, Pattern},
};

/// Words of everyday requests. A pattern that finds several of them refuses people, not attacks.
const EVERYDAY: [&str; 16] = [
    "select your plan",
    "/api/update",
    "insert coin",
    "delete my account",
    "european union",
    "O'Brien",
    "/search?q=how to create a table",
    "drop us a line",
    "/scripts/app.js",
    "order by phone",
    "where is my order",
    "a & b",
    "user@example.com",
    "/images/photo.jpg",
    "john--paul",
    "Mozilla/5.0",
];
/// How many of them make a pattern too broad.
const MOST_EVERYDAY: usize = 2;

impl Faults<'_> {
    /// What a block says.
    pub(super) fn waf(&mut self, written: &document::Waf) -> Waf {
        let rules = self.waf_rules(written);
        let detectors = written.detectors.as_ref();
        let detection = |of: fn(&document::Detectors) -> &Option<Spanned<Detection>>| {
            or(detectors.and_then(|detectors| of(detectors).as_ref()), Detection::Block)
        };
        Waf {
            mode: or(written.mode.as_ref(), WafMode::Block),
            max_request_size: or(written.max_request_size.as_ref(), ByteSize(10 << 20)),
            body_inspect_limit: or(written.body_inspect_limit.as_ref(), ByteSize(128 << 10)),
            detectors: Detectors {
                sql_injection: detection(|written| &written.sql_injection),
                xss: detection(|written| &written.xss),
                path_traversal: detection(|written| &written.path_traversal),
                command_injection: detection(|written| &written.command_injection),
            },
            rules,
            rate_limit: on(written.rate_limit.as_ref()).and_then(rate_limit),
            bot_detection: on(written.bot_detection.as_ref()).map(|written| {
                self.within("bot_detection", |faults| faults.bot_detection(written))
            }),
            security_headers: on(written.security_headers.as_ref()).map(security_headers),
        }
    }

    fn waf_rules(&mut self, written: &document::Waf) -> Vec<WafRule> {
        let mut names = HashSet::new();
        let rules = self.each("rules", written.rules.iter().flatten(), |faults, rule| {
            let name = rule.name.as_ref()?;
            if !names.insert(name.value.as_str()) {
                faults.within("name", |faults| {
                    let message = format!("another rule is called `{}`", name.value);
                    let help = "events are told apart by name: give each its own";
                    faults.error(name.at, code::DUPLICATE_REFERENCE, message, help);
                });
            }
            let pattern = rule.pattern.as_ref()?;
            let action = or(rule.action.as_ref(), WafAction::Block);
            if action != WafAction::Allow {
                faults.within("pattern", |faults| faults.broad(pattern));
            }
            let usual = [WafTarget::Path, WafTarget::Query, WafTarget::Headers, WafTarget::Body];
            if rule.targets.as_ref().is_some_and(Vec::is_empty) {
                let help = "name one, or leave the key out";
                faults.error(rule.at, code::EMPTY, "the rule searches nothing", help);
            }
            Some(WafRule {
                name: name.value.clone(),
                id: rule.id.as_ref().map(|id| id.value.clone()),
                pattern: pattern.value.clone(),
                action,
                targets: match &rule.targets {
                    Some(_) => list(rule.targets.as_ref()),
                    None => usual.to_vec(),
                },
                paths: list(rule.paths.as_ref()),
                methods: list(rule.methods.as_ref()),
                severity: or(rule.severity.as_ref(), WafSeverity::Critical),
            })
        });
        rules.into_iter().flatten().collect()
    }

    /// Warns of a pattern that finds everyday words.
    fn broad(&mut self, pattern: &Spanned<Pattern>) {
        let found: Vec<_> = EVERYDAY
            .into_iter()
            .filter(|text| pattern.value.is_match(text.as_bytes()))
            .map(|text| format!("{text:?}"))
            .collect();
        if found.len() >= MOST_EVERYDAY {
            let message =
                format!("it also finds what people write, such as {} and {}", found[0], found[1]);
            let help = "it works as written; `detectors.sql_injection` tells attacks from words";
            self.warn(pattern.at, code::BROAD_PATTERN, message, help);
        }
    }

    fn bot_detection(&mut self, written: &document::BotDetection) -> BotDetection {
        for (key, listed) in [("allow", &written.allow), ("deny", &written.deny)] {
            self.each(key, listed.iter().flatten(), |faults, pattern| {
                if pattern.value.is_match(b"") {
                    let message = "it finds every text";
                    let help = "write what the name of a program holds, such as Googlebot";
                    faults.warn(pattern.at, code::BROAD_PATTERN, message, help);
                }
            });
        }
        BotDetection {
            action: or(written.action.as_ref(), WafAction::Block),
            block_empty_user_agent: or(written.block_empty_user_agent.as_ref(), true),
            allow: list(written.allow.as_ref()),
            deny: list(written.deny.as_ref()),
        }
    }
}

/// What a limit says.
pub(super) fn rate_limit(written: &document::RateLimit) -> Option<RateLimit> {
    let requests = written.requests?.value.get();
    Some(RateLimit {
        requests,
        per: written.per.map_or(Duration::from_secs(1), |per| per.value.get()),
        burst: number(written.burst, requests),
        source: or(written.source.as_ref(), HashSource::ClientIp),
    })
}

/// The fields of a map.
pub(super) fn fields(
    written: Option<&Named<HeaderName, Spanned<HeaderValue>>>,
) -> Vec<(HeaderName, HeaderValue)> {
    let fields = written.into_iter().flatten();
    fields.map(|(name, value)| (name.value.clone(), value.value.clone())).collect()
}

fn security_headers(written: &document::SecurityHeaders) -> SecurityHeaders {
    const HSTS: &str = "strict-transport-security";
    let usual = [
        ("content-security-policy", &written.content_security_policy, None),
        (HSTS, &written.strict_transport_security, Some("max-age=31536000")),
        ("x-content-type-options", &written.content_type_options, Some("nosniff")),
        ("x-frame-options", &written.frame_options, Some("SAMEORIGIN")),
        ("referrer-policy", &written.referrer_policy, Some("strict-origin-when-cross-origin")),
        ("permissions-policy", &written.permissions_policy, None),
    ];
    let mut made = Vec::new();
    for (name, value, default) in usual {
        let value = match value {
            Some(value) => Some(value.value.clone()),
            None => default.and_then(|default| HeaderValue::leaf(default).ok()),
        };
        let value = value.filter(|value| &*value.0 != "off");
        made.extend(HeaderName::parse(name).ok().zip(value));
    }
    made.extend(fields(written.custom.as_ref()));
    SecurityHeaders {
        on_tls: HeaderName::parse(HSTS).into_iter().collect(),
        fields: made,
        replaces: or(written.r#override.as_ref(), false),
    }
}
