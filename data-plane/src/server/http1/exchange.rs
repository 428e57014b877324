//! One request of a connection: judged, sent on, answered.

use std::{borrow::Cow, future::poll_fn, rc::Rc, time::Duration};

use http::Version;
use lb_http::{
    Clock, Reason, Transport,
    h1::{BodyLength, RequestHead},
};
use lb_upstream::Connection;

use super::{Http1, Next, scratch::Scratch, transfer::Transfer};
use crate::proxy::{
    answer::{self, Terms},
    exchange::Exchange,
    forward::{Failure, Forward, Sent, Way, first},
    handler::{Asked, accept},
    mirror::{self, Waiting},
    outgoing::{Draft, write_head},
    rescue::Refusal,
    target::{self, Target},
    upgrade::Switch,
};

/// A request that is ready to be sent.
#[derive(Debug)]
struct Prepared<'a> {
    exchange: Exchange,
    way: Way,
    /// What is needed to send it more than once, where the way is [`Way::Kept`]. Boxed: few are.
    draft: Option<Box<Draft<'a>>>,
    /// Copies that the answer waits for.
    waiting: Option<Waiting>,
}

impl<S: Transport> Http1<S> {
    /// Answers the request in `scratch`.
    pub(super) async fn answer(&mut self, scratch: &mut Scratch) -> Next {
        let Scratch { head, outgoing, .. } = scratch;
        let head = &*head;
        self.length = head.body();
        self.incoming.expect(self.length);
        self.uploaded = 0;
        let Prepared { mut exchange, way, draft, waiting } = match self.prepare(head, outgoing) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return self.refuse(head, refusal).await;
            }
        };
        let mut clock = std::mem::take(&mut self.backend_clock);
        let sent = if let Some(draft) = draft {
            Box::pin(self.forward(*draft, outgoing, (&mut exchange, &mut clock), None)).await
        } else {
            let request = (&head.method, &**outgoing);
            let (sent, is_final) = first(&exchange, way, request, self, &mut clock).await;
            // What could be put together once can be put together again.
            let draft = if is_final { None } else { self.redraft(head).ok() };
            match draft {
                Some(draft) => {
                    let of = (&mut exchange, &mut clock);
                    Box::pin(self.forward(draft, outgoing, of, Some(sent))).await
                }
                None => sent.map_err(Failure::from),
            }
        };
        exchange.upload(self.uploaded);
        let connection = match sent {
            Ok(connection) => connection,
            Err(error) => {
                self.backend_clock = clock;
                let reason = error.reason();
                tracing::debug!(
                    backend = %exchange.endpoint().endpoint().name(),
                    error = %chain(&error),
                    "no response"
                );
                exchange.fail(reason);
                if reason == Reason::ClientAborted {
                    return Next::Drop;
                }
                return self.refuse(head, Refusal::from(reason)).await;
            }
        };
        if connection.response().status.as_u16() == 101 {
            self.backend_clock = clock;
            let wanted = switched_to(head);
            let given = connection.response().upgrade();
            let is_same = wanted.zip(given).is_some_and(|(one, two)| one.eq_ignore_ascii_case(two));
            if !is_same {
                // Nobody asked for it.
                exchange.endpoint().counters().invalid.bump();
                exchange.fail(Reason::UpstreamInvalid);
                return self.refuse(head, Refusal::from(Reason::UpstreamInvalid)).await;
            }
            let idle = exchange.limits().idle;
            return self.switch(exchange, connection, idle).await;
        }
        // Copies of a body that the backend did not wait for might wait for it for long.
        if let Some(waiting) = waiting.filter(|_| connection.is_sent()) {
            waiting.wait(self, &mut clock, exchange.deadline()).await;
        }
        let transfer = self.begin_answer(head, connection, exchange, clock);
        self.carry(transfer).await
    }

    /// Judges the request and puts together what the backend gets.
    fn prepare<'a>(
        &mut self,
        head: &'a RequestHead,
        outgoing: &mut Vec<u8>,
    ) -> Result<Prepared<'a>, Refusal> {
        let ticket = self.client.begin();
        self.takes_interim = head.version == Version::HTTP_11;
        self.expects_continue = false;
        let asked = self.asked(head)?;
        let accepted = accept(&self.client, ticket, &asked)?;
        let (exchange, path) = (accepted.exchange, accepted.path);
        let host = accepted.host.authority.map(str::as_bytes);
        let entry = exchange.entry();
        self.most = entry.max_body;
        self.pause = entry.body_pause;
        self.expects_continue = self.length != BodyLength::Empty && head.expects_continue();
        let draft = self.draft_of(head, asked, (path, host));
        outgoing.clear();
        let outline = draft.outline(&exchange);
        write_head(outgoing, &outline);
        let mut waiting = None;
        if let Some(copies) = mirror::begin(&exchange, &outline) {
            self.tee = copies.tee.map(Box::new);
            waiting = copies.waiting;
        }
        let way = Way::of(&exchange, self.length, draft.upgrade.is_some());
        let draft = (way == Way::Kept).then(|| Box::new(draft));
        Ok(Prepared { exchange, way, draft, waiting })
    }

    fn asked<'a>(&self, head: &'a RequestHead) -> Result<Asked<'a>, Reason> {
        Ok(Asked {
            method: &head.method,
            version: head.version,
            target: Target::parse(head.target(), &head.method)?,
            fields: &head.fields,
            length: self.length,
        })
    }

    /// What the backend gets, put together once more.
    fn redraft<'a>(&self, head: &'a RequestHead) -> Result<Draft<'a>, Reason> {
        let asked = self.asked(head)?;
        let host = target::host(&asked.target, asked.fields, asked.version)?;
        let path = target::path(asked.target.path)?;
        Ok(self.draft_of(head, asked, (path, host.authority.map(str::as_bytes))))
    }

    fn draft_of<'a>(
        &self,
        head: &'a RequestHead,
        asked: Asked<'a>,
        (path, host): (Cow<'a, str>, Option<&'a [u8]>),
    ) -> Draft<'a> {
        Draft {
            asked,
            path,
            host,
            nominates: head.nominates(),
            has_length: head.has_length(),
            upgrade: switched_to(head),
            expects_continue: self.expects_continue,
        }
    }

    /// Sends a request that may need more than one try.
    async fn forward(
        &mut self,
        draft: Draft<'_>,
        outgoing: &mut Vec<u8>,
        (exchange, clock): (&mut Exchange, &mut Clock),
        first: Option<Sent>,
    ) -> Result<Box<Connection>, Failure> {
        let client = Rc::clone(&self.client);
        let forward = Forward {
            method: draft.asked.method,
            seen: draft.seen(&client),
            head: outgoing,
            write: &|exchange, out| write_head(out, &draft.outline(exchange)),
            upgrades: draft.upgrade.is_some(),
        };
        forward.send(exchange, self, clock, first).await
    }

    /// Puts the response head together and decides what becomes of the connection.
    fn begin_answer(
        &mut self,
        head: &RequestHead,
        connection: Box<Connection>,
        mut exchange: Exchange,
        clock: Clock,
    ) -> Transfer {
        let response = connection.response();
        exchange.respond(response);
        // The rest of a body that nobody may read any more must not be taken for a request.
        let closes = !head.keeps_alive() || !connection.is_sent() || self.is_last(exchange.start());
        let mut terms = Terms { method: &head.method, version: head.version, closes };
        let framing = terms.framing(response.body(&head.method));
        answer::write_head(&mut self.out, response, framing, exchange.cookie(), &terms);
        Transfer {
            deadline: exchange.deadline(),
            idle: exchange.limits().idle,
            connection,
            exchange,
            framing,
            closes: terms.closes,
            takes_trailers: framing == answer::Framing::Chunked
                && lb_http::hop_by_hop::accepts_trailers(&head.fields),
            clock,
            is_over: false,
        }
    }

    /// Tells the client that the protocol is another from here on.
    async fn switch(
        &mut self,
        mut exchange: Exchange,
        connection: Box<Connection>,
        idle: Option<Duration>,
    ) -> Next {
        let response = connection.response();
        exchange.respond(response);
        answer::write_switch(&mut self.out, response, exchange.cookie());
        if poll_fn(|cx| self.poll_flush(cx)).await.is_err() {
            exchange.break_off(Reason::ClientAborted);
            return Next::Drop;
        }
        Next::Switch(Box::new(Switch { exchange, backend: connection.into_parts(), idle }))
    }
}

/// The protocol that the client asks to switch to. HTTP/2 over plain TCP needs no upgrade here and
/// must not be tunnelled past the routes.
fn switched_to(head: &RequestHead) -> Option<&[u8]> {
    head.upgrade().filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
