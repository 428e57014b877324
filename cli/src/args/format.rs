//! How data is written: `-o FORMAT`.
//!
//! `jsonpath=EXPR` carries its expression, which is read here, so that a wrong one is wrong use of
//! the command line and nothing is asked for in vain.

use std::{ffi::OsStr, fmt, sync::Arc};

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

/// What stands before an expression.
const JSON_PATH: &str = "jsonpath=";
/// The formats that are a word, and what they are for.
const WORDS: [(&str, Format, &str); 5] = [
    ("table", Format::Table, "For people"),
    ("wide", Format::Wide, "For people, with more columns"),
    ("json", Format::Json, "For programs; keys are only ever added"),
    ("yaml", Format::Yaml, "The same keys, as YAML"),
    ("name", Format::Name, "Names only, one a line"),
];

/// How data is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For wide screens.
    Wide,
    /// For programs; keys are only ever added.
    Json,
    /// The same keys, as YAML.
    Yaml,
    /// Names only, one a line.
    Name,
    /// What an expression finds in the JSON, one a line.
    JsonPath(Query),
}

/// An expression, as typed and as read.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    text: String,
    path: Arc<JsonPath>,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Query {}

impl Query {
    /// Reads an expression of RFC 9535. Braces around it and a missing `$` are taken as kubectl
    /// takes them.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| {
            format!(
                "`{text}` is not a JSONPath: {why}; write {JSON_PATH}'$.proxies[*].id' or \
                 {JSON_PATH}'{{.proxies[*].id}}', with the keys that -o json shows"
            )
        };
        let trimmed = text.trim();
        let inner = match trimmed.strip_prefix('{') {
            Some(rest) => {
                rest.strip_suffix('}').ok_or_else(|| wrong(&"the brace is not closed"))?.trim()
            }
            None => trimmed,
        };
        if inner.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        let path = match inner.as_bytes()[0] {
            b'$' => JsonPath::parse(inner),
            b'.' | b'[' => JsonPath::parse(&format!("${inner}")),
            _ => JsonPath::parse(&format!("$.{inner}")),
        };
        let path = Arc::new(path.map_err(|error| wrong(&error.message()))?);
        Ok(Self { text: text.to_owned(), path })
    }

    /// What it finds: texts as they are, anything else as JSON, one a line.
    pub(crate) fn find(&self, value: &Value) -> String {
        let line = |found: &Value| match found {
            Value::String(text) => format!("{text}\n"),
            other => format!("{other}\n"),
        };
        self.path.query(value).all().into_iter().map(line).collect()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::JsonPath(query) = self {
            return write!(f, "{JSON_PATH}{}", query.text);
        }
        let word = WORDS.iter().find(|(_, format, _)| format == self).map(|(word, ..)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(expression) = text.strip_prefix(JSON_PATH) {
            return Query::parse(expression).map(Self::JsonPath);
        }
        WORDS.into_iter().find(|(word, ..)| *word == text).map(|(_, format, _)| format).ok_or_else(
            || {
                let words = WORDS.map(|(word, ..)| word);
                let near = words.iter().max_by(|one, two| {
                    let like = |word: &&str| strsim::jaro_winkler(word, &text);
                    like(one).total_cmp(&like(two))
                });
                let near = near.filter(|near| strsim::jaro_winkler(near, &text) > 0.7);
                let guess = near.map(|near| format!("; did you mean '{near}'?"));
                let words = words.join(", ");
                format!("`{text}` is none of {words}, {JSON_PATH}EXPR{}", guess.unwrap_or_default())
            },
        )
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.to_string()
    }
}

/// Reads a format off the command line; help and completion know its words.
#[derive(Debug, Clone)]
pub(super) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Format, Error> {
        StringValueParser::new().try_map(Format::try_from).parse_ref(command, argument, value)
    }

    /// The words only: a shell would put a space behind `jsonpath=`.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(WORDS.into_iter().map(|(word, _, help)| PossibleValue::new(word).help(help))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_finds_what_kubectls_finds() {
        let value = json!({ "items": [{ "id": "a", "n": 1 }, { "id": "b", "on": [true] }] });
        for (expression, found) in [
            ("$.items[*].id", "a\nb\n"),
            ("{.items[*].id}", "a\nb\n"),
            (".items[0].n", "1\n"),
            ("items[1].on", "[true]\n"),
            ("{$..id}", "a\nb\n"),
            ("$.items[?@.n == 1].id", "a\n"),
            (".items[0]", "{\"id\":\"a\",\"n\":1}\n"),
            (".nothing", ""),
        ] {
            assert_eq!(Query::parse(expression).unwrap().find(&value), found, "{expression}");
        }
    }

    #[test]
    fn a_wrong_expression_says_what_to_write() {
        for wrong in ["", "{}", "{.a", ".items[", "$.a b", "{.a} {.b}"] {
            let error = Format::try_from(format!("{JSON_PATH}{wrong}")).unwrap_err();
            assert!(error.contains("{.proxies[*].id}"), "{wrong}: {error}");
        }
        let error = Format::try_from("xml".to_owned()).unwrap_err();
        assert!(error.contains("table, wide"), "{error}");
    }

    #[test]
    fn a_format_is_written_as_it_is_read() {
        for text in ["table", "wide", "json", "yaml", "name", "jsonpath={.a}"] {
            assert_eq!(Format::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }
}
