//! Bodies on their path through the gateway: they stream, and nothing is stored.

use crate::gateway::Held;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
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
    /// How long the client may pause.
    pause: Duration,
    /// When the request began, or a part of the body was last taken.
    moved: Instant,
    /// The client has to send the next part.
    waits: bool,
}

/// The body as one attempt sends it.
pub struct Outgoing {
    state: Option<(Arc<Mutex<State>>, Arc<Held>)>,
    attempt: u64,
    waits: Option<Sleep>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing waits while it is locked.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// `None` if the body says that it is longer than the limit. The body fails if the client pauses for
    /// longer than `pause`.
    pub fn new(body: Body, limit: u64, pause: Duration) -> Option<Source> {
        let (empty, moved) = (body.is_end_stream(), Instant::now());
        let state = State {
            left: limit,
            empty,
            touched: false,
            attempt: 0,
            fault: None,
            pause,
            moved,
            waits: false,
            body,
        };
        (state.body.size_hint().lower() <= limit).then(|| Source(Arc::new(Mutex::new(state))))
    }

    /// The body for the next attempt. That of the former one fails if it is still read. It holds the
    /// request's place: an upstream may answer early, and the client send for long after that.
    pub fn attempt(&self, held: &Arc<Held>) -> Outgoing {
        let mut state = lock(&self.0);
        state.attempt += 1;
        state.waits = false;
        let shared = (!state.empty).then(|| (Arc::clone(&self.0), Arc::clone(held)));
        Outgoing { attempt: state.attempt, state: shared, waits: None }
    }

    /// Until when the upstream must answer, or take more of the body. The time that the client needs for its
    /// body is not the upstream's: for the client's pauses there is the limit of [`Outgoing`].
    pub fn deadline(&self, limit: Duration) -> Instant {
        let state = lock(&self.0);
        state.moved + limit + if state.waits { state.pause } else { Duration::ZERO }
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
        Outgoing { state: None, attempt: 0, waits: None }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let Some((shared, _)) = &this.state else { return Poll::Ready(None) };
        let mut guard = lock(shared);
        let state = &mut *guard;
        if state.attempt != this.attempt {
            return Poll::Ready(Some(Err("the attempt has ended".into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut state.body).poll_frame(context) else {
            state.waits = true;
            let waits = this.waits.get_or_insert_with(|| sward_compat::sleep(state.pause));
            ready!(Pin::new(waits).poll(context));
            state.fault = Some((StatusCode::REQUEST_TIMEOUT, "the body paused for too long"));
            return Poll::Ready(Some(Err("the client paused for too long".into())));
        };
        (this.waits, state.waits, state.touched, state.moved) = (None, false, true, Instant::now());
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
        self.state.as_ref().is_none_or(|(state, _)| lock(state).body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.state.as_ref().map_or(SizeHint::with_exact(0), |(state, _)| lock(state).body.size_hint())
    }
}

/// The body of an upstream's answer. It fails if the upstream pauses for too long.
pub struct Answer {
    body: Incoming,
    pause: Duration,
    waits: Option<Sleep>,
    _held: Arc<Held>,
}

impl Answer {
    pub fn new(body: Incoming, pause: Duration, held: Arc<Held>) -> Answer {
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
