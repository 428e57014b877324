//! A request as somebody writes it down, in the form that rules and balancers ask.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use lb_model::api::ExplainRequest;

use super::Unexplainable;
use crate::{
    ask::{Ask, cookie_in},
    path,
};

/// A request in the form that rules see.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) is_tls: Option<bool>,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) client: IpAddr,
    /// A path that the proxy would refuse.
    pub(super) is_refused: bool,
}

impl Request {
    /// Reads what was asked.
    pub(super) fn read(asked: &ExplainRequest) -> Result<Self, Unexplainable> {
        let wrong = |what: String| Unexplainable(what);
        let method = asked.method.as_deref().unwrap_or("GET");
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| wrong(format!("`{method}` is not a method; write GET, POST, ...")))?;
        let text = &asked.url;
        let not_url = || {
            let what = format!("`{text}` is not a URL; write http://shop.example.com/cart?x=1");
            wrong(what)
        };
        // Without a scheme it is a host and what follows, or a path of any host.
        let uri: Uri = match (text.starts_with('/'), text.contains("://")) {
            (false, false) => {
                format!("//{text}").parse().or_else(|_| format!("http://{text}").parse())
            }
            _ => text.parse(),
        }
        .map_err(|_| not_url())?;
        let is_tls = match uri.scheme_str().filter(|_| text.contains("://")) {
            None => None,
            Some("http") => Some(false),
            Some("https") => Some(true),
            Some(_) => return Err(not_url()),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let field = HeaderName::from_bytes(name.as_bytes());
            // As in a message, what is around a value is not of it (RFC 9110, 5.5).
            let value = HeaderValue::from_str(value.trim_matches([' ', '\t']));
            let (Ok(field), Ok(value)) = (field, value) else {
                let what = format!("`{name}` is not a header field; write 'Name: value'");
                return Err(wrong(what));
            };
            headers.append(field, value);
        }
        if !headers.contains_key(header::HOST)
            && let Some(authority) = uri.authority()
            && let Ok(value) = HeaderValue::from_str(authority.as_str())
        {
            // Clients write one.
            headers.insert(header::HOST, value);
        }
        let field = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let authority = field.or_else(|| uri.authority().map(http::uri::Authority::as_str));
        let host = authority.unwrap_or_default();
        let host = match (host.strip_prefix('['), host.rsplit_once(':')) {
            (Some(_), _) => host.split_inclusive(']').next().unwrap_or(host),
            (None, Some((host, _))) => host,
            (None, None) => host,
        };
        let given = if uri.path().is_empty() { "/" } else { uri.path() };
        let resolved = path::resolve(given);
        Ok(Self {
            method,
            host: host.to_owned(),
            port: uri.port_u16(),
            is_tls,
            is_refused: resolved.is_err(),
            path: resolved.map_or_else(|_| given.to_owned(), std::borrow::Cow::into_owned),
            query: uri.query().map(str::to_owned),
            headers,
            client: asked.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        })
    }
}

impl Ask for Request {
    fn field<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    fn cookie<'s>(&'s self, name: &str) -> Option<&'s [u8]> {
        let fields = self.headers.get_all(header::COOKIE).into_iter();
        cookie_in(fields.map(HeaderValue::as_bytes), name)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn client(&self) -> IpAddr {
        self.client.to_canonical()
    }

    fn is_secure(&self) -> bool {
        self.is_tls == Some(true)
    }
}
