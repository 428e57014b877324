//! `lbctl config`: the configuration as a noun.

use std::io;

use lb_model::{
    Version,
    api::{Origin, OriginList},
    difference::Written,
};

use super::{get, history, show};
use crate::{
    args::{Config, ConfigAction, Environment},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, table},
    source,
};

/// Does what the verb says.
pub(crate) async fn run(
    client: impl Fn() -> Result<Client, Failure>,
    config: &Config,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    match &config.action {
        ConfigAction::Get => get::run(&client()?, output).await,
        ConfigAction::History(settings) => history::run(&client()?, settings, output).await,
        ConfigAction::Show(settings) => show::run(&client()?, settings, output).await,
        ConfigAction::Sources { files, layers } => {
            let list = if files.is_empty() {
                client()?.origins().await?
            } else {
                let reading = source::read(files, layers, environment, &mut io::stdin().lock())?;
                for name in &reading.ignored {
                    output.note(format_args!("note: {name} names no value of the configuration"));
                }
                let values = Written::read(&reading.bundle, &[0; 32]).origins();
                OriginList { version: Version::NONE, values }
            };
            let names = |list: &OriginList| list.values.iter().map(|o| o.path.clone()).collect();
            output.value(&list, names, |list| draw(&list.values, output))?;
            Ok(Exit::Ok)
        }
    }
}

fn draw(values: &[Origin], output: &Output) -> String {
    if values.is_empty() {
        return String::new();
    }
    let rows = values.iter().map(|Origin { path, value, origin }| {
        let value = value.replace('\n', "\\n");
        vec![path.clone().into(), value.into(), origin.clone().into()]
    });
    table::draw(output, &["PATH", "VALUE", "FROM"], rows.collect())
}
