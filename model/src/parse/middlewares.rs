//! What is done to requests on their way.

use std::{collections::HashSet, sync::Arc};

use super::{Faults, Names, list, number, or, waf};
use crate::{
    config::{Cors, Encoding, Headers, Middleware, Objects, RateLimit},
    diagnostic::code,
    document::{self, At, Document, Spanned},
    value::{ByteSize, Duration, HashSource, MiddlewareName, Secret, ServiceName},
};

/// What middlewares may name.
struct Known<'d> {
    middlewares: Names<'d>,
    services: Names<'d>,
    plugins: Names<'d>,
}

impl Faults<'_> {
    /// Every middleware, and whether chains end.
    pub(super) fn middlewares<'d>(
        &mut self,
        document: &'d Document,
        services: Names<'d>,
    ) -> Objects<MiddlewareName, Middleware> {
        let plugins = document.plugins.as_ref();
        let wasm = plugins.and_then(|plugins| plugins.wasm_plugins.as_ref());
        let http = plugins.and_then(|plugins| plugins.http_plugins.as_ref());
        let names = wasm.into_iter().flatten().filter_map(|plugin| plugin.name.as_ref());
        let names = names.chain(http.into_iter().flatten().filter_map(|p| p.name.as_ref()));
        let known = Known {
            middlewares: Names::of("middleware", "middlewares", document.middlewares.as_ref()),
            services,
            plugins: Names {
                kind: "plugin",
                map: "plugins",
                known: names.map(|name| name.value.as_str()).collect(),
            },
        };
        let mut made: Objects<_, _> = Objects::new();
        for (name, written) in document.middlewares.iter().flatten() {
            self.path = vec!["middlewares".to_owned(), name.value.to_string()];
            if !self.is_one(name, written) {
                continue;
            }
            let middleware = self.middleware(written, &known);
            made.extend(middleware.map(|middleware| (name.value.clone(), Arc::new(middleware))));
        }
        self.endless_chains(document, &made);
        self.path.clear();
        made
    }

    /// A middleware is exactly one kind.
    fn is_one(&mut self, name: &Spanned<MiddlewareName>, written: &document::Middleware) -> bool {
        macro_rules! kinds {
            ($($kind:ident),*) => {
                [$( (stringify!($kind), written.$kind.as_ref().map(|kind| kind.at)) ),*]
            };
        }
        let kinds = kinds!(
            strip_prefix,
            strip_prefix_regex,
            add_prefix,
            replace_path,
            replace_path_regex,
            headers,
            redirect_scheme,
            redirect_regex,
            basic_auth,
            forward_auth,
            ip_allow_list,
            rate_limit,
            in_flight,
            buffering,
            compress,
            retry,
            circuit_breaker,
            jwt,
            waf,
            errors,
            chain,
            plugin
        );
        let given: Vec<(&str, At)> =
            kinds.into_iter().filter_map(|(kind, at)| Some((kind, at?))).collect();
        match given.as_slice() {
            [_] => true,
            [] => {
                if written.faulty.is_empty() {
                    let help = "write one kind, such as strip_prefix: { prefixes: [/cart] }";
                    self.error(name.at, code::EMPTY, "the middleware does nothing", help);
                }
                false
            }
            [(first, _), (second, at), ..] => {
                let message = format!("a middleware is one kind; `{first}` and `{second}` are two");
                let help = "make two of them and name both in the route, in their order";
                self.error(*at, code::CONFLICT, message, help);
                false
            }
        }
    }

    fn middleware(
        &mut self,
        written: &document::Middleware,
        known: &Known<'_>,
    ) -> Option<Middleware> {
        if let Some(strip) = &written.strip_prefix {
            let prefixes = strip.prefixes.as_ref()?;
            self.within("strip_prefix", |faults| {
                faults.not_empty(strip.at, "prefixes", prefixes.is_empty());
                faults.each("prefixes", prefixes, Self::path_text);
            });
            return Some(Middleware::StripPrefix(list(Some(prefixes))));
        }
        if let Some(strip) = &written.strip_prefix_regex {
            let regex = strip.regex.as_ref()?;
            self.within("strip_prefix_regex", |faults| {
                faults.not_empty(strip.at, "regex", regex.is_empty());
            });
            return Some(Middleware::StripPrefixRegex(list(Some(regex))));
        }
        if let Some(prefix) = written.add_prefix.as_ref().map(|add| add.prefix.as_ref()) {
            self.within("add_prefix", |f| f.within("prefix", |f| f.path_text(prefix?)));
            return Some(Middleware::AddPrefix(prefix?.value.clone()));
        }
        if let Some(path) = written.replace_path.as_ref().map(|replace| replace.path.as_ref()) {
            self.within("replace_path", |f| f.within("path", |f| f.path_text(path?)));
            return Some(Middleware::ReplacePath(path?.value.clone()));
        }
        if let Some(replace) = &written.replace_path_regex {
            let regex = replace.regex.as_ref()?.value.clone();
            let replacement = replace.replacement.as_ref()?.value.clone();
            return Some(Middleware::ReplacePathRegex { regex, replacement });
        }
        if let Some(headers) = &written.headers {
            return Some(self.within("headers", |faults| faults.headers(headers)));
        }
        if let Some(redirect) = &written.redirect_scheme {
            return Some(Middleware::RedirectScheme {
                scheme: redirect.scheme?.value,
                port: redirect.port.map(|port| port.value.get()),
                permanent: or(redirect.permanent.as_ref(), false),
            });
        }
        if let Some(redirect) = &written.redirect_regex {
            return Some(Middleware::RedirectRegex {
                regex: redirect.regex.as_ref()?.value.clone(),
                replacement: redirect.replacement.as_ref()?.value.clone(),
                permanent: or(redirect.permanent.as_ref(), false),
            });
        }
        if let Some(auth) = &written.basic_auth {
            return Some(self.within("basic_auth", |faults| faults.basic_auth(auth)));
        }
        if let Some(auth) = &written.forward_auth {
            self.within("forward_auth", |faults| faults.client_tls(auth.tls.as_ref()));
            return Some(Middleware::ForwardAuth {
                address: auth.address.as_ref()?.value.clone(),
                response_headers: list(auth.auth_response_headers.as_ref()),
                request_headers: list(auth.auth_request_headers.as_ref()),
                trust_forward_header: or(auth.trust_forward_header.as_ref(), false),
                timeout: auth.timeout.map_or(Duration::from_secs(5), |d| d.value.get()),
            });
        }
        self.limits_and_the_rest(written, known)
    }

    fn limits_and_the_rest(
        &mut self,
        written: &document::Middleware,
        known: &Known<'_>,
    ) -> Option<Middleware> {
        if let Some(allow) = &written.ip_allow_list {
            let range = allow.source_range.as_ref()?;
            self.within("ip_allow_list", |faults| {
                faults.not_empty(allow.at, "source_range", range.is_empty());
                if let Some(code) =
                    allow.reject_status_code.filter(|c| !(400..600).contains(&c.value))
                {
                    let message = format!("{} is not the code of a refusal", code.value);
                    faults.error(code.at, code::INVALID_VALUE, message, "write 403 or 404");
                }
            });
            return Some(Middleware::IpAllowList {
                source_range: list(Some(range)),
                reject_status: or(allow.reject_status_code.as_ref(), 403),
            });
        }
        if let Some(limit) = &written.rate_limit {
            let requests = limit.requests?.value.get();
            return Some(Middleware::RateLimit(RateLimit {
                requests,
                per: limit.per.map_or(Duration::from_secs(1), |per| per.value.get()),
                burst: number(limit.burst, requests),
                source: or(limit.source.as_ref(), HashSource::ClientIp),
            }));
        }
        if let Some(limit) = &written.in_flight {
            let source = limit.source.as_ref().map(|source| source.value.clone());
            return Some(Middleware::InFlight { amount: limit.amount?.value.get(), source });
        }
        if let Some(buffering) = &written.buffering {
            let size = |written: Option<Spanned<ByteSize>>, default| or(written.as_ref(), default);
            return Some(Middleware::Buffering {
                max_request: size(buffering.max_request_body_bytes, ByteSize(0)),
                memory_request: size(buffering.mem_request_body_bytes, ByteSize(1 << 20)),
                max_response: size(buffering.max_response_body_bytes, ByteSize(0)),
                memory_response: size(buffering.mem_response_body_bytes, ByteSize(1 << 20)),
            });
        }
        if let Some(compress) = &written.compress {
            return Some(self.within("compress", |faults| faults.compress(compress)));
        }
        if let Some(again) = &written.retry {
            return self.within("retry", |faults| faults.retry(again)).map(Middleware::Retry);
        }
        if let Some(breaker) = &written.circuit_breaker {
            let made = self.within("circuit_breaker", |faults| faults.circuit_breaker(breaker));
            return Some(Middleware::CircuitBreaker(made));
        }
        if let Some(jwt) = &written.jwt {
            let made = self.within("jwt", |faults| faults.jwt(jwt))?;
            return Some(Middleware::Jwt(Box::new(made)));
        }
        if let Some(written) = &written.waf {
            let made = self.within("waf", |faults| faults.waf(written));
            return Some(Middleware::Waf(Box::new(made)));
        }
        if let Some(errors) = &written.errors {
            return self.within("errors", |faults| faults.errors(errors, &known.services));
        }
        if let Some(chain) = &written.chain {
            return self.within("chain", |faults| {
                let listed = chain.middlewares.as_ref()?;
                faults.not_empty(chain.at, "middlewares", listed.is_empty());
                let names = faults.named_in_order("middlewares", listed, &known.middlewares);
                Some(Middleware::Chain(names))
            });
        }
        let plugin = written.plugin.as_ref()?;
        let name = plugin.name.as_ref()?;
        self.within("plugin", |f| f.within("name", |f| f.refers(name, &known.plugins)))
            .then(|| plugin.config.as_ref().map_or(serde_json::Value::Null, |c| c.value.clone()))
            .map(|config| Middleware::Plugin(name.value.clone(), config))
    }

    /// Middlewares in the order in which requests pass them; one may stand twice.
    pub(super) fn named_in_order(
        &mut self,
        key: &str,
        listed: &[Spanned<MiddlewareName>],
        known: &Names<'_>,
    ) -> Vec<MiddlewareName> {
        self.within(key, |faults| {
            let good = listed.iter().filter(|name| faults.refers(name, known));
            good.map(|name| name.value.clone()).collect()
        })
    }

    fn not_empty(&mut self, at: At, key: &str, is_empty: bool) {
        if is_empty {
            self.within(key, |faults| {
                faults.error(at, code::EMPTY, "the list is empty", "name at least one");
            });
        }
    }

    /// A path that stands in a request.
    fn path_text(&mut self, path: &Spanned<String>) -> Option<()> {
        if super::services::is_path(&path.value) {
            return Some(());
        }
        let message = format!("`{}` is not a path", path.value);
        let help = "write a path that starts with `/` and has no spaces";
        self.error(path.at, code::INVALID_VALUE, message, help);
        None
    }

    fn headers(&mut self, written: &document::Headers) -> Middleware {
        let origins = list(written.access_control_allow_origin_list.as_ref());
        let credentials = written.access_control_allow_credentials;
        if let Some(at) = credentials.filter(|c| c.value).map(|c| c.at)
            && origins.iter().any(|origin| origin == "*")
        {
            self.within("access_control_allow_credentials", |faults| {
                let message = "browsers send no cookies where every origin may ask";
                let help = "name the origins in access_control_allow_origin_list";
                faults.error(at, code::CONFLICT, message, help);
            });
        }
        let cors = Cors {
            origins,
            methods: list(written.access_control_allow_methods.as_ref()),
            headers: list(written.access_control_allow_headers.as_ref()),
            exposed: list(written.access_control_expose_headers.as_ref()),
            credentials: credentials.is_some_and(|credentials| credentials.value),
            max_age: or(written.access_control_max_age.as_ref(), 0),
        };
        Middleware::Headers(Box::new(Headers {
            request: waf::fields(written.custom_request_headers.as_ref()),
            response: waf::fields(written.custom_response_headers.as_ref()),
            cors: (!cors.origins.is_empty()).then_some(cors),
        }))
    }

    fn basic_auth(&mut self, written: &document::BasicAuth) -> Middleware {
        let mut users = Vec::new();
        self.each("users", written.users.iter().flatten(), |faults, user| {
            let line = user.value.expose_secret();
            users.extend(faults.user(user.at, line));
        });
        if let Some(path) = &written.users_file {
            let content = self.file("users_file", path, "").map(<[u8]>::to_vec);
            self.within("users_file", |faults| {
                let text = content.map(|content| String::from_utf8_lossy(&content).into_owned());
                for line in text.iter().flat_map(|text| text.lines()) {
                    let line = line.trim();
                    if !line.is_empty() && !line.starts_with('#') {
                        users.extend(faults.user(path.at, line));
                    }
                }
            });
        }
        let is_faulty = written.faulty.contains(&"users") || written.users_file.is_some();
        if users.is_empty() && written.users.as_ref().is_none_or(Vec::is_empty) && !is_faulty {
            let help = "write users: [\"NAME:HASH\"] as `htpasswd -nB NAME` prints it";
            self.error(written.at, code::EMPTY, "nobody could pass", help);
        }
        Middleware::BasicAuth {
            users,
            realm: or(written.realm.as_ref(), "lb".to_owned()),
            header_field: written.header_field.as_ref().map(|field| field.value.clone()),
            remove_header: or(written.remove_header.as_ref(), false),
        }
    }

    /// A name and a hash that takes long to guess. Neither is ever shown.
    fn user(&mut self, at: At, line: &str) -> Option<Secret<String>> {
        let hash = line.split_once(':').filter(|(name, _)| !name.is_empty()).map(|(_, hash)| hash);
        let help = "write NAME:HASH as `htpasswd -nB NAME` prints it";
        match hash {
            Some(hash) if hash.starts_with("$2") => {}
            Some(hash) if hash.starts_with("$apr1$") || hash.starts_with("{SHA}") => {
                let message = "the hash is MD5 or SHA-1, which are guessed quickly";
                self.warn(at, code::WEAK_SECRET, message, help);
            }
            _ => {
                let message = "this is not a name and the hash of a password";
                self.error(at, code::INVALID_VALUE, message, help);
                return None;
            }
        }
        Some(Secret::new(line.to_owned()))
    }

    fn compress(&mut self, written: &document::Compress) -> Middleware {
        let usual = [Encoding::Zstd, Encoding::Br, Encoding::Gzip];
        let (excluded, included) =
            (&written.excluded_content_types, &written.included_content_types);
        if let (Some(_), Some([first, ..])) = (excluded, included.as_deref()) {
            let message =
                "`included_content_types` and `excluded_content_types` exclude each other";
            self.error(first.at, code::CONFLICT, message, "keep one of the two");
        }
        self.not_empty(
            written.at,
            "encodings",
            written.encodings.as_ref().is_some_and(Vec::is_empty),
        );
        Middleware::Compress {
            encodings: match &written.encodings {
                Some(_) => list(written.encodings.as_ref()),
                None => usual.to_vec(),
            },
            min_body: or(written.min_response_body_bytes.as_ref(), ByteSize(1 << 10)),
            excluded: list(excluded.as_ref()),
            included: list(included.as_ref()),
        }
    }

    /// When a request is tried again.
    fn errors(&mut self, written: &document::Errors, services: &Names<'_>) -> Option<Middleware> {
        let status = written.status.as_ref()?;
        self.not_empty(written.at, "status", status.0.is_empty());
        let service: &Spanned<ServiceName> = written.service.as_ref()?;
        if !self.within("service", |faults| faults.refers(service, services)) {
            return None;
        }
        if let Some(query) = &written.query {
            self.within("query", |faults| faults.path_text(query));
        }
        Some(Middleware::Errors {
            status: list(Some(&status.0)),
            service: service.value.clone(),
            query: or(written.query.as_ref(), "/".to_owned()),
        })
    }

    /// Chains that come back to themselves.
    fn endless_chains(&mut self, document: &Document, made: &Objects<MiddlewareName, Middleware>) {
        let mut done: HashSet<&MiddlewareName> = HashSet::new();
        for (name, written) in document.middlewares.iter().flatten() {
            let Some(chain) = &written.chain else { continue };
            let mut open = vec![(&name.value, 0)];
            while let Some((current, next)) = open.pop() {
                let Some(Middleware::Chain(parts)) = made.get(current).map(AsRef::as_ref) else {
                    done.insert(current);
                    continue;
                };
                let Some(part) = parts.get(next) else {
                    done.insert(current);
                    continue;
                };
                open.push((current, next + 1));
                if open.iter().any(|(above, _)| *above == part) {
                    self.path =
                        vec!["middlewares".to_owned(), name.value.to_string(), "chain".into()];
                    let message = format!("it comes back to `{part}` again and again");
                    self.error(chain.at, code::LOOP, message, "take one of them out of the chain");
                    return;
                }
                // A chain of chains this long is compared with itself for too long.
                if !done.contains(part) && open.len() < 64 {
                    open.push((part, 0));
                }
            }
        }
    }
}
