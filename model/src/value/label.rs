//! Labels, by which entry points and proxies find each other.
//!
//! A proxy holds the labels that its join token granted; they stand in its certificate. An entry
//! point lists the labels of the proxies that run it. Small letters only, so that no two labels
//! differ in what is easily overlooked.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// The longest label.
pub const MAX_LEN: usize = 63;
/// The most labels that one proxy holds: they travel in its certificate.
pub const MOST: usize = 16;

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// Reads a label; small letters, digits, `-`, `_` and `.` make one.
    ///
    /// # Errors
    ///
    /// When it is empty, too long, or has anything else in it.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            Err(InvalidValue::new(
                format!("`{text}` is not a label: {why}"),
                "use small letters, digits, `-`, `_` and `.`, starting with a letter or digit",
            ))
        };
        if text.is_empty() {
            return wrong("it is empty");
        }
        if text.len() > MAX_LEN {
            return wrong("it is longer than 63 bytes");
        }
        let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = |c: char| is_small(c) || matches!(c, '-' | '_' | '.');
        if let Some(c) = text.chars().find(|c| !fits(*c)) {
            return wrong(&format!("it contains {c:?}"));
        }
        if !text.starts_with(is_small) {
            return wrong("it does not start with a letter or digit");
        }
        Ok(Self(text.into()))
    }

    /// The label as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of labels, in order. Copies share one list.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// The labels that a proxy is granted.
    ///
    /// # Errors
    ///
    /// When one is not a label or is given twice, or when there are more than [`MOST`].
    pub fn grant<T: AsRef<str>>(texts: &[T]) -> Result<Self, InvalidValue> {
        if texts.len() > MOST {
            return Err(InvalidValue::new(
                format!("a proxy holds at most {MOST} labels, these are {}", texts.len()),
                "give one label to what belongs together",
            ));
        }
        let labels: Vec<_> =
            texts.iter().map(|text| Label::parse(text.as_ref())).collect::<Result<_, _>>()?;
        let twice = labels.iter().enumerate().find(|(at, label)| labels[..*at].contains(label));
        if let Some((_, label)) = twice {
            return Err(InvalidValue::new(format!("`{label}` is given twice"), "give it once"));
        }
        Ok(labels.into_iter().collect())
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a label is among them.
    pub fn contains(&self, label: &Label) -> bool {
        self.0.binary_search(label).is_ok()
    }

    /// Whether both have a label in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.iter().any(|label| other.contains(label))
    }

    /// The labels that both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.iter().filter(|label| other.contains(label)).cloned().collect()
    }

    /// The labels as texts.
    pub fn to_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort();
        labels.dedup();
        Self(labels.into())
    }
}

impl<'l> IntoIterator for &'l Labels {
    type Item = &'l Label;
    type IntoIter = std::slice::Iter<'l, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<String>> for Labels {
    type Error = InvalidValue;

    fn try_from(texts: Vec<String>) -> Result<Self, InvalidValue> {
        Self::grant(&texts)
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.to_strings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_to_its_alphabet() {
        for good in ["edge", "eu-west-1", "a_b.c", "1", &"x".repeat(MAX_LEN)] {
            assert_eq!(Label::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Edge", "a b", "a/b", "-a", ".a", "é", "a@b", &"x".repeat(MAX_LEN + 1)] {
            let error = Label::parse(bad).unwrap_err();
            assert!(error.message.starts_with(&format!("`{bad}` is not a label: ")), "{error}");
            assert!(error.help.is_some());
        }
    }

    #[test]
    fn a_proxy_is_granted_each_label_once_and_not_many() {
        let labels = Labels::grant(&["inner", "edge"]).unwrap();
        assert_eq!(labels.to_strings(), ["edge", "inner"]);
        let error = Labels::grant(&["edge", "eu", "edge"]).unwrap_err();
        assert_eq!(error.message, "`edge` is given twice");
        let many: Vec<_> = (0..=MOST).map(|n| n.to_string()).collect();
        assert!(Labels::grant(&many).unwrap_err().message.contains("at most 16 labels"));
        assert!(Labels::grant(&many[1..]).is_ok());
        assert!(Labels::grant::<&str>(&[]).unwrap().is_empty());
    }

    #[test]
    fn sets_of_labels_meet_in_what_both_have() {
        let labels = |texts: &[&str]| Labels::grant(texts).unwrap();
        let (one, two) = (labels(&["edge", "eu"]), labels(&["eu", "inner"]));
        assert!(one.meets(&two) && !one.meets(&labels(&["inner"])));
        assert_eq!(one.common(&two), labels(&["eu"]));
        assert!(!one.meets(&Labels::default()));
    }

    #[test]
    fn the_stored_form_is_a_list_and_is_checked() {
        let labels = Labels::grant(&["eu", "edge"]).unwrap();
        let text = serde_json::to_string(&labels).unwrap();
        assert_eq!(text, r#"["edge","eu"]"#);
        assert_eq!(serde_json::from_str::<Labels>(&text).unwrap(), labels);
        assert!(serde_json::from_str::<Labels>(r#"["Edge"]"#).is_err());
    }
}
