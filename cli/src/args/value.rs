//! What flags take: addresses, labels, durations.

use std::time::Duration;

use lb_model::value::Label;
use reqwest::Url;

/// Reads the address of a control plane; the scheme may be left out.
pub(crate) fn server(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("{error}; write http://HOST:PORT"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("`{scheme}` is not http or https; write http://HOST:PORT")),
    }
}

/// Reads a label.
pub(super) fn label(text: &str) -> Result<Label, String> {
    Label::parse(text).map_err(|error| helped(&error))
}

/// Reads a label of one of the proxies that `up` starts.
pub(super) fn placed(text: &str) -> Result<(u16, Label), String> {
    let (proxy, text) = text.split_once('=').ok_or("write PROXY=LABEL, such as proxy-1=edge")?;
    let number = proxy.strip_prefix("proxy-").and_then(|number| number.parse().ok());
    let number = number.filter(|number| *number > 0);
    let number = number.ok_or_else(|| format!("`{proxy}` is none of proxy-1, proxy-2, ..."))?;
    Ok((number, label(text)?))
}

/// What is wrong with a value, and what to write instead.
fn helped(error: &lb_model::value::InvalidValue) -> String {
    match &error.help {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}

/// Reads a path in the configuration and the value to set there.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    lb_source::pair(text).map_err(|error| error.to_string())
}

/// Reads a header field as curl takes it.
pub(super) fn field(text: &str) -> Result<(String, String), String> {
    let field = text.split_once(':').filter(|(name, _)| !name.trim().is_empty());
    let (name, value) =
        field.ok_or_else(|| format!("`{text}` is no field; write 'Name: value'"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Reads a duration as the configuration writes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(duration) => Ok(duration.get()),
        Err(error) => Err(helped(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_written_without_its_scheme() {
        assert_eq!(server("10.0.0.7:9700").unwrap().as_str(), "http://10.0.0.7:9700/");
        assert_eq!(server("https://lb.example/x").unwrap().as_str(), "https://lb.example/x");
        assert!(server("ftp://lb.example").unwrap_err().contains("not http"));
        assert!(server("http://").is_err());
    }

    #[test]
    fn times_are_written_as_in_the_configuration() {
        for (text, millis) in [("500ms", 500), ("60s", 60_000), ("1m30s", 90_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert!(duration("soon").unwrap_err().contains("such as 250ms, 30s"));
    }

    #[test]
    fn labels_are_checked_where_they_are_typed() {
        assert_eq!(label("edge").unwrap().as_str(), "edge");
        assert!(label("Edge").unwrap_err().contains("use small letters"));
        assert_eq!(placed("proxy-2=inner").unwrap(), (2, label("inner").unwrap()));
        for (bad, why) in [
            ("edge", "such as proxy-1=edge"),
            ("proxy-0=edge", "`proxy-0` is none of"),
            ("edge-1=edge", "`edge-1` is none of"),
            ("proxy-1=", "it is empty"),
        ] {
            assert!(placed(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
