//! Bodies on their path through the gateway: they stream, and nothing is stored.

use crate::gateway::Held;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use sward_compat::Sleep;

type Failure = Box<dyn Error + Send + Sync>;

/// The body of a client's request. Attempts read it one after the other, as long as none has taken any of it.
pub struct Source(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// How many bytes it may still have.
    left: u64,
    empty: bool,
    /// A part of it was taken, and cannot be sent again.
    touched: bool,
    attempt: u64,
    fault: Option<(StatusCode, &'static str)>,
}

/// The body as one attempt sends it.
pub struct Outgoing {
    state: Option<Arc<Mutex<State>>>,
    attempt: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing waits while it is locked.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// `None` if the body says that it is longer than the limit.
    pub fn new(body: Body, limit: u64) -> Option<Source> {
        let empty = body.is_end_stream();
        let state = State { left: limit, empty, touched: false, attempt: 0, fault: None, body };
        (state.body.size_hint().lower() <= limit).then(|| Source(Arc::new(Mutex::new(state))))
    }

    /// The body for the next attempt. That of the former one fails if it is still read.
    pub fn attempt(&self) -> Outgoing {
        let mut state = lock(&self.0);
        state.attempt += 1;
        Outgoing { attempt: state.attempt, state: (!state.empty).then(|| Arc::clone(&self.0)) }
    }

    /// Whether there is a body, whose length nobody knows before its end.
    pub fn needs_chunks(&self) -> bool {
        let state = lock(&self.0);
        !state.empty && state.body.size_hint().exact().is_none()
    }

    /// Whether another attempt may send it from the start.
    pub fn is_untouched(&self) -> bool {
        !lock(&self.0).touched
    }

    /// What the client did wrong, and the status for it.
    pub fn fault(&self) -> Option<(StatusCode, &'static str)> {
        lock(&self.0).fault
    }
}

impl Outgoing {
    /// No body.
    pub fn empty() -> Outgoing {
        Outgoing { state: None, attempt: 0 }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(shared) = &self.state else { return Poll::Ready(None) };
        let mut guard = lock(shared);
        let state = &mut *guard;
        if state.attempt != self.attempt {
            return Poll::Ready(Some(Err("the attempt has ended".into())));
        }
        let frame = ready!(Pin::new(&mut state.body).poll_frame(context));
        state.touched = true;
        match frame {
            None => Poll::Ready(None),
            Some(Err(error)) => {
                state.fault = Some((StatusCode::BAD_REQUEST, "the body is not valid, or was cut"));
                Poll::Ready(Some(Err(error.into())))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if length > state.left {
                    state.fault = Some((StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
                    return Poll::Ready(Some(Err("the body is too large".into())));
                }
                state.left -= length;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state.as_ref().is_none_or(|state| lock(state).body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.state.as_ref().map_or(SizeHint::with_exact(0), |state| lock(state).body.size_hint())
    }
}

/// The body of an upstream's answer. It fails if the upstream pauses for too long.
pub struct Answer {
    body: Incoming,
    pause: Duration,
    waits: Option<Sleep>,
    _held: Held,
}

impl Answer {
    pub fn new(body: Incoming, pause: Duration, held: Held) -> Answer {
        Answer { body, pause, waits: None, _held: held }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waits = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let waits = this.waits.get_or_insert_with(|| sward_compat::sleep(this.pause));
        ready!(Pin::new(waits).poll(context));
        Poll::Ready(Some(Err("the upstream paused for too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The answer to a `HEAD` has no body, and yet the length is that of the body which a `GET` gets. So
        // an empty body tells nothing: axum would write `Content-Length: 0`.
        if self.body.is_end_stream() { SizeHint::default() } else { self.body.size_hint() }
    }
}
