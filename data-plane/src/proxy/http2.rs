//! Requests that come as streams of HTTP/2.
//!
//! hyper speaks HTTP/2 with the client; from here on a request is the same as any other. Its
//! body is given to the backend's connection as it arrives, and the response body takes along
//! whatever of the request is still to be sent.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version, header::HeaderMap};
use http_body::Body as _;
use hyper::body::Incoming;
use lb_http::{
    Body, Clock, Download, Fields, Known, Part, Reason, Source,
    body::header_map,
    h1::{BodyLength, ResponseHead},
    hop_by_hop::{Filter, accepts_trailers},
};
use lb_upstream::{Connection, Outgoing};
use tokio::time::Instant;

use super::{
    ProxyBody,
    client::Client,
    exchange::Exchange,
    handler::{Asked, accept},
    outgoing::{Outline, write_head},
    rescue::rescue,
    target::Target,
};

/// Answers a request, whatever happens.
pub async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    let answer = exchange(&client, request).await;
    Ok(answer.unwrap_or_else(|reason| rescue(&client, reason)))
}

async fn exchange(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Reason> {
    let (parts, body) = request.into_parts();
    let ticket = client.begin();
    let fields = fields_of(&parts.headers);
    let length = length_of(&fields, &body);
    let asked = Asked {
        method: &parts.method,
        version: Version::HTTP_2,
        target: Target::of(&parts.uri),
        fields: &fields,
        length,
    };
    let accepted = accept(client, ticket, &asked).map_err(|refusal| refusal.reason)?;
    let mut exchange = accepted.exchange;
    let limits = exchange.route().limits;
    let endpoint = Rc::clone(exchange.endpoint());
    let entry = Rc::clone(exchange.entry());
    let host = accepted.host.authority.map(str::as_bytes);
    let is_host_passed = exchange.route().pass_host_header;
    let mut head = Vec::with_capacity(512);
    write_head(
        &mut head,
        &Outline {
            asked: &asked,
            path: &accepted.path,
            host,
            authority: if is_host_passed {
                host
            } else {
                Some(endpoint.endpoint().authority().as_bytes())
            },
            forwarded: &entry.forwarded,
            nominates: fields.has(Known::Connection),
            has_length: fields.has(Known::ContentLength),
            upgrade: None,
            expects_continue: false,
        },
    );
    let deadline = limits.total.map(|total| exchange.start() + total);
    let mut upload = Upload {
        body,
        length,
        current: Bytes::new(),
        trailers: None,
        bytes: 0,
        most: entry.max_body,
        pause: entry.body_pause,
        clock: Clock::new(),
    };
    let mut clock = Clock::new();
    let outgoing =
        Outgoing { head: &head, method: asked.method, start: exchange.start(), deadline };
    let sent = endpoint.send(outgoing, &mut upload, limits.send, &mut clock).await;
    exchange.upload(upload.bytes);
    let connection = match sent {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(backend = %endpoint.endpoint().name(), %error, "no response");
            exchange.fail(error.reason());
            return Err(error.reason());
        }
    };
    let status = connection.response().status;
    if status.as_u16() == 101 {
        // Nobody asked for it.
        endpoint.counters().invalid.bump();
        exchange.fail(Reason::UpstreamInvalid);
        return Err(Reason::UpstreamInvalid);
    }
    exchange.respond(status);
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    *response.headers_mut() = answer_fields(connection.response());
    let has_body = connection.response().body(asked.method) != BodyLength::Empty;
    let transfer = Transfer {
        takes_trailers: accepts_trailers(&fields),
        life: Some((connection, exchange)),
        upload,
        clock,
        idle: limits.idle,
        deadline,
    };
    if has_body {
        *response.body_mut() = Body::Streaming(Some(Box::new(transfer)));
    } else {
        transfer.finish();
    }
    Ok(response)
}

fn fields_of(headers: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in headers {
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    fields
}

/// hyper has checked that the length is a number and holds.
fn length_of(fields: &Fields, body: &Incoming) -> BodyLength {
    if body.is_end_stream() {
        return BodyLength::Empty;
    }
    let length = fields.value(Known::ContentLength);
    let length = length.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    length.map_or(BodyLength::Chunked, |length| match length {
        0 => BodyLength::Empty,
        length => BodyLength::Exact(length),
    })
}

fn answer_fields(head: &ResponseHead) -> HeaderMap {
    let filter = Filter::new(&head.fields, head.nominates());
    let has_no_length = head.status == http::StatusCode::NO_CONTENT;
    header_map(&head.fields, |field| match field.known {
        Known::ProxyAuthenticate => false,
        Known::ContentLength if has_no_length => false,
        _ => filter.passes(field),
    })
}

/// A request body as hyper gives it.
#[derive(Debug)]
struct Upload {
    body: Incoming,
    length: BodyLength,
    current: Bytes,
    trailers: Option<Fields>,
    /// Bytes handed on.
    bytes: u64,
    most: Option<u64>,
    pause: Option<Duration>,
    clock: Clock,
}

impl Source for Upload {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        loop {
            if !self.current.is_empty() {
                return Poll::Ready(Ok(Part::Data));
            }
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.clock.poll_too_long(cx, self.pause, None));
                return Poll::Ready(Err(Reason::RequestTimeout));
            };
            self.clock.progress();
            let Some(frame) = next else {
                return Poll::Ready(Ok(Part::End));
            };
            match frame.map_err(|_| Reason::BadRequest)?.into_data() {
                Ok(data) => {
                    let most = self.most.unwrap_or(u64::MAX);
                    if self.bytes + data.len() as u64 > most {
                        return Poll::Ready(Err(Reason::RequestTooLarge));
                    }
                    self.current = data;
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok().map(|map| fields_of(&map));
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.current
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        self.current = self.current.split_off(count.min(self.current.len()));
    }

    fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    fn interim(&mut self, _: &ResponseHead) {
        // hyper has no way to send one over HTTP/2.
    }

    fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
        // hyper drops the request when its stream is reset.
        Ok(())
    }
}

/// A response body on its way to the client, and what is left of the request body.
#[derive(Debug)]
pub struct Transfer {
    /// Until the end.
    life: Option<(Box<Connection>, Exchange)>,
    upload: Upload,
    clock: Clock,
    idle: Option<Duration>,
    deadline: Option<Instant>,
    takes_trailers: bool,
}

impl Transfer {
    fn finish(mut self) {
        self.complete();
    }

    fn complete(&mut self) {
        if let Some((connection, mut exchange)) = self.life.take() {
            exchange.upload(self.upload.bytes);
            exchange.complete(Some(connection));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        let Some((connection, _)) = &mut self.life else {
            return Poll::Ready(Ok(Part::End));
        };
        let mut moved = false;
        if !connection.is_sent()
            && let Poll::Ready(Err(_)) = connection.poll_send(cx, &mut self.upload, &mut moved)
        {
            return Poll::Ready(Err(Reason::ClientAborted));
        }
        match connection.poll_part(cx) {
            Poll::Ready(part) => {
                self.clock.progress();
                Poll::Ready(part)
            }
            Poll::Pending => {
                if moved {
                    self.clock.progress();
                }
                ready!(self.clock.poll_too_long(cx, self.idle, self.deadline));
                Poll::Ready(Err(Reason::UpstreamTimeout))
            }
        }
    }
}

impl Download for Transfer {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        let part = ready!(self.poll(cx));
        match part {
            Ok(Part::End) if self.trailers().is_none() => self.complete(),
            Err(reason) => {
                if let Some((_, mut exchange)) = self.life.take() {
                    exchange.upload(self.upload.bytes);
                    exchange.break_off(reason);
                }
            }
            Ok(_) => {}
        }
        Poll::Ready(part)
    }

    fn data(&self) -> &[u8] {
        self.life.as_ref().map_or(&[], |(connection, _)| connection.data())
    }

    fn consume(&mut self, count: usize) {
        if let Some((connection, exchange)) = &mut self.life {
            connection.consume(count);
            exchange.download(count);
            // What ends a body may lie behind its last byte already; a fault there comes up when
            // the next part is asked for.
            let _ = connection.part();
            if self.is_over() {
                self.complete();
            }
        }
    }

    fn trailers(&self) -> Option<&Fields> {
        let trailers = self.life.as_ref().and_then(|(connection, _)| connection.trailers());
        trailers.filter(|_| self.takes_trailers)
    }

    fn is_over(&self) -> bool {
        match &self.life {
            Some((connection, _)) => connection.is_over() && self.trailers().is_none(),
            None => true,
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // The trailers were the last.
        if self.life.as_ref().is_some_and(|(connection, _)| connection.is_over()) {
            self.complete();
        }
    }
}
