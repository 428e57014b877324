//! `lbctl audit`: what operators did, and what they were refused.

use jiff::Timestamp;
use lb_model::api::AuditList;

use crate::{
    args::{Audit, Format},
    client::Client,
    exit::{Exit, Failure},
    output::{
        Output,
        table::{self, Field, Mood},
        time,
    },
};

/// Fetches and lists.
pub(crate) async fn run(client: &Client, audit: &Audit, output: &Output) -> Result<Exit, Failure> {
    let list = client.audit(audit.limit, audit.before).await?;
    let names = |list: &AuditList| list.entries.iter().map(|e| e.number.to_string()).collect();
    output.value(&list, names, |list| draw(list, output, Timestamp::now()))?;
    match list.next {
        None if list.entries.is_empty() => output.note("nothing was done yet"),
        None => {}
        Some(next) => output.note(format_args!("older ones: lbctl audit --before {next}")),
    }
    Ok(Exit::Ok)
}

fn draw(list: &AuditList, output: &Output, now: Timestamp) -> String {
    if list.entries.is_empty() {
        return String::new();
    }
    let is_wide = output.format == Format::Wide;
    let mut header = vec!["NUMBER", "WHEN", "WHO", "FROM", "REQUEST", "STATUS", "VERSION", "CODE"];
    if is_wide {
        header.extend(["ROLE", "TOKEN", "OBJECT", "HASH"]);
    }
    let rows = list.entries.iter().map(|view| {
        let entry = &view.entry;
        let mood = if entry.status < 400 { Mood::Plain } else { Mood::Bad };
        let mut row = vec![
            view.number.to_string().into(),
            time::ago(&entry.time, now).into(),
            entry.who.clone().into(),
            entry.from.clone().into(),
            format!("{} {}", entry.method, entry.path).into(),
            Field::in_mood(entry.status.to_string(), mood),
            entry.version.map(|version| version.to_string()).unwrap_or_default().into(),
            entry.code.clone().unwrap_or_default().into(),
        ];
        if is_wide {
            row.extend([
                entry.role.map(|role| role.to_string()).unwrap_or_default().into(),
                entry.token.clone().unwrap_or_default().into(),
                entry.object.clone().unwrap_or_default().into(),
                view.hash.clone().into(),
            ]);
        }
        row
    });
    table::draw(output, &header, rows.collect())
}

#[cfg(test)]
mod tests {
    use lb_model::{
        Version,
        api::{AuditEntry, AuditView, Role},
    };

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn entries_say_who_did_what_and_how_it_went() {
        let entry = AuditEntry {
            time: "2026-03-01T11:59:48Z".into(),
            who: "ci".into(),
            token: Some("AbCd1234".into()),
            role: Some(Role::Operator),
            from: "10.0.0.7".into(),
            method: "POST".into(),
            path: "/admin/backends/web1/disable".into(),
            object: Some("web1".into()),
            status: 200,
            code: None,
            version: Some(Version(7)),
        };
        let refused = AuditEntry {
            status: 409,
            code: Some("would_empty_pool".into()),
            version: None,
            ..entry.clone()
        };
        let view = |number, entry| AuditView { number, hash: "ab".into(), entry };
        let list = AuditList { entries: vec![view(9, refused), view(8, entry)], next: None };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
NUMBER  WHEN     WHO  FROM      REQUEST                            STATUS  VERSION  CODE
9       12s ago  ci   10.0.0.7  POST /admin/backends/web1/disable  409     -        would_empty_pool
8       12s ago  ci   10.0.0.7  POST /admin/backends/web1/disable  200     7        -
";
        assert_eq!(draw(&list, &output(&[]), now), expected);
    }
}
