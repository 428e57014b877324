//! `lbctl authority`: whom the proxies of the fleet trust.

use lb_model::api::AuthorityView;

use crate::{
    args::{Authority, AuthorityAction, Environment},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, table},
};

/// Shows or rotates.
pub(crate) async fn run(
    client: &Client,
    authority: &Authority,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    if authority.pem && authority.action.is_none() {
        output.data(&client.authority().await?.certificates)?;
        return Ok(Exit::Ok);
    }
    let view = match authority.action {
        None => client.authority().await?,
        Some(AuthorityAction::Rotate) => {
            output.confirm(
                "the authority of the fleet will be replaced: every connected proxy gets a new \
                 certificate, and those that stay away until it is over must join again",
            )?;
            let view = client.rotate_authority(&environment.author()).await?;
            output.note(
                "a new authority is announced; it signs when every connected proxy trusts it, \
                 and the old one is dropped when no proxy needs it any more",
            );
            view
        }
    };
    output.value(&view, |view| view.trusted.clone(), |view| draw(view, output))?;
    Ok(Exit::Ok)
}

fn draw(view: &AuthorityView, output: &Output) -> String {
    let rows = view.trusted.iter().map(|fingerprint| {
        let signs = if *fingerprint == view.signing { "signs" } else { "trusted" };
        vec![fingerprint.clone().into(), signs.to_owned().into()]
    });
    table::draw(output, &["AUTHORITY", "STATE"], rows.collect())
}
