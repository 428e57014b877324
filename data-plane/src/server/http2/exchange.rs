//! One request of a connection: judged, sent on, answered.

use std::{
    borrow::Cow,
    future::poll_fn,
    rc::Rc,
    task::{Poll, ready},
};

use http::{Method, Version};
use lb_http::{
    Clock, Known, Reason,
    h1::BodyLength,
    h2::{ErrorCode, Fault, HeadWriter, RequestHead},
    hop_by_hop::accepts_trailers,
};
use lb_upstream::Connection;

use super::{
    scratch::Scratch,
    shared::{Clocks, Stream},
    source::Upload,
    transfer::Transfer,
};
use crate::proxy::{
    exchange::Exchange,
    forward::{Failure, Forward, Sent, Way, first},
    handler::{Asked, accept},
    http2::{write_head, write_refusal},
    mirror::{self, Waiting},
    outgoing::{Draft, write_head as write_request},
    rescue::Refusal,
    target::{self, Target},
};

/// Why a request is not answered by a backend.
struct Refused {
    reason: Reason,
    retry_after: Option<u32>,
    is_head: bool,
}

/// A request that is ready to be sent.
struct Prepared<'a> {
    exchange: Exchange,
    way: Way,
    /// What is needed to send it more than once, where the way is [`Way::Kept`]. Boxed: few are.
    draft: Option<Box<Draft<'a>>>,
    /// Copies that the answer waits for.
    waiting: Option<Waiting>,
}

/// A response whose head is on its way to the client.
struct Answered {
    exchange: Exchange,
    connection: Box<Connection>,
    /// Whether nothing follows the head.
    is_whole: bool,
    takes_trailers: bool,
}

/// Answers a request, whatever happens.
pub(super) async fn serve(
    stream: Stream,
    mut scratch: Box<Scratch>,
    length: BodyLength,
    fault: Option<Fault>,
) {
    let Clocks { client, backend: mut clock } = stream.shared.state.borrow_mut().take_clocks();
    let mut upload = Upload::new(stream, length, client);
    let answered = match fault {
        None => answer(&mut upload, &mut clock, &mut scratch).await,
        Some(fault) => {
            let is_head = scratch.head.method == Method::HEAD;
            Err(Refused { reason: reason_of(fault), retry_after: None, is_head })
        }
    };
    scratch.give_back();
    let is_done = match answered {
        Ok(Answered { exchange, connection, is_whole: true, .. }) => {
            exchange.complete(Some(connection));
            true
        }
        Ok(Answered { exchange, connection, takes_trailers, .. }) => {
            let (idle, deadline) = (exchange.limits().idle, exchange.deadline());
            let (upload, clock) = (&mut upload, &mut clock);
            Transfer { connection, upload, takes_trailers, idle, deadline, clock }
                .run(exchange)
                .await
        }
        Err(refused) => refuse(&mut upload, refused).await,
    };
    if is_done {
        let Upload { stream, clock: client, .. } = upload;
        stream.shared.state.borrow_mut().give_clocks(Clocks { client, backend: clock });
    }
}

const fn reason_of(fault: Fault) -> Reason {
    match fault {
        Fault::Malformed | Fault::Target => Reason::BadRequest,
        Fault::TargetTooLong => Reason::UriTooLong,
        Fault::TooLarge => Reason::HeaderTooLarge,
    }
}

async fn answer(
    upload: &mut Upload,
    clock: &mut Clock,
    scratch: &mut Scratch,
) -> Result<Answered, Refused> {
    let Scratch { head, outgoing } = scratch;
    let head = &*head;
    let is_head = head.method == Method::HEAD;
    let refused = |refusal: Refusal| {
        let Refusal { reason, retry_after, .. } = refusal;
        Refused { reason, retry_after, is_head }
    };
    let Prepared { mut exchange, way, draft, waiting } =
        prepare(upload, head, outgoing).map_err(refused)?;
    let sent = if let Some(draft) = draft {
        Box::pin(forward(upload, *draft, outgoing, (&mut exchange, &mut *clock), None)).await
    } else {
        let request = (&head.method, &**outgoing);
        let (sent, is_final) = first(&exchange, way, request, upload, clock).await;
        // What could be put together once can be put together again.
        let draft = if is_final { None } else { redraft(upload, head).ok() };
        match draft {
            Some(draft) => {
                let of = (&mut exchange, &mut *clock);
                Box::pin(forward(upload, draft, outgoing, of, Some(sent))).await
            }
            None => sent.map_err(Failure::from),
        }
    };
    exchange.upload(upload.bytes);
    let connection = match sent {
        Ok(connection) => connection,
        Err(error) => {
            let name = exchange.endpoint().endpoint().name();
            tracing::debug!(backend = %name, %error, "no response");
            exchange.fail(error.reason());
            return Err(refused(error.reason().into()));
        }
    };
    let response = connection.response();
    if response.status.as_u16() == 101 {
        // Nobody asked for it.
        exchange.endpoint().counters().invalid.bump();
        exchange.fail(Reason::UpstreamInvalid);
        return Err(refused(Reason::UpstreamInvalid.into()));
    }
    // Copies of a body that the backend did not wait for might wait for it for long.
    if let Some(waiting) = waiting.filter(|_| connection.is_sent()) {
        waiting.wait(upload, clock, exchange.deadline()).await;
    }
    exchange.respond(response);
    let is_whole = response.body(&head.method) == BodyLength::Empty;
    let cookie = exchange.cookie();
    let write = |writer: &mut HeadWriter<'_>| write_head(writer, response, cookie);
    upload.stream.answer(response.status, is_whole, write);
    let takes_trailers = !is_whole && accepts_trailers(&head.fields);
    Ok(Answered { exchange, connection, is_whole, takes_trailers })
}

/// Judges the request and puts together what the backend gets.
fn prepare<'a>(
    upload: &mut Upload,
    head: &'a RequestHead,
    out: &mut Vec<u8>,
) -> Result<Prepared<'a>, Refusal> {
    let client = &upload.stream.shared.client;
    let ticket = client.begin();
    let asked = asked(upload.length, head)?;
    let accepted = accept(client, ticket, &asked)?;
    let (exchange, path) = (accepted.exchange, accepted.path);
    let host = accepted.host.authority.map(str::as_bytes);
    let entry = exchange.entry();
    upload.most = entry.max_body;
    upload.pause = entry.body_pause;
    upload.expects_continue = upload.length != BodyLength::Empty && head.expects_continue();
    let draft = draft_of(upload, asked, (path, host));
    let outline = draft.outline(&exchange);
    write_request(out, &outline);
    let mut waiting = None;
    if let Some(copies) = mirror::begin(&exchange, &outline) {
        upload.tee = copies.tee.map(Box::new);
        waiting = copies.waiting;
    }
    let way = Way::of(&exchange, upload.length, false);
    let draft = (way == Way::Kept).then(|| Box::new(draft));
    Ok(Prepared { exchange, way, draft, waiting })
}

fn asked(length: BodyLength, head: &RequestHead) -> Result<Asked<'_>, Reason> {
    Ok(Asked {
        method: &head.method,
        version: Version::HTTP_2,
        target: Target::of(head.authority(), head.target(), &head.method)?,
        fields: &head.fields,
        length,
    })
}

/// What the backend gets, put together once more.
fn redraft<'a>(upload: &Upload, head: &'a RequestHead) -> Result<Draft<'a>, Reason> {
    let asked = asked(upload.length, head)?;
    let host = target::host(&asked.target, asked.fields, asked.version)?;
    let path = target::path(asked.target.path)?;
    Ok(draft_of(upload, asked, (path, host.authority.map(str::as_bytes))))
}

fn draft_of<'a>(
    upload: &Upload,
    asked: Asked<'a>,
    (path, host): (Cow<'a, str>, Option<&'a [u8]>),
) -> Draft<'a> {
    Draft {
        asked,
        path,
        host,
        // `connection` is no field of HTTP/2.
        nominates: false,
        has_length: asked.fields.has(Known::ContentLength),
        upgrade: None,
        expects_continue: upload.expects_continue,
    }
}

/// Sends a request that may need more than one try.
async fn forward(
    upload: &mut Upload,
    draft: Draft<'_>,
    outgoing: &mut Vec<u8>,
    (exchange, clock): (&mut Exchange, &mut Clock),
    first: Option<Sent>,
) -> Result<Box<Connection>, Failure> {
    let client = Rc::clone(&upload.stream.shared.client);
    let forward = Forward {
        method: draft.asked.method,
        seen: draft.seen(&client),
        head: outgoing,
        write: &|exchange, out| write_request(out, &draft.outline(exchange)),
        upgrades: false,
    };
    forward.send(exchange, upload, clock, first).await
}

/// Answers a request with a refusal. The end of a request is never in doubt here, so the
/// connection stays. Says whether the client got all of it.
async fn refuse(upload: &mut Upload, refused: Refused) -> bool {
    let Refused { reason, retry_after, is_head } = refused;
    let Upload { stream, clock, .. } = upload;
    stream.shared.client.count(reason);
    if reason == Reason::ClientAborted {
        stream.reset(ErrorCode::Cancel);
        return false;
    }
    let write = |writer: &mut HeadWriter<'_>| write_refusal(writer, reason, retry_after);
    if !stream.answer(reason.status(), is_head, write) || is_head {
        return is_head;
    }
    let body = reason.body();
    let mut left = &body[..];
    let sent = poll_fn(|cx| {
        while !left.is_empty() {
            match stream.send(left) {
                None => return Poll::Ready(false),
                Some(0) => {
                    ready!(clock.poll_too_long(cx, stream.shared.stall, None));
                    return Poll::Ready(false);
                }
                Some(count) => left = &left[count..],
            }
        }
        Poll::Ready(true)
    });
    let is_sent = sent.await;
    if is_sent {
        stream.end(true);
    } else {
        stream.reset(ErrorCode::Cancel);
    }
    is_sent
}
