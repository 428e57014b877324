//! Who may ask, as written.

use super::{Named, OneOrMany, Spanned, record, words};
use crate::{
    rule::{HeaderName, MethodName},
    value::{Duration, FilePath, PathPattern, PositiveDuration, Secret, Url},
};

record! {
    /// Requests carry a JSON Web Token (RFC 7519). At the top level it is for every route that
    /// does not set its own.
    pub struct Jwt {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// The one algorithm that tokens are signed with.
        algorithm: Spanned<Algorithm> = "RS256",
        /// A file with the public key: PEM of PKCS#1, SPKI or a certificate.
        public_key_path: Spanned<FilePath>,
        /// Where the issuer publishes its keys, in place of a file.
        jwks_url: Spanned<Url>,
        /// The shared secret of HS256, HS384 and HS512.
        secret: Spanned<Secret<String>>,
        /// A file with it.
        secret_file: Spanned<FilePath>,
        /// The oldest that a token may be.
        token_expiry: Spanned<PositiveDuration>,
        /// How far clocks may differ.
        clock_skew: Spanned<Duration> = "60s",
        /// The `iss` that tokens must have; any of them.
        issuer: OneOrMany<String>,
        /// The `aud` that tokens must have; any of them.
        audience: OneOrMany<String>,
        /// Where a token may stand, in this order: bearer, header:NAME, cookie:NAME, query:NAME.
        token_sources: Vec<Spanned<TokenSource>> = "[\"bearer\"]",
        /// Claims that backends get as header fields; what clients send under these names is
        /// dropped.
        forward_claims: Named<String, Spanned<HeaderName>>,
        /// Whether backends do not see the token.
        strip_authorization: Spanned<bool> = "false",
        /// The claim with the roles; by default roles, role and realm_access.roles are tried.
        roles_claim: Spanned<String>,
        /// What paths without a rule need.
        default_policy: Spanned<DefaultPolicy> = "require",
        /// What single paths need. The most specific rule that matches decides.
        path_rules: Vec<PathRule>,
    }
}

record! {
    /// What a path needs.
    pub struct PathRule {
        /// Which: `/x/*` is /x and everything below it.
        path: Spanned<PathPattern>,
        /// The methods that it is about; all by default.
        methods: Vec<Spanned<MethodName>>,
        /// Roles of which the token must have one.
        required_roles: Vec<Spanned<String>>,
        /// Scopes of which the token must have all.
        required_scopes: Vec<Spanned<String>>,
        /// Whether no token is needed.
        public: Spanned<bool> = "false",
    }
    required: path = "path: /api/*"
}

words! {
    /// An algorithm of RFC 7518 section 3.1 or RFC 8037.
    pub enum Algorithm: "an algorithm" {
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// RSA with SHA-384.
        Rs384 = "RS384",
        /// RSA with SHA-512.
        Rs512 = "RS512",
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA with P-256.
        Es256 = "ES256",
        /// ECDSA with P-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

words! {
    /// What paths without a rule need.
    pub enum DefaultPolicy: "a policy" {
        /// A valid token.
        Require = "require",
        /// Nothing.
        Public = "public" | "allow",
        /// They are refused.
        Deny = "deny",
    }
}

/// Where a token may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer`.
    Bearer,
    /// The value of a header, alone or after `Bearer`.
    Header(HeaderName),
    /// A cookie.
    Cookie(crate::value::CookieName),
    /// A parameter of the query. It ends up in the logs of others.
    Query(String),
}

impl super::Leaf for TokenSource {
    fn leaf(text: &str) -> Result<Self, crate::value::InvalidValue> {
        use crate::value::{CookieName, InvalidValue};
        let wrong = || {
            InvalidValue::new(
                format!("`{text}` is no place for a token"),
                "write bearer, header:NAME, cookie:NAME or query:NAME",
            )
        };
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            Some(("header", name)) => {
                HeaderName::parse(name).map(Self::Header).map_err(|_| wrong())
            }
            Some(("cookie", name)) => {
                CookieName::parse(name).map(Self::Cookie).map_err(|_| wrong())
            }
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(wrong()),
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^(bearer|(header|cookie|query):.+)$" })
    }
}
