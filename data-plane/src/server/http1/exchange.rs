//! One request of a connection: judged, sent on, answered.

use std::{future::poll_fn, rc::Rc, time::Duration};

use http::Version;
use lb_http::{
    Reason, Transport,
    h1::{BodyLength, RequestHead},
};
use lb_upstream::{Connection, Outgoing};

use super::{Http1, Next, scratch::Scratch, transfer::Transfer};
use crate::proxy::{
    answer::{self, Terms},
    exchange::Exchange,
    forward::{Failure, Forward, is_plain},
    handler::{Asked, accept},
    mirror::{self, Waiting},
    outgoing::{Draft, write_head},
    rescue::Refusal,
    target::Target,
    upgrade::Switch,
};

/// A request that is ready to be sent.
#[derive(Debug)]
struct Prepared<'a> {
    exchange: Exchange,
    /// What is needed to send it more than once, if that may happen. Boxed: most are sent once.
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
        let Prepared { mut exchange, draft, waiting } = match self.prepare(head, outgoing) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return self.refuse(head, refusal).await;
            }
        };
        let mut clock = std::mem::take(&mut self.backend_clock);
        let sent = match draft {
            None => {
                let limits = exchange.limits();
                let (start, deadline) = (exchange.start(), exchange.deadline());
                let request = Outgoing { head: outgoing, method: &head.method, start, deadline };
                let endpoint = Rc::clone(exchange.endpoint());
                let sent = endpoint.send(request, self, limits.send, &mut clock).await;
                sent.map_err(Failure::from)
            }
            Some(draft) => {
                let client = Rc::clone(&self.client);
                let forward = Forward {
                    method: &head.method,
                    seen: draft.seen(&client),
                    head: outgoing,
                    write: &|exchange, out| write_head(out, &draft.outline(exchange)),
                    upgrades: draft.upgrade.is_some(),
                };
                Box::pin(forward.send(&mut exchange, self, &mut clock)).await
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
        let target = Target::parse(head.target(), &head.method)?;
        let asked = Asked {
            method: &head.method,
            version: head.version,
            target,
            fields: &head.fields,
            length: self.length,
        };
        let accepted = accept(&self.client, ticket, &asked)?;
        let (exchange, path) = (accepted.exchange, accepted.path);
        let host = accepted.host.authority.map(str::as_bytes);
        let entry = exchange.entry();
        self.most = entry.max_body;
        self.pause = entry.body_pause;
        self.expects_continue = self.length != BodyLength::Empty && head.expects_continue();
        let draft = Draft {
            asked,
            path,
            host,
            nominates: head.nominates(),
            has_length: head.has_length(),
            upgrade: switched_to(head),
            expects_continue: self.expects_continue,
        };
        outgoing.clear();
        let outline = draft.outline(&exchange);
        write_head(outgoing, &outline);
        let mut waiting = None;
        if let Some(copies) = mirror::begin(&exchange, &outline) {
            self.tee = copies.tee.map(Box::new);
            waiting = copies.waiting;
        }
        let draft = (!is_plain(&exchange)).then(|| Box::new(draft));
        Ok(Prepared { exchange, draft, waiting })
    }

    /// Puts the response head together and decides what becomes of the connection.
    fn begin_answer(
        &mut self,
        head: &RequestHead,
        connection: Box<Connection>,
        mut exchange: Exchange,
        clock: lb_http::Clock,
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
