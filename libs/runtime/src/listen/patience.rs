//! How long a connection is waited for: for the next request, for its header, for its body, for taking the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::crowd::{Phase, Watch};

/// How long a peer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the next request of a connection.
    pub idle: Duration,
    /// For a header, from its first byte.
    pub header: Duration,
    /// For a body, from the end of its header.
    pub body: Duration,
    /// For a reader that takes nothing of its answer.
    pub reader: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            header: Duration::from_secs(10),
            body: Duration::from_secs(60),
            reader: Duration::from_secs(30),
        }
    }
}

const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A timer that is set anew without being made anew.
#[derive(Default)]
struct Timer(Option<(Instant, Pin<Box<Sleep>>)>);

impl Timer {
    /// Whether an instant has come; wakes the task when it does.
    fn has_come(&mut self, at: Instant, context: &mut Context<'_>) -> bool {
        let (set, sleep) = self
            .0
            .get_or_insert_with(|| (at, Box::pin(tokio::time::sleep_until(at.into()))));
        if *set != at {
            *set = at;
            sleep.as_mut().reset(at.into());
        }
        sleep.as_mut().poll(context).is_ready()
    }
}

/// A connection that is given up where its peer is too slow.
pub(super) struct Watched {
    io: TcpStream,
    watch: Arc<Watch>,
    patience: Patience,
    reading: Timer,
    writing: Timer,
    /// Since when the peer takes nothing.
    stuck: Option<Instant>,
}

impl Watched {
    pub(super) fn new(io: TcpStream, watch: Arc<Watch>, patience: Patience) -> Self {
        Self {
            io,
            watch,
            patience,
            reading: Timer::default(),
            writing: Timer::default(),
            stuck: None,
        }
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if self.writing.has_come(since + self.patience.reader, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(context, buffer) {
            if buffer.filled().len() > before && this.watch.phase() == Phase::Waiting {
                this.watch.enter(Phase::Header);
            }
            return Poll::Ready(read);
        }
        let patience = match this.watch.phase() {
            Phase::Waiting => this.patience.idle,
            Phase::Header => this.patience.header,
            // The body has a limit of its own, and who listens to a stream sends nothing at all.
            Phase::Body | Phase::Serving => return Poll::Pending,
        };
        if !this
            .reading
            .has_come(this.watch.since() + patience, context)
        {
            return Poll::Pending;
        }
        if this.watch.phase() == Phase::Header {
            // As far as the socket takes it: nothing else was written since the request began.
            this.io.try_write(TOO_SLOW).ok();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // As if the peer had closed it.
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// The body of a request that must have come in time.
pub(super) struct TimelyBody<B> {
    body: B,
    until: Instant,
    timer: Timer,
    /// Told when it is late.
    late: Arc<AtomicBool>,
    watch: Arc<Watch>,
}

impl<B> TimelyBody<B> {
    pub(super) fn new(
        body: B,
        patience: Patience,
        late: Arc<AtomicBool>,
        watch: Arc<Watch>,
    ) -> Self {
        watch.enter(Phase::Body);
        Self {
            body,
            until: Instant::now() + patience.body,
            timer: Timer::default(),
            late,
            watch,
        }
    }
}

impl<B: Body<Error = io::Error> + Unpin> Body for TimelyBody<B> {
    type Data = B::Data;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<B::Data>>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if frame.is_none() || this.body.is_end_stream() {
                this.watch.enter(Phase::Serving);
            }
            return Poll::Ready(frame);
        }
        if !this.timer.has_come(this.until, context) {
            return Poll::Pending;
        }
        this.late.store(true, Ordering::Relaxed);
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly");
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; once it is gone, the connection waits for the next request.
pub(super) struct Answer<B> {
    body: B,
    watch: Arc<Watch>,
}

impl<B> Answer<B> {
    pub(super) const fn new(body: B, watch: Arc<Watch>) -> Self {
        Self { body, watch }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.watch.enter(Phase::Waiting);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
