//! Writes responses as a client over HTTP/2 gets them.

use http::StatusCode;
use lb_http::{
    Field, Known, Reason,
    h1::{ResponseHead, encode},
    h2::HeadWriter,
    hop_by_hop::Filter,
};

use super::rescue::ALLOWED;

/// Writes the fields of a backend's response, with a cookie of the proxy's where there is one.
pub fn write_head(writer: &mut HeadWriter<'_>, head: &ResponseHead, cookie: Option<&[u8]>) {
    let has_no_length = head.status == StatusCode::NO_CONTENT;
    let mut has_date = false;
    write(writer, head, |field| {
        has_date |= field.known == Known::Date;
        field.known != Known::ProxyAuthenticate
            && !(has_no_length && field.known == Known::ContentLength)
    });
    if !has_date {
        write_date(writer);
    }
    if let Some(cookie) = cookie {
        writer.field("set-cookie", cookie);
    }
}

/// Writes the fields of an answer before the last one, which passes as it is.
pub fn write_interim(writer: &mut HeadWriter<'_>, head: &ResponseHead) {
    write(writer, head, |field| field.known != Known::ContentLength);
}

/// Writes the fields of an answer of the proxy itself.
pub fn write_refusal(writer: &mut HeadWriter<'_>, reason: Reason, retry_after: Option<u32>) {
    let mut length = Vec::new();
    encode::decimal(&mut length, reason.body().len() as u64);
    writer.field("content-type", Reason::CONTENT_TYPE.as_bytes());
    writer.field("content-length", &length);
    if reason == Reason::MethodNotAllowed {
        writer.field("allow", ALLOWED.as_bytes());
    }
    if let Some(seconds) = retry_after {
        length.clear();
        encode::decimal(&mut length, seconds.into());
        writer.field("retry-after", &length);
    }
    write_date(writer);
}

fn write(
    writer: &mut HeadWriter<'_>,
    head: &ResponseHead,
    mut passes: impl FnMut(&Field<'_>) -> bool,
) {
    let filter = Filter::new(&head.fields, head.nominates());
    for (field, line) in head.fields.lines() {
        if passes(&field) && filter.passes(&field) {
            writer.line(&field, line);
        }
    }
}

fn write_date(writer: &mut HeadWriter<'_>) {
    encode::with_date(|date| writer.field("date", date));
}
