//! Who may ask: what a token must be and which paths need which.

pub use crate::document::{Algorithm, DefaultPolicy, TokenSource};
use crate::{
    bundle::Content,
    rule::{HeaderName, MethodName},
    value::{Duration, PathPattern, Secret, Url},
};

/// Requests carry a JSON Web Token (RFC 7519).
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// The one algorithm that tokens are signed with.
    pub algorithm: Algorithm,
    /// What signatures are checked with; it fits the algorithm.
    pub key: TokenKey,
    /// The oldest that a token may be.
    pub token_expiry: Option<Duration>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The `iss` of which a token must have one; any when empty.
    pub issuers: Vec<String>,
    /// The `aud` of which a token must have one; any when empty.
    pub audiences: Vec<String>,
    /// Where a token may stand, in this order; never empty.
    pub token_sources: Vec<TokenSource>,
    /// Claims that backends get as header fields.
    pub forward_claims: Vec<(String, HeaderName)>,
    /// Whether backends do not see the token.
    pub strip_authorization: bool,
    /// The claim with the roles; the usual ones are tried when absent.
    pub roles_claim: Option<String>,
    /// What paths without a rule need.
    pub default_policy: DefaultPolicy,
    /// What single paths need; no two are about the same.
    pub path_rules: Vec<PathRule>,
}

/// What signatures are checked with.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKey {
    /// A shared secret.
    Shared(Secret<Vec<u8>>),
    /// A public key, as the DER of a SubjectPublicKeyInfo (RFC 5280 section 4.1).
    Public(Content),
    /// What the issuer publishes.
    Published(Url),
}

/// What a path needs.
#[derive(Debug, Clone, PartialEq)]
pub struct PathRule {
    /// Which.
    pub path: PathPattern,
    /// The methods that it is about; all when empty.
    pub methods: Vec<MethodName>,
    /// Roles of which the token must have one.
    pub required_roles: Vec<String>,
    /// Scopes of which the token must have all.
    pub required_scopes: Vec<String>,
    /// Whether no token is needed.
    pub public: bool,
}

/// What one request needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Need<'a> {
    /// Nothing.
    Nothing,
    /// A valid token.
    Token,
    /// A valid token with the roles and scopes of a rule.
    Rule(&'a PathRule),
    /// Nobody may ask for this.
    Refused,
}

impl Jwt {
    /// What a request needs. Of all rules that match, the most specific path decides; of two
    /// alike, the one that names methods.
    pub fn need(&self, method: &str, path: &str) -> Need<'_> {
        let matching = self.path_rules.iter().filter(|rule| {
            (rule.methods.is_empty() || rule.methods.iter().any(|named| named.as_str() == method))
                && rule.path.matches(path)
        });
        let most = matching.max_by_key(|rule| (rule.path.specificity(), !rule.methods.is_empty()));
        match (most, self.default_policy) {
            (Some(rule), _) if rule.public => Need::Nothing,
            (Some(rule), _) => Need::Rule(rule),
            (None, DefaultPolicy::Require) => Need::Token,
            (None, DefaultPolicy::Public) => Need::Nothing,
            (None, DefaultPolicy::Deny) => Need::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, methods: &[&str], public: bool) -> PathRule {
        PathRule {
            path: PathPattern::parse(path).unwrap(),
            methods: methods.iter().map(|m| MethodName::parse(m).unwrap()).collect(),
            required_roles: vec![],
            required_scopes: vec![],
            public,
        }
    }

    #[test]
    fn the_most_specific_rule_decides_and_the_rest_needs_a_token() {
        let mut jwt = Jwt {
            algorithm: Algorithm::Rs256,
            key: TokenKey::Public(Content(vec![])),
            token_expiry: None,
            clock_skew: Duration::from_secs(60),
            issuers: vec![],
            audiences: vec![],
            token_sources: vec![TokenSource::Bearer],
            forward_claims: vec![],
            strip_authorization: false,
            roles_claim: None,
            default_policy: DefaultPolicy::Require,
            path_rules: vec![
                rule("/api/*", &[], false),
                rule("/api/public/*", &[], true),
                rule("/api/items", &["GET"], true),
                rule("/api/items", &[], false),
            ],
        };
        let rules = jwt.path_rules.clone();
        assert_eq!(jwt.need("GET", "/api/public/x"), Need::Nothing);
        assert_eq!(jwt.need("GET", "/api/./x"), Need::Rule(&rules[0]));
        assert_eq!(jwt.need("GET", "/api/items"), Need::Nothing);
        assert_eq!(jwt.need("POST", "/api/items"), Need::Rule(&rules[3]));
        assert_eq!(jwt.need("GET", "/"), Need::Token);
        jwt.default_policy = DefaultPolicy::Deny;
        assert_eq!(jwt.need("GET", "/"), Need::Refused);
        jwt.default_policy = DefaultPolicy::Public;
        assert_eq!(jwt.need("GET", "/"), Need::Nothing);
    }
}
