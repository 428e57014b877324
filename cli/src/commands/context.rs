//! `lbctl context`: control planes by name, and what holds now.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    args::{self, ContextAction, Environment, Global},
    context::{
        self, Contexts,
        settings::{Origin, Settings, Token},
    },
    exit::{Exit, Failure},
    output::{Output, table},
};

/// Does what the verb says.
pub(crate) fn run(
    context: &args::Context,
    (global, settings): (&Global, &Settings),
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut contexts = Contexts::read(environment)?;
    match &context.action {
        None | Some(ContextAction::List) => list(&contexts, settings, output)?,
        Some(ContextAction::Use { name }) => {
            contexts.make_current(name)?;
            output.note(format_args!("{name} is the current context; try: lbctl status"));
        }
        Some(ContextAction::Show { name: Some(name) }) => {
            let view = kept(name, &contexts)?;
            output.value(&view, names, |view| draw(view, output))?;
        }
        Some(ContextAction::Show { name: None }) => {
            let view = holding(&contexts, settings);
            output.value(&view, names, |view| draw(view, output))?;
        }
        Some(ContextAction::Set { name, protected }) => {
            set(&mut contexts, name, *protected, global, output)?;
        }
        Some(ContextAction::Delete { name }) => {
            let server = contexts.find(name)?.server;
            output.confirm(&format!("context {name} ({server}) will be forgotten"))?;
            contexts.delete(name)?;
            output.note(format_args!("context {name} is forgotten; its files were not touched"));
        }
    }
    Ok(Exit::Ok)
}

fn set(
    contexts: &mut Contexts,
    name: &str,
    protected: Option<bool>,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(Failure::new(format!("`{name}` is no name of a context"))
            .exit(Exit::Usage)
            .fix("use letters, digits, `-`, `_` and `.`"));
    }
    // Variables are about this run, and not to be kept.
    let flag = |id: &str| !global.is_variable(id);
    let server = global.server.clone().filter(|_| flag("server"));
    let old = contexts.all().get(name).cloned();
    let mut new = match (old, server.clone()) {
        (Some(old), _) => old,
        (None, Some(server)) => {
            context::Context { server, ca: None, token_file: None, output: None, protected: false }
        }
        (None, None) => {
            return Err(Failure::new(format!("context {name} needs an address"))
                .exit(Exit::Usage)
                .fix(format!("write: lbctl context set {name} --server https://HOST:9700")));
        }
    };
    if let Some(server) = server {
        context::may_be_kept(&server).map_err(|why| Failure::new(why).exit(Exit::Usage))?;
        new.server = server;
    }
    if let Some(path) = global.ca.as_deref().filter(|_| flag("ca")) {
        new.ca = Some(whole(path)?);
    }
    if let Some(path) = global.token_file.as_deref().filter(|_| flag("token_file")) {
        new.token_file = Some(whole(path)?);
    }
    new.output = global.output.clone().or(new.output);
    new.protected = protected.unwrap_or(new.protected);
    for path in [&new.ca, &new.token_file].into_iter().flatten() {
        if path.is_absolute() && !path.exists() {
            output.note(format_args!("note: there is no {} yet", path.display()));
        }
    }
    contexts.set(name, new)?;
    if contexts.current() == Some(name) {
        output.note(format_args!("{name} is kept, and the current context; try: lbctl status"));
    } else {
        output.note(format_args!("{name} is kept; use it with: lbctl context use {name}"));
    }
    Ok(())
}

fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::new(format!("could not find {}: {error}", path.display())).exit(Exit::Usage)
    })
}

/// Every context, for programs.
#[derive(Debug, Serialize)]
struct List {
    file: Option<PathBuf>,
    current: Option<String>,
    contexts: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    context: context::Context,
}

fn list(contexts: &Contexts, settings: &Settings, output: &Output) -> Result<(), Failure> {
    let named = |(name, context): (&String, &context::Context)| Named {
        name: name.clone(),
        context: context.clone(),
    };
    let current = settings.context.as_ref().map(|context| context.value.clone());
    let list = List {
        file: contexts.file.clone(),
        current,
        contexts: contexts.all().iter().map(named).collect(),
    };
    let names = |list: &List| list.contexts.iter().map(|each| each.name.clone()).collect();
    output.value(&list, names, |list| {
        let rows = list.contexts.iter().map(|Named { name, context }| {
            let is_current = list.current.as_ref() == Some(name);
            vec![
                name.clone().into(),
                if is_current { "yes".into() } else { String::new().into() },
                context.server.as_str().trim_end_matches('/').into(),
                if context.protected { "yes".into() } else { String::new().into() },
                shown(context.token_file.as_deref()).into(),
                shown(context.ca.as_deref()).into(),
            ]
        });
        let header = ["CONTEXT", "CURRENT", "SERVER", "PROTECTED", "TOKEN FILE", "CA"];
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() { String::new() } else { table::draw(output, &header, rows) }
    })?;
    if list.contexts.is_empty() {
        output.note("there is no context yet; make one with: lbctl context set NAME --server URL");
    }
    Ok(())
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// Values and where they come from.
#[derive(Debug, Serialize)]
struct View {
    file: Option<PathBuf>,
    settings: Vec<Setting>,
}

#[derive(Debug, Serialize)]
struct Setting {
    setting: &'static str,
    value: Option<String>,
    from: String,
}

fn names(view: &View) -> Vec<String> {
    let named = view.settings.iter().find(|setting| setting.setting == "context");
    named.and_then(|setting| setting.value.clone()).into_iter().collect()
}

fn setting(name: &'static str, value: Option<String>, origin: &Origin) -> Setting {
    Setting { setting: name, value, from: origin.to_string() }
}

/// What holds now.
fn holding(contexts: &Contexts, settings: &Settings) -> View {
    let path = |path: &PathBuf| path.display().to_string();
    let or_default = |origin: Option<&Origin>| origin.cloned().unwrap_or(Origin::Default);
    let context = settings.context.as_ref();
    let token = settings.token.as_ref().map(|token| match &token.value {
        Token::File(file) => path(file),
        Token::Text(_) => "[redacted]".to_owned(),
    });
    let protected = settings.protected.as_ref();
    let protection = protected.map_or(Origin::Default, |name| Origin::Context(name.clone()));
    let (server, output) = (&settings.server, &settings.output);
    let mut address = server.value.clone();
    // An address may be refused these; then they stay unshown, for the text is then left out.
    let hidden = address.set_password(None).and_then(|()| address.set_username(""));
    let address = hidden.is_ok().then(|| address.as_str().trim_end_matches('/').to_owned());
    View {
        file: contexts.file.clone(),
        settings: vec![
            setting(
                "context",
                context.map(|context| context.value.clone()),
                &or_default(context.map(|context| &context.origin)),
            ),
            setting("server", address, &server.origin),
            setting(
                "ca",
                settings.ca.as_ref().map(|ca| path(&ca.value)),
                &or_default(settings.ca.as_ref().map(|ca| &ca.origin)),
            ),
            setting(
                "token",
                token,
                &or_default(settings.token.as_ref().map(|token| &token.origin)),
            ),
            setting("output", Some(output.value.to_string()), &output.origin),
            setting("protected", Some(protected.is_some().to_string()), &protection),
        ],
    }
}

/// What is kept of one context.
fn kept(name: &str, contexts: &Contexts) -> Result<View, Failure> {
    let context = contexts.find(name)?;
    let from =
        |is_there: bool| if is_there { Origin::Context(name.to_owned()) } else { Origin::Default };
    let path = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
    let context::Context { server, ca, token_file, output, protected } = context;
    Ok(View {
        file: contexts.file.clone(),
        settings: vec![
            setting("context", Some(name.to_owned()), &from(true)),
            setting("server", Some(server.as_str().trim_end_matches('/').into()), &from(true)),
            setting("ca", path(ca.clone()), &from(ca.is_some())),
            setting("token", path(token_file.clone()), &from(token_file.is_some())),
            setting(
                "output",
                Some(output.as_ref().unwrap_or(&args::Format::Table).to_string()),
                &from(output.is_some()),
            ),
            setting("protected", Some(protected.to_string()), &from(protected)),
        ],
    })
}

fn draw(view: &View, output: &Output) -> String {
    let rows = view.settings.iter().map(|setting| {
        vec![
            setting.setting.into(),
            setting.value.clone().unwrap_or_default().into(),
            setting.from.clone().into(),
        ]
    });
    table::draw(output, &["SETTING", "VALUE", "FROM"], rows.collect())
}
