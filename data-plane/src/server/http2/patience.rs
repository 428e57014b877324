//! How long a connection may stand still, and when it ends.
//!
//! One timer a connection, and a lazy one: what happens is only noted, and the timer finds out
//! what that means when it fires. A client that is told of the end gets a second to hear of it, so
//! that no request of its is lost on the way (RFC 9113, 6.8).

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use lb_model::config::EntryPoint;
use tokio::time::{Instant, Sleep, sleep};

use super::LINGER;
use crate::{
    drain::{Registration, Stage},
    proxy::client::Client,
    server::connection::{Due, Limits, now},
};

/// How long a client that has sent nothing yet may still send its first request when its
/// listener closes.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// After so long without a word a client is asked whether it is there, and has as long to answer.
const SILENCE: Duration = Duration::from_secs(20);

/// How often what is not in use is given up, at most.
const REST: Duration = Duration::from_secs(5);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Say that the connection will end.
    Announce,
    /// Take no more requests; what is in flight is finished.
    Refuse,
    /// Ask whether the client is there.
    Ping,
    /// Give up what is not in use.
    Rest,
    /// Close now.
    Abort,
}

/// Waits for what is due.
#[derive(Debug)]
pub(super) struct Patience {
    client: Rc<Client>,
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    registration: Option<Registration>,
    grace_until: Option<Instant>,
    announced: Option<Instant>,
    has_refused: bool,
    /// The client has said something since the timer fired last.
    has_heard: bool,
    silent_since: Instant,
    asked: Option<Instant>,
    rested: Instant,
}

impl Patience {
    pub(super) fn new(client: Rc<Client>, spec: &EntryPoint) -> Self {
        let limits = Limits::new(spec);
        let first = match client.state().due(now(), &limits) {
            Due::Later(after) => after.min(SILENCE),
            Due::Close | Due::Abort => Duration::ZERO,
        };
        let start = Instant::now();
        Self {
            client,
            limits,
            timer: Box::pin(sleep(first)),
            registration: None,
            grace_until: None,
            announced: None,
            has_refused: false,
            has_heard: false,
            silent_since: start,
            asked: None,
            rested: start,
        }
    }

    /// Has `waker` woken when the listener's stage changes.
    pub(super) fn register(&mut self, waker: &Waker) {
        // The old one goes first.
        self.registration = None;
        self.registration = Some(self.client.lifecycle().register(waker));
    }

    /// Notes that the client said something.
    pub(super) const fn hear(&mut self) {
        self.has_heard = true;
    }

    /// Is ready with what is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        let has_requests = self.client.state().requests() > 0;
        match self.client.lifecycle().stage() {
            Stage::Killed => return Poll::Ready(Word::Abort),
            Stage::Draining if self.announced.is_none() && self.grace_until.is_none() => {
                if has_requests {
                    return Poll::Ready(self.announce());
                }
                // Its first request may be on its way; it will be answered and be the last.
                let until = Instant::now() + FIRST_REQUEST_GRACE;
                self.grace_until = Some(until);
                self.timer.as_mut().reset(until);
            }
            Stage::Open | Stage::Draining => {}
        }
        let is_last = self.grace_until.is_some() && has_requests;
        if self.announced.is_none() && (is_last || self.client.state().is_closing()) {
            return Poll::Ready(self.announce());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(word) = self.fired() {
                return Poll::Ready(word);
            }
        }
        Poll::Pending
    }

    fn announce(&mut self) -> Word {
        let now = Instant::now();
        self.announced = Some(now);
        self.timer.as_mut().reset(now + LINGER);
        Word::Announce
    }

    /// Finds out what is due when the timer has fired, and sets it again.
    fn fired(&mut self) -> Option<Word> {
        let now = Instant::now();
        if self.announced.is_none() && self.grace_until.is_some_and(|until| now >= until) {
            return Some(self.announce());
        }
        let is_ending = self.announced.is_some();
        let after = match self.client.state().due(self::now(), &self.limits) {
            Due::Later(after) => after,
            Due::Close if !is_ending => return Some(self.announce()),
            // It was told, and finishes what is in flight.
            Due::Close => LINGER,
            Due::Abort => return Some(Word::Abort),
        };
        self.timer.as_mut().reset(now + after.min(SILENCE));
        if is_ending && !self.has_refused {
            self.has_refused = true;
            return Some(Word::Refuse);
        }
        if std::mem::take(&mut self.has_heard) {
            (self.silent_since, self.asked) = (now, None);
        } else if let Some(asked) = self.asked {
            if now.duration_since(asked) >= SILENCE {
                return Some(Word::Abort);
            }
        } else if now.duration_since(self.silent_since) >= SILENCE {
            self.asked = Some(now);
            return Some(Word::Ping);
        }
        if now.duration_since(self.rested) >= REST {
            self.rested = now;
            return Some(Word::Rest);
        }
        None
    }
}
