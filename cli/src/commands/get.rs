//! `lbctl get`: the documents of the current version, as they were applied.

use lb_model::{Version, api::ConfigView};

use crate::{
    args::Format,
    client::Client,
    exit::{Exit, Failure},
    output::Output,
};

/// Fetches and writes.
pub(crate) async fn run(client: &Client, output: &Output) -> Result<Exit, Failure> {
    let view = client.config().await?;
    match &output.format {
        Format::Json | Format::JsonPath(_) => output.structured(&view)?,
        Format::Name => {
            output
                .data(&view.documents.iter().map(|d| d.name.clone() + "\n").collect::<String>())?;
        }
        Format::Table | Format::Wide | Format::Yaml => output.data(&documents(&view))?,
    }
    for note in notes(&view) {
        output.note(note);
    }
    Ok(Exit::Ok)
}

/// The texts. One alone stays as it was written; of several each begins with its name.
pub(super) fn documents(view: &ConfigView) -> String {
    let mut text = String::new();
    for document in &view.documents {
        if view.documents.len() > 1 {
            text += &format!("# ---- {}\n", document.name);
        }
        text += &document.text;
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// What the texts do not say.
fn notes(view: &ConfigView) -> Vec<String> {
    if view.version == Version::NONE {
        return vec!["nothing is configured yet; begin with: lbctl apply -f lb.yaml".to_owned()];
    }
    let mut notes = vec![format!("# version {}", view.version)];
    if let Some(file) = &view.held_by {
        notes.push(format!("# held by the file {file} of the control plane"));
    }
    if view.documents.iter().any(|document| document.text.contains("[redacted]")) {
        notes.push("# secrets are [redacted]: put them back before you apply this".to_owned());
    }
    if !view.files.is_empty() {
        let files: Vec<_> = view.files.iter().map(|file| file.path.as_str()).collect();
        notes.push(format!("# with the files {}", files.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use lb_model::bundle::Source;

    use super::*;

    fn view(documents: &[(&str, &str)]) -> ConfigView {
        let source = |(name, text): &(&str, &str)| Source::new(*name, *text);
        ConfigView {
            version: Version(3),
            held_by: None,
            commit: None,
            content_hash: String::new(),
            settings: Vec::new(),
            reload: None,
            documents: documents.iter().map(source).collect(),
            files: Vec::new(),
        }
    }

    #[test]
    fn one_document_stays_as_it_was_written() {
        assert_eq!(documents(&view(&[("lb.yaml", "a: 1\n")])), "a: 1\n");
    }

    #[test]
    fn several_documents_carry_their_names() {
        let text = documents(&view(&[("a.yaml", "a: 1"), ("b.yaml", "b: 2\n")]));
        assert_eq!(text, "# ---- a.yaml\na: 1\n# ---- b.yaml\nb: 2\n");
    }

    #[test]
    fn a_text_that_cannot_be_applied_again_says_so() {
        let redacted = view(&[("lb.yaml", "key: \"[redacted]\"\n")]);
        assert!(notes(&redacted).iter().any(|note| note.contains("put them back")));
        assert!(
            notes(&ConfigView { version: Version::NONE, ..redacted })[0].contains("lbctl apply")
        );
    }
}
