//! `lbctl tokens`: lets proxies into the fleet, and operators at it.

use std::time::Duration;

use jiff::Timestamp;
use lb_model::api::{TokenList, TokenRequest};

use crate::{
    args::{Environment, Tokens, TokensAction},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, table, time},
};

/// Makes, lists or revokes.
pub(crate) async fn run(
    client: &Client,
    tokens: &Tokens,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    match &tokens.action {
        None | Some(TokensAction::List) => list(client, output).await,
        Some(TokensAction::Create { proxy: _, role, name, labels, ttl }) => {
            let seconds = |ttl: &Duration| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            let request = TokenRequest {
                role: role.map(Into::into),
                name: name.clone(),
                labels: labels.iter().map(ToString::to_string).collect(),
                ttl_seconds: ttl.as_ref().map(seconds),
            };
            output.permit("a token will be made")?;
            let created = client.create_token(&request, &environment.author()).await?;
            let names = |created: &lb_model::api::TokenCreated| vec![created.id.clone()];
            output.value(&created, names, |created| format!("{}\n", created.token))?;
            let until = match &created.expires {
                Some(time) => format!("until {time}"),
                None => "until it is revoked".to_owned(),
            };
            output.note(match role {
                None => format!(
                    "good for one proxy {until}; start it with: lb-data-plane --control-plane \
                     https://HOST:9701 --join-token-file FILE ..."
                ),
                Some(_) => format!(
                    "good {until}, and not shown again; put it into a file that only its owner \
                     reads, and name that in LBCTL_TOKEN_FILE"
                ),
            });
            Ok(Exit::Ok)
        }
        Some(TokensAction::Revoke { id }) => {
            output.confirm(&format!(
                "token {id} will be good for nothing any more, for whoever has it"
            ))?;
            client.revoke_token(id, &environment.author()).await?;
            output.note(format_args!("token {id} is good for nothing any more"));
            Ok(Exit::Ok)
        }
    }
}

async fn list(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let list = client.tokens().await?;
    let names = |list: &TokenList| list.tokens.iter().map(|token| token.id.clone()).collect();
    output.value(&list, names, |list| draw(list, output, Timestamp::now()))?;
    if list.tokens.is_empty() {
        output
            .note("there is no token; make one with: lbctl tokens create --proxy, or --role admin");
    }
    Ok(Exit::Ok)
}

fn draw(list: &TokenList, output: &Output, now: Timestamp) -> String {
    if list.tokens.is_empty() {
        return String::new();
    }
    let rows = list.tokens.iter().map(|token| {
        vec![
            token.id.clone().into(),
            token.state.clone().into(),
            token.role.map_or("proxy", |role| role.as_str()).into(),
            token.name.clone().unwrap_or_default().into(),
            token.labels.join(" ").into(),
            token.used_by.clone().unwrap_or_default().into(),
            token.author.clone().into(),
            match (token.state.as_str(), token.expires.as_deref()) {
                (_, None) => "never".into(),
                ("open", Some(time)) => time.into(),
                (_, Some(time)) => time::ago(time, now).into(),
            },
        ]
    });
    let header = ["TOKEN", "STATE", "ROLE", "FOR", "LABELS", "USED BY", "AUTHOR", "ENDS"];
    table::draw(output, &header, rows.collect())
}

#[cfg(test)]
mod tests {
    use lb_model::api::{Role, TokenView};

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn tokens_are_listed_without_their_secrets() {
        let token = TokenView {
            id: "AbCd1234".into(),
            state: "open".into(),
            role: None,
            name: None,
            labels: vec!["edge".into(), "eu".into()],
            used_by: None,
            author: "ann@host".into(),
            expires: Some("2026-03-01T13:00:00Z".into()),
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let admin = TokenView {
            id: "Ef-g5678".into(),
            role: Some(Role::Admin),
            name: Some("ann".into()),
            labels: vec![],
            expires: None,
            ..token.clone()
        };
        let expected = "\
TOKEN     STATE  ROLE   FOR  LABELS   USED BY  AUTHOR    ENDS
Ef-g5678  open   admin  ann  -        -        ann@host  never
AbCd1234  open   proxy  -    edge eu  -        ann@host  2026-03-01T13:00:00Z
";
        assert_eq!(draw(&TokenList { tokens: vec![admin, token] }, &output(&[]), now), expected);
    }
}
