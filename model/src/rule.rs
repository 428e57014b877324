//! Stand-in until the rule language lands.
/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule;
