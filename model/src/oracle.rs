//! What must hold for any bytes at all as a document; fuzzers and tests call it.

use crate::{Bundle, Config, Diagnostics, Document, bundle::Source, diagnostic::code};

/// Reads bytes as a document and panics where a promise is broken: reading never panics, what is
/// only looked at and what is applied are told the same, and every place is in the document.
pub fn document(bytes: &[u8]) {
    let documents = vec![Source::from_bytes("lb.yaml", bytes.to_vec())];
    let bundle = Bundle { documents, ..Bundle::default() };
    let checked = Config::check(&bundle, 0);
    let parsed = Config::parse(&bundle, 0);
    assert!(checked.is_ok() || parsed.is_err(), "applied, and refused when it is looked at");
    let (checked, parsed) = (findings(checked), findings(parsed));
    assert_eq!(checked.len(), parsed.len());
    let text = &bundle.documents[0].text;
    for (seen, applied) in checked.iter().zip(&parsed) {
        assert_eq!((&seen.code, &seen.message), (&applied.code, &applied.message));
        assert!(seen.severity == applied.severity || seen.code == code::NOT_YET, "{seen}");
        let Some(place) = &seen.place else { continue };
        assert!(place.offset as usize <= text.len(), "{seen}");
        assert!(place.line >= 1 && place.column >= 1, "{seen}");
    }
    let (document, _) = Document::read(&bundle);
    for secret in document.secrets() {
        let (start, len) = (secret.position.offset as usize, secret.position.len as usize);
        assert!(text.get(start..start + len).is_some(), "a secret is not where it is said to be");
    }
}

fn findings(outcome: Result<crate::Parsed, Diagnostics>) -> Diagnostics {
    match outcome {
        Ok(parsed) => parsed.warnings,
        Err(found) => found,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn what_fuzzers_found_keeps_the_promises() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let entries = fs::read_dir(root.join("fuzz/corpus/document")).unwrap();
        let inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= 10, "{}", inputs.len());
        for input in inputs {
            println!("{}", input.display());
            super::document(&fs::read(&input).unwrap());
        }
    }

    proptest::proptest! {
        #[test]
        fn lines_of_the_language_in_any_order_keep_the_promises(
            lines in proptest::collection::vec("[ ]{0,6}(- )?(jwt|waf|rules|enabled|backends|a|url|routes|rule|services|canary|middlewares|chain): ?(true|x|\\[a\\]|\\{\\}|1|http://a|Path\\(`/`\\))?", 0..20)
        ) {
            super::document(lines.join("\n").as_bytes());
        }
    }
}
