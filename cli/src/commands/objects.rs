//! `lbctl routes`, `services`, `entry-points` and `certs`: what the current version holds, with
//! every default filled in.

use jiff::Timestamp;
use lb_model::api::{CertificateView, EntryPointView, ObjectList, RouteView, ServiceView};

use crate::{
    args::{Kind, Objects, ObjectsAction},
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
    watch::{self, Frame},
};

/// Fetches and lists.
pub(crate) async fn run(
    client: &Client,
    kind: Kind,
    objects: &Objects,
    output: &Output,
) -> Result<Exit, Failure> {
    let watch = match &objects.action {
        None => &objects.watch,
        Some(ObjectsAction::List { watch }) => watch,
    };
    watch::show(output, watch, async |output| frame(client, kind, output).await).await
}

async fn frame(client: &Client, kind: Kind, output: &Output) -> Result<Frame, Failure> {
    let list = client.objects(kind.name()).await?;
    let text = output.render(&list, names, |list| draw(list, output, Timestamp::now()))?;
    let note = format!("there are no {} yet; begin with: lbctl apply -f lb.yaml", kind.words());
    Ok(Frame::new(text, names(&list).is_empty(), &note))
}

fn names(list: &ObjectList) -> Vec<String> {
    match list {
        ObjectList::Routes { objects, .. } => objects.iter().map(|o| o.name.clone()).collect(),
        ObjectList::Services { objects, .. } => objects.iter().map(|o| o.name.clone()).collect(),
        ObjectList::EntryPoints { objects, .. } => objects.iter().map(|o| o.name.clone()).collect(),
        ObjectList::Certificates { objects, .. } => {
            objects.iter().map(|o| o.name.clone()).collect()
        }
    }
}

fn draw(list: &ObjectList, output: &Output, now: Timestamp) -> String {
    let (header, rows): (&[&str], Vec<Vec<Field>>) = match list {
        ObjectList::Routes { objects, .. } => (
            &["ROUTE", "PRIORITY", "SERVICE", "ENTRY POINTS", "RULE"],
            objects.iter().map(route).collect(),
        ),
        ObjectList::Services { objects, .. } => (
            &["SERVICE", "STRATEGY", "HEALTH CHECK", "BACKENDS", "ROUTES"],
            objects.iter().map(service).collect(),
        ),
        ObjectList::EntryPoints { objects, .. } => (
            &["ENTRY POINT", "ADDRESS", "TLS", "LABELS", "ROUTES"],
            objects.iter().map(entry_point).collect(),
        ),
        ObjectList::Certificates { objects, .. } => (
            &["CERTIFICATE", "ENDS IN", "DEFAULT", "ENTRY POINTS", "NAMES"],
            objects.iter().map(|object| certificate(object, now)).collect(),
        ),
    };
    if rows.is_empty() { String::new() } else { table::draw(output, header, rows) }
}

fn route(route: &RouteView) -> Vec<Field> {
    vec![
        route.name.clone().into(),
        route.priority.to_string().into(),
        route.service.clone().into(),
        route.entry_points.join(" ").into(),
        route.rule.clone().into(),
    ]
}

fn service(service: &ServiceView) -> Vec<Field> {
    vec![
        service.name.clone().into(),
        service.strategy.clone().into(),
        service.health_check.clone().unwrap_or_default().into(),
        service.backends.join(" ").into(),
        service.routes.join(" ").into(),
    ]
}

fn entry_point(point: &EntryPointView) -> Vec<Field> {
    vec![
        point.name.clone().into(),
        point.address.clone().into(),
        if point.tls { "yes" } else { "no" }.into(),
        point.labels.join(" ").into(),
        point.routes.to_string().into(),
    ]
}

fn certificate(certificate: &CertificateView, now: Timestamp) -> Vec<Field> {
    let (left, mood) = match remains(certificate, now) {
        None => (certificate.not_after.clone(), Mood::Plain),
        Some(Remains::Ended(seconds)) => (format!("{} ago", time::span(seconds)), Mood::Bad),
        Some(Remains::Short(seconds)) => (time::span(seconds), Mood::Unsure),
        Some(Remains::Long(seconds)) => (time::span(seconds), Mood::Good),
    };
    vec![
        certificate.name.clone().into(),
        Field::in_mood(left, mood),
        if certificate.default { "yes" } else { "no" }.into(),
        certificate.entry_points.join(" ").into(),
        certificate.names.join(" ").into(),
    ]
}

/// How long a certificate is still good, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    /// It ended so long ago.
    Ended(u64),
    /// Less than a quarter of its life.
    Short(u64),
    /// More.
    Long(u64),
}

/// How long a certificate is still good, as a part of its life: a fixed number of days would call
/// every short-lived certificate old. Nothing if its times cannot be read.
pub(crate) fn remains(certificate: &CertificateView, now: Timestamp) -> Option<Remains> {
    let start = certificate.not_before.parse::<Timestamp>().ok()?.as_second();
    let end = certificate.not_after.parse::<Timestamp>().ok()?.as_second();
    let left = end - now.as_second();
    Some(if left <= 0 {
        Remains::Ended(left.unsigned_abs())
    } else if left < (end - start) / 4 {
        Remains::Short(left.unsigned_abs())
    } else {
        Remains::Long(left.unsigned_abs())
    })
}

#[cfg(test)]
mod tests {
    use lb_model::Version;

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn routes_are_listed_with_their_rules() {
        let route = RouteView {
            name: "cart".into(),
            rule: "PathPrefix(`/cart`)".into(),
            priority: 19,
            service: "shop".into(),
            entry_points: vec!["web".into(), "websecure".into()],
        };
        let list = ObjectList::Routes { version: Version(7), objects: vec![route] };
        let expected = "\
ROUTE  PRIORITY  SERVICE  ENTRY POINTS   RULE
cart   19        shop     web websecure  PathPrefix(`/cart`)
";
        assert_eq!(draw(&list, &output(&[]), Timestamp::UNIX_EPOCH), expected);
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!((json["kind"].as_str(), json["version"].as_u64()), (Some("routes"), Some(7)));
    }

    #[test]
    fn a_certificate_is_short_in_relation_to_its_life() {
        let of = |start: &str, end: &str| {
            let certificate = CertificateView {
                name: "c".into(),
                names: vec![],
                not_before: start.into(),
                not_after: end.into(),
                default: true,
                entry_points: vec![],
            };
            remains(&certificate, "2026-03-01T12:00:00Z".parse().unwrap())
        };
        let day = 86_400;
        let (start, end) = ("2026-02-01T12:00:00Z", "2026-03-03T12:00:00Z");
        assert_eq!(of(start, end), Some(Remains::Short(2 * day)));
        // Two days are long for a certificate of four.
        assert_eq!(of("2026-02-27T12:00:00Z", end), Some(Remains::Long(2 * day)));
        assert_eq!(of(start, "2026-02-28T12:00:00Z"), Some(Remains::Ended(day)));
        assert_eq!(of("soon", end), None);
    }
}
