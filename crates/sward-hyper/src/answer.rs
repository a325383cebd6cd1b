//! The answer to a request of HTTP/2, and its time limit.
//!
//! The problem: an HTTP/2 client may read its connection and yet grant one answer no window. The answer, with
//! all that its body holds, then waits as long as the connection lives, and the time limit of the connection
//! ([`Io::write_time`](crate::Io::write_time)) sees nothing: no write of the connection waits.
//!
//! hyper does not say that an answer waits for its window. But it asks the body for the next piece only when
//! h2 has taken the one before. So the body counts the pieces that were asked for ([`SENDING`]), and the
//! request's coroutine ([`send`]) resets a stream whose count has not changed for too long.
//!
//! The body comes in pieces of [`PIECE`] bytes. h2 takes a piece as a whole, however small the window is, and
//! keeps it after the coroutine has ended. So large pieces would be held without a limit of time.

use http::Response;
use hyper::Request;
use hyper::body::{Body, Buf, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use sward_compat::Sleep;

const PIECE: usize = 16 << 10;

/// How far the answer of a coroutine has come.
#[derive(Clone, Copy)]
struct Sending {
    /// How many pieces hyper has got.
    pieces: u64,
    /// Whether hyper has a piece, and has not asked for another one since.
    has_piece: bool,
}

sward::task_local! {
    static SENDING: Cell<Sending> = const { Cell::new(Sending { pieces: 0, has_piece: false }) };
}

fn note(has_piece: bool) {
    SENDING.with(|sending| {
        let pieces = sending.get().pieces + u64::from(has_piece);
        sending.set(Sending { pieces, has_piece });
    });
}

/// Runs a request in its coroutine. Its answer is dropped, which resets the stream, if the client has taken
/// no piece of it for so long. The handler may take any time.
pub(crate) fn send(request: impl Future<Output = ()>, limit: Duration) {
    let mut request = pin!(request);
    let mut stuck: Option<(u64, Sleep)> = None;
    sward::block_on(poll_fn(|context| {
        if request.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Sending { pieces, has_piece } = SENDING.with(Cell::get);
        if !has_piece {
            stuck = None;
            return Poll::Pending;
        }
        if stuck.as_ref().is_none_or(|(at, _)| *at != pieces) {
            stuck = Some((pieces, sward_compat::sleep(limit)));
        }
        stuck.as_mut().map_or(Poll::Pending, |(_, sleep)| Pin::new(sleep).poll(context))
    }));
}

/// A service whose answers are [`Answer`]s.
#[derive(Clone)]
pub(crate) struct Answers<S>(pub(crate) S);

impl<S, B> Service<Request<Incoming>> for Answers<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send + 'static>,
    B: Body,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Answer { body: Box::pin(body), rest: None })) })
    }
}

/// A body that comes in small pieces, and counts them.
pub(crate) struct Answer<B: Body> {
    body: Pin<Box<B>>,
    /// What is left of the data that the body has returned; never empty.
    rest: Option<B::Data>,
}

// The body is pinned by its box, and the data by nothing.
impl<B: Body> Unpin for Answer<B> {}

impl<B: Body> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut data = match this.rest.take() {
            Some(data) => data,
            None => {
                // Until it returns, the answer waits for its handler.
                note(false);
                match ready!(this.body.as_mut().poll_frame(context)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => data,
                        Err(other) => return Poll::Ready(Some(Ok(other.map_data(|_| Bytes::new())))),
                    },
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                }
            }
        };
        note(true);
        let piece = data.copy_to_bytes(data.remaining().min(PIECE));
        this.rest = data.has_remaining().then_some(data);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.as_ref().map_or(0, Buf::remaining) as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
