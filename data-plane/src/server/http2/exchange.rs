//! One request of a connection: judged, sent on, answered.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Poll, ready},
};

use http::{Method, Version};
use lb_http::{
    Known, Reason,
    h1::BodyLength,
    h2::{ErrorCode, Fault, RequestHead},
    hop_by_hop::accepts_trailers,
};
use lb_upstream::Outgoing;

use super::{
    scratch::Scratch,
    shared::{Clocks, Stream},
    source::Upload,
    transfer::Transfer,
};
use crate::proxy::{
    exchange::Exchange,
    forward::{Failure, Forward, is_plain},
    handler::{Asked, accept},
    http2::{write_head, write_refusal},
    mirror::{self, Waiting},
    outgoing::{Draft, write_head as write_request},
    rescue::Refusal,
    target::Target,
};

/// Why a request is not answered by a backend, and what else is known by then.
struct Refused {
    reason: Reason,
    retry_after: Option<u32>,
    is_head: bool,
    clocks: Clocks,
}

/// A request that is ready to be sent.
struct Prepared<'a> {
    exchange: Exchange,
    /// What is needed to send it more than once, if that may happen. Boxed: most are sent once.
    draft: Option<Box<Draft<'a>>>,
    /// Copies that the answer waits for.
    waiting: Option<Waiting>,
}

/// What has come of a request.
#[allow(clippy::large_enum_variant, reason = "taken apart at once, and a box would be allocated")]
enum Answered {
    Whole(Clocks, Exchange, Box<lb_upstream::Connection>),
    Body(Transfer, Exchange),
    Refused(Refused),
}

/// Answers a request, whatever happens.
pub(super) async fn serve(
    stream: Stream,
    mut scratch: Box<Scratch>,
    length: BodyLength,
    fault: Option<Fault>,
) {
    let clocks = stream.shared.state.borrow_mut().take_clocks();
    let answered = match fault {
        None => answer(&stream, &mut scratch, length, clocks).await,
        Some(fault) => {
            let is_head = scratch.head.method == Method::HEAD;
            let (reason, retry_after) = (reason_of(fault), None);
            Answered::Refused(Refused { reason, retry_after, is_head, clocks })
        }
    };
    scratch.give_back();
    match answered {
        Answered::Body(transfer, exchange) => transfer.run(exchange).await,
        Answered::Whole(clocks, exchange, connection) => {
            exchange.complete(Some(connection));
            stream.shared.state.borrow_mut().give_clocks(clocks);
        }
        Answered::Refused(refused) => refuse(&stream, refused).await,
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
    stream: &Stream,
    scratch: &mut Scratch,
    length: BodyLength,
    clocks: Clocks,
) -> Answered {
    let Scratch { head, outgoing } = scratch;
    let Clocks { client, mut backend } = clocks;
    let mut upload = Upload::new(stream.clone(), length, client);
    let is_head = head.method == Method::HEAD;
    let refused = |refusal: Refusal, upload: Upload, backend| {
        let Refusal { reason, retry_after, .. } = refusal;
        let clocks = Clocks { client: upload.clock, backend };
        Answered::Refused(Refused { reason, retry_after, is_head, clocks })
    };
    let head = &*head;
    let Prepared { mut exchange, draft, waiting } = match prepare(&mut upload, head, outgoing) {
        Ok(prepared) => prepared,
        Err(refusal) => return refused(refusal, upload, backend),
    };
    let sent = match draft {
        None => {
            let limits = exchange.limits();
            let (start, deadline) = (exchange.start(), exchange.deadline());
            let request = Outgoing { head: outgoing, method: &head.method, start, deadline };
            let endpoint = Rc::clone(exchange.endpoint());
            let sent = endpoint.send(request, &mut upload, limits.send, &mut backend).await;
            sent.map_err(Failure::from)
        }
        Some(draft) => {
            let forward = Forward {
                method: &head.method,
                seen: draft.seen(&stream.shared.client),
                head: outgoing,
                write: &|exchange, out| write_request(out, &draft.outline(exchange)),
                upgrades: false,
            };
            Box::pin(forward.send(&mut exchange, &mut upload, &mut backend)).await
        }
    };
    exchange.upload(upload.bytes);
    let connection = match sent {
        Ok(connection) => connection,
        Err(error) => {
            let name = exchange.endpoint().endpoint().name();
            tracing::debug!(backend = %name, %error, "no response");
            exchange.fail(error.reason());
            return refused(error.reason().into(), upload, backend);
        }
    };
    let response = connection.response();
    if response.status.as_u16() == 101 {
        // Nobody asked for it.
        exchange.endpoint().counters().invalid.bump();
        exchange.fail(Reason::UpstreamInvalid);
        return refused(Reason::UpstreamInvalid.into(), upload, backend);
    }
    // Copies of a body that the backend did not wait for might wait for it for long.
    if let Some(waiting) = waiting.filter(|_| connection.is_sent()) {
        waiting.wait(&mut upload, &mut backend, exchange.deadline()).await;
    }
    exchange.respond(response.status);
    let is_whole = response.body(&head.method) == BodyLength::Empty;
    let cookie = exchange.cookie();
    stream.answer(response.status, is_whole, |writer| write_head(writer, response, cookie));
    if is_whole {
        return Answered::Whole(Clocks { client: upload.clock, backend }, exchange, connection);
    }
    let transfer = Transfer {
        connection,
        upload,
        takes_trailers: accepts_trailers(&head.fields),
        idle: exchange.limits().idle,
        deadline: exchange.deadline(),
        clock: backend,
    };
    Answered::Body(transfer, exchange)
}

/// Judges the request and puts together what the backend gets.
fn prepare<'a>(
    upload: &mut Upload,
    head: &'a RequestHead,
    out: &mut Vec<u8>,
) -> Result<Prepared<'a>, Refusal> {
    let client = &upload.stream.shared.client;
    let ticket = client.begin();
    let asked = Asked {
        method: &head.method,
        version: Version::HTTP_2,
        target: Target::of(head.authority(), head.target(), &head.method)?,
        fields: &head.fields,
        length: upload.length,
    };
    let accepted = accept(client, ticket, &asked)?;
    let (exchange, path) = (accepted.exchange, accepted.path);
    let host = accepted.host.authority.map(str::as_bytes);
    let entry = exchange.entry();
    upload.most = entry.max_body;
    upload.pause = entry.body_pause;
    upload.expects_continue = upload.length != BodyLength::Empty && head.expects_continue();
    let draft = Draft {
        asked,
        path,
        host,
        // `connection` is no field of HTTP/2.
        nominates: false,
        has_length: head.fields.has(Known::ContentLength),
        upgrade: None,
        expects_continue: upload.expects_continue,
    };
    let outline = draft.outline(&exchange);
    write_request(out, &outline);
    let mut waiting = None;
    if let Some(copies) = mirror::begin(&exchange, &outline) {
        upload.tee = copies.tee.map(Box::new);
        waiting = copies.waiting;
    }
    let draft = (!is_plain(&exchange)).then(|| Box::new(draft));
    Ok(Prepared { exchange, draft, waiting })
}

/// Answers a request with a refusal. The end of a request is never in doubt here, so the
/// connection stays.
async fn refuse(stream: &Stream, refused: Refused) {
    let Refused { reason, retry_after, is_head, mut clocks } = refused;
    stream.shared.client.count(reason);
    if reason == Reason::ClientAborted {
        return stream.reset(ErrorCode::Cancel);
    }
    if !stream.answer(reason.status(), is_head, |writer| write_refusal(writer, reason, retry_after))
        || is_head
    {
        return;
    }
    let body = reason.body();
    let mut left = &body[..];
    let sent = poll_fn(|cx| {
        while !left.is_empty() {
            match stream.send(left) {
                None => return Poll::Ready(false),
                Some(0) => {
                    ready!(clocks.client.poll_too_long(cx, stream.shared.stall, None));
                    return Poll::Ready(false);
                }
                Some(count) => left = &left[count..],
            }
        }
        Poll::Ready(true)
    });
    if sent.await {
        stream.end(true);
        stream.shared.state.borrow_mut().give_clocks(clocks);
    } else {
        stream.reset(ErrorCode::Cancel);
    }
}
