//! Who may ask: tokens, what checks them, and what paths need.

use std::collections::HashSet;

use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519},
    pem::Pem,
    prelude::{FromDer, SubjectPublicKeyInfo},
    public_key::PublicKey,
};

use super::{Faults, list, or};
use crate::{
    bundle::Content,
    config::{Algorithm, DefaultPolicy, Jwt, PathRule, TokenKey, TokenSource},
    diagnostic::code,
    document::{self, Spanned},
    value::{Duration, Secret},
};

/// What RFC 7518 section 3.2 asks of a secret for HS256.
const SHORTEST_SECRET: usize = 32;
/// What RFC 7518 section 3.3 asks of an RSA key.
const SMALLEST_RSA: usize = 2048;

impl Faults<'_> {
    /// What a block says, if it has a key that checks tokens.
    pub(super) fn jwt(&mut self, written: &document::Jwt) -> Option<Jwt> {
        let algorithm = or(written.algorithm.as_ref(), Algorithm::Rs256);
        let key = self.token_key(written, algorithm);
        let path_rules = self.path_rules(written);
        for (key, listed) in [("issuer", &written.issuer), ("audience", &written.audience)] {
            if listed.as_ref().is_some_and(|listed| listed.0.is_empty()) {
                let message = format!("`{key}` is empty, so no token could pass");
                self.error(written.at, code::EMPTY, message, "name one, or leave the key out");
            }
        }
        let token_sources = match &written.token_sources {
            Some(listed) if listed.is_empty() => {
                let message = "`token_sources` is empty, so no token could be found";
                self.error(written.at, code::EMPTY, message, "write token_sources: [bearer]");
                Vec::new()
            }
            Some(listed) => listed.iter().map(|source| source.value.clone()).collect(),
            None => vec![TokenSource::Bearer],
        };
        let texts = |listed: &Option<document::OneOrMany<String>>| {
            list(listed.as_ref().map(|listed| &listed.0))
        };
        Some(Jwt {
            algorithm,
            key: key?,
            token_expiry: written.token_expiry.map(|d| d.value.get()),
            clock_skew: or(written.clock_skew.as_ref(), Duration::from_secs(60)),
            issuers: texts(&written.issuer),
            audiences: texts(&written.audience),
            token_sources,
            forward_claims: written
                .forward_claims
                .iter()
                .flatten()
                .map(|(claim, header)| (claim.value.clone(), header.value.clone()))
                .collect(),
            strip_authorization: or(written.strip_authorization.as_ref(), false),
            roles_claim: written.roles_claim.as_ref().map(|claim| claim.value.clone()),
            default_policy: or(written.default_policy.as_ref(), DefaultPolicy::Require),
            path_rules,
        })
    }

    /// The one key that the algorithm wants.
    fn token_key(&mut self, written: &document::Jwt, algorithm: Algorithm) -> Option<TokenKey> {
        if written.faulty.contains(&"algorithm") {
            return None;
        }
        let shared = [
            ("secret", written.secret.as_ref().map(|key| key.at)),
            ("secret_file", written.secret_file.as_ref().map(|key| key.at)),
        ];
        let public = [
            ("public_key_path", written.public_key_path.as_ref().map(|key| key.at)),
            ("jwks_url", written.jwks_url.as_ref().map(|key| key.at)),
        ];
        let (wanted, foreign) =
            if is_shared(algorithm) { (shared, public) } else { (public, shared) };
        let name = algorithm.as_str();
        for (key, at) in foreign.into_iter().filter_map(|(key, at)| Some((key, at?))) {
            self.within(key, |faults| {
                let message = format!("{name} is not checked with `{key}`");
                let help = if is_shared(algorithm) {
                    "write `secret` or `secret_file`, or an algorithm with a public key: RS256"
                } else {
                    "write `public_key_path`, or algorithm: HS256"
                };
                faults.error(at, code::INVALID_KEY, message, help);
            });
        }
        let given: Vec<_> = wanted.iter().filter_map(|(key, at)| Some((*key, (*at)?))).collect();
        match given.as_slice() {
            [] => {
                let [(one, _), (other, _)] = wanted;
                let is_known = foreign.iter().any(|(_, at)| at.is_some())
                    || written.faulty.contains(&one)
                    || written.faulty.contains(&other);
                if !is_known {
                    let message = format!("there is nothing to check {name} with");
                    let help = format!("write `{one}`, or `{other}`");
                    self.error(written.at, code::MISSING, message, help);
                }
                return None;
            }
            [_, (second, at), ..] => {
                let message = format!("`{}` and `{second}` say the same twice", given[0].0);
                self.error(*at, code::CONFLICT, message, "keep one of the two");
                return None;
            }
            [_] => {}
        }
        if let Some(url) = &written.jwks_url {
            return Some(TokenKey::Published(url.value.clone()));
        }
        if let Some(secret) = &written.secret {
            let bytes = secret.value.expose_secret().as_bytes();
            return Some(self.shared_secret("secret", secret.at, bytes));
        }
        if let Some(path) = &written.secret_file {
            let content = self.file("secret_file", path, ", or write it as `secret`")?;
            // An editor ends the line; the secret does not.
            let secret = content.trim_ascii_end().to_vec();
            return Some(self.shared_secret("secret_file", path.at, &secret));
        }
        self.public_key(written.public_key_path.as_ref()?, algorithm)
    }

    fn shared_secret(&mut self, key: &str, at: document::At, secret: &[u8]) -> TokenKey {
        self.within(key, |faults| {
            if secret.is_empty() {
                let help = "give at least 32 random bytes, such as `openssl rand -base64 32`";
                faults.error(at, code::INVALID_KEY, "the secret is empty", help);
            } else if secret.len() < SHORTEST_SECRET {
                let message = format!(
                    "the secret has {} bytes; with less than {SHORTEST_SECRET} it can be guessed \
                     from one token (RFC 7518 section 3.2)",
                    secret.len()
                );
                let help = "give at least 32 random bytes, such as `openssl rand -base64 32`";
                faults.warn(at, code::WEAK_SECRET, message, help);
            }
        });
        TokenKey::Shared(Secret::new(secret.to_vec()))
    }

    fn public_key(
        &mut self,
        path: &Spanned<crate::value::FilePath>,
        algorithm: Algorithm,
    ) -> Option<TokenKey> {
        let content = self.file("public_key_path", path, "")?;
        let outcome = spki(content).and_then(|der| {
            fits(&der, algorithm)?;
            Ok(der)
        });
        match outcome {
            Ok(der) => Some(TokenKey::Public(Content(der))),
            Err(reason) => {
                self.within("public_key_path", |faults| {
                    let message = format!("the file `{}` {reason}", path.value);
                    let help = format!("give the PEM public key that {} needs", wanted(algorithm));
                    faults.error(path.at, code::INVALID_KEY, message, help);
                });
                None
            }
        }
    }

    fn path_rules(&mut self, written: &document::Jwt) -> Vec<PathRule> {
        let mut seen: HashSet<(String, String)> = HashSet::new();
        let rules = self.each("path_rules", written.path_rules.iter().flatten(), |faults, rule| {
            let roles = list(rule.required_roles.as_ref());
            let scopes = list(rule.required_scopes.as_ref());
            let public = or(rule.public.as_ref(), false);
            if public && !(roles.is_empty() && scopes.is_empty()) {
                let at = rule.public.as_ref().map_or(rule.at, |public| public.at);
                let message = "what is public needs no roles and scopes";
                faults.error(at, code::CONFLICT, message, "leave one of the two out");
            }
            let path = rule.path.as_ref()?;
            let mut methods = list(rule.methods.as_ref());
            if rule.methods.as_ref().is_some_and(Vec::is_empty) {
                let help = "name one, or leave the key out for all";
                faults.error(rule.at, code::EMPTY, "the rule is about no method", help);
            }
            methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            let canonical = path.value.as_str().trim_end_matches('/').to_owned();
            let about = if methods.is_empty() { vec![""] } else { names(&methods) };
            let twice = about
                .into_iter()
                .filter(|method| !seen.insert((canonical.clone(), (*method).to_owned())))
                .count();
            if twice > 0 {
                faults.within("path", |faults| {
                    let message = format!("another rule is about {} already", path.value);
                    let help = "make one of the two, or give each its own methods";
                    faults.error(path.at, code::CONFLICT, message, help);
                });
            }
            Some(PathRule {
                path: path.value.clone(),
                methods,
                required_roles: roles,
                required_scopes: scopes,
                public,
            })
        });
        rules.into_iter().flatten().collect()
    }
}

fn names(methods: &[crate::rule::MethodName]) -> Vec<&str> {
    methods.iter().map(crate::rule::MethodName::as_str).collect()
}

const fn is_shared(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
}

/// The kind of key that an algorithm needs, for messages.
const fn wanted(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "ES256 (ECDSA with P-256)",
        Algorithm::Es384 => "ES384 (ECDSA with P-384)",
        Algorithm::EdDsa => "EdDSA (Ed25519)",
        _ => "an RSA algorithm (2048 bits or more)",
    }
}

/// The DER of the public key in a PEM text: PKCS#1, SPKI, or that of a certificate.
fn spki(content: &[u8]) -> Result<Vec<u8>, &'static str> {
    for block in Pem::iter_from_buffer(content) {
        let block = block.map_err(|_| "is not PEM")?;
        match block.label.as_str() {
            "PUBLIC KEY" => return Ok(block.contents),
            "RSA PUBLIC KEY" => return Ok(rsa_spki(&block.contents)),
            "CERTIFICATE" => {
                let certificate = block.parse_x509().map_err(|_| "is not a certificate")?;
                return Ok(certificate.public_key().raw.to_vec());
            }
            label if label.ends_with("PRIVATE KEY") => {
                return Err("holds a private key, which must stay with who signs");
            }
            _ => {}
        }
    }
    Err("holds no PEM public key")
}

/// A PKCS#1 key as a SubjectPublicKeyInfo (RFC 3279 section 2.3.1).
fn rsa_spki(pkcs1: &[u8]) -> Vec<u8> {
    /// SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }.
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let mut bits = vec![0];
    bits.extend(pkcs1);
    let mut inner = ALGORITHM.to_vec();
    inner.extend(der(3, &bits));
    der(0x30, &inner)
}

/// A value of DER with its tag and length.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let digits = &length[zeros.min(length.len() - 1)..];
    if content.len() >= 128 {
        encoded.push(0x80 | digits.len() as u8);
    }
    encoded.extend(digits);
    encoded.extend(content);
    encoded
}

/// Whether a key is one that the algorithm can be checked with.
fn fits(spki: &[u8], algorithm: Algorithm) -> Result<(), &'static str> {
    let (_, key) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| "holds no public key")?;
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let is_rsa = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < SMALLEST_RSA => {
            return Err("holds an RSA key of less than 2048 bits");
        }
        Ok(PublicKey::RSA(_)) => true,
        _ => false,
    };
    let good = match algorithm {
        Algorithm::Es256 => curve.is_some_and(|oid| oid == OID_EC_P256),
        Algorithm::Es384 => curve.is_some_and(|oid| oid == OID_NIST_EC_P384),
        Algorithm::EdDsa => key.algorithm.algorithm == OID_SIG_ED25519,
        _ => is_rsa,
    };
    if good { Ok(()) } else { Err("holds a key of another kind") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_its_algorithm_and_no_other() {
        for (made, algorithm) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::Es256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::Es384),
            (&rcgen::PKCS_ED25519, Algorithm::EdDsa),
            (&rcgen::PKCS_RSA_SHA256, Algorithm::Rs256),
        ] {
            let pair = rcgen::KeyPair::generate_for(made).unwrap();
            let der = spki(pair.public_key_pem().as_bytes()).unwrap();
            for other in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Ps512] {
                let is_same = other == algorithm
                    || (algorithm == Algorithm::Rs256 && other == Algorithm::Ps512);
                assert_eq!(fits(&der, other).is_ok(), is_same, "{algorithm:?} {other:?}");
            }
        }
    }

    #[test]
    fn each_form_of_a_public_key_gives_the_same() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let whole = spki(pair.public_key_pem().as_bytes()).unwrap();
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&whole).unwrap();
        assert_eq!(rsa_spki(&parsed.subject_public_key.data), whole);
        let certificate =
            rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&pair);
        assert_eq!(spki(certificate.unwrap().pem().as_bytes()).unwrap(), whole);
        assert!(spki(pair.serialize_pem().as_bytes()).unwrap_err().contains("private"));
        assert!(spki(b"nothing").is_err());
    }
}
