//! Upgraded connections: bytes in both directions, until both have ended.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long the two sides may take for the change of protocols.
const UPGRADE_TIME: Duration = Duration::from_secs(10);

/// Joins the two connections. It ends them when both directions are silent for `idle`.
pub async fn join(client: OnUpgrade, upstream: OnUpgrade, idle: Duration) -> io::Result<()> {
    let both = async { Ok::<_, hyper::Error>((client.await?, upstream.await?)) };
    let Some(both) = super::limited(UPGRADE_TIME, both).await else { return Err(ErrorKind::TimedOut.into()) };
    let (client, upstream) = both.map_err(io::Error::other)?;
    let last = Arc::new(Mutex::new(Instant::now()));
    let seen = || *last.lock().unwrap_or_else(PoisonError::into_inner);
    let mut client = Watched { stream: TokioIo::new(client), last: Arc::clone(&last) };
    let mut upstream = Watched { stream: TokioIo::new(upstream), last: Arc::clone(&last) };
    let mut copies = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
    let mut sleep = sward_compat::sleep(idle);
    poll_fn(|context| {
        if let Poll::Ready(copied) = copies.as_mut().poll(context) {
            return Poll::Ready(copied.map(drop));
        }
        while Pin::new(&mut sleep).poll(context).is_ready() {
            let silent = seen().elapsed();
            if silent >= idle {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            sleep = sward_compat::sleep(idle - silent);
        }
        Poll::Pending
    })
    .await
}

/// A connection that notes when it last had bytes.
struct Watched {
    stream: TokioIo<Upgraded>,
    last: Arc<Mutex<Instant>>,
}

impl Watched {
    fn seen(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.seen();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        if written.is_ready() {
            self.seen();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
