//! `lbctl tokens`: lets proxies into the fleet.

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
        Some(TokensAction::Create { proxy: _, name, labels, ttl }) => {
            let request = TokenRequest {
                name: name.clone(),
                labels: labels.iter().map(ToString::to_string).collect(),
                ttl_seconds: Some(u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
            };
            let created = client.create_token(&request, &environment.author()).await?;
            let names = |created: &lb_model::api::TokenCreated| vec![created.id.clone()];
            output.value(&created, names, |created| format!("{}\n", created.token))?;
            output.note(format_args!(
                "good for one proxy until {}; start it with: lb-data-plane --control-plane \
                 https://HOST:9701 --join-token-file FILE ...",
                created.expires
            ));
            Ok(Exit::Ok)
        }
        Some(TokensAction::Revoke { id }) => {
            client.revoke_token(id, &environment.author()).await?;
            output.note(format_args!("token {id} lets nobody in any more"));
            Ok(Exit::Ok)
        }
    }
}

async fn list(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let list = client.tokens().await?;
    let names = |list: &TokenList| list.tokens.iter().map(|token| token.id.clone()).collect();
    output.value(&list, names, |list| draw(list, output, Timestamp::now()))?;
    if list.tokens.is_empty() {
        output.note("there is no token; make one with: lbctl tokens create --proxy");
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
            token.name.clone().unwrap_or_default().into(),
            token.labels.join(" ").into(),
            token.used_by.clone().unwrap_or_default().into(),
            token.author.clone().into(),
            match token.state.as_str() {
                "open" => token.expires.clone().into(),
                _ => time::ago(&token.expires, now).into(),
            },
        ]
    });
    let header = ["TOKEN", "STATE", "FOR", "LABELS", "USED BY", "AUTHOR", "ENDS"];
    table::draw(output, &header, rows.collect())
}

#[cfg(test)]
mod tests {
    use lb_model::api::TokenView;

    use super::*;
    use crate::output::table::tests::output;

    #[test]
    fn tokens_are_listed_without_their_secrets() {
        let token = TokenView {
            id: "AbCd1234".into(),
            state: "open".into(),
            name: None,
            labels: vec!["edge".into(), "eu".into()],
            used_by: None,
            author: "ann@host".into(),
            expires: "2026-03-01T13:00:00Z".into(),
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let expected = "\
TOKEN     STATE  FOR  LABELS   USED BY  AUTHOR    ENDS
AbCd1234  open   -    edge eu  -        ann@host  2026-03-01T13:00:00Z
";
        assert_eq!(draw(&TokenList { tokens: vec![token] }, &output(&[]), now), expected);
    }
}
