//! The body of a response on its way to a client over HTTP/2.
//!
//! An enum and not a boxed trait object: most bodies are a few frames, and a virtual call a frame
//! would buy nothing. A streaming body copies what its [`Download`] has into frames; dropping the
//! body before its end drops the download, which takes that for the client going away.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{Field, Fields, Part, Reason};

/// The largest frame handed on at once; HTTP/2 sends no larger ones by default.
const FRAME: usize = 16 << 10;

/// A response body on its way from a backend.
pub trait Download: Unpin {
    /// Is ready when there is a part.
    ///
    /// # Errors
    ///
    /// Why the body broke off.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>>;

    /// The bytes of the part that [`Download::poll_part`] found.
    fn data(&self) -> &[u8];

    /// Drops the first `count` of them: they were handed on.
    fn consume(&mut self, count: usize);

    /// The trailers behind the end.
    fn trailers(&self) -> Option<&Fields>;

    /// Whether everything was handed on and there are no trailers, as far as is known.
    fn is_over(&self) -> bool;
}

/// A response body.
#[derive(Debug)]
pub enum Body<D> {
    /// No bytes.
    Empty,
    /// Bytes in memory, handed on once.
    Full(Bytes),
    /// Bytes as a backend sends them. Boxed, because bodies are moved many times.
    Streaming(Option<Box<D>>),
}

/// A body that ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body broke off: {}", .0.as_str())]
pub struct BodyError(pub Reason);

impl<D: Download> HttpBody for Body<D> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let download = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Self::Streaming(download) => download,
        };
        let Some(source) = download else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(source.poll_part(cx)) {
            Ok(Part::Data) => {
                let data = source.data();
                let bytes = Bytes::copy_from_slice(&data[..data.len().min(FRAME)]);
                source.consume(bytes.len());
                if source.is_over() {
                    *download = None;
                }
                Some(Ok(Frame::data(bytes)))
            }
            Ok(Part::End) => {
                let trailers = source.trailers().map(|trailers| header_map(trailers, |_| true));
                *download = None;
                trailers.map(|trailers| Ok(Frame::trailers(trailers)))
            }
            Err(reason) => {
                *download = None;
                Some(Err(BodyError(reason)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Streaming(download) => download.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(_) => SizeHint::default(),
        }
    }
}

/// Those fields that pass, as HTTP/2 carries them. What does not fit there, which nothing that was
/// read strictly does, is left out.
pub fn header_map(fields: &Fields, mut passes: impl FnMut(&Field<'_>) -> bool) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter().filter(|field| passes(field)) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value))
        {
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Three bytes at a time, then a trailer or a failure.
    struct Threes {
        left: &'static [u8],
        fault: Option<Reason>,
        trailers: Option<Fields>,
    }

    impl Download for Threes {
        fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
            Poll::Ready(match self.fault {
                _ if !self.left.is_empty() => Ok(Part::Data),
                Some(reason) => Err(reason),
                None => Ok(Part::End),
            })
        }

        fn data(&self) -> &[u8] {
            &self.left[..self.left.len().min(3)]
        }

        fn consume(&mut self, count: usize) {
            self.left = &self.left[count..];
        }

        fn trailers(&self) -> Option<&Fields> {
            self.trailers.as_ref()
        }

        fn is_over(&self) -> bool {
            self.left.is_empty() && self.fault.is_none() && self.trailers.is_none()
        }
    }

    #[tokio::test]
    async fn a_body_ends_with_its_last_byte_or_its_trailers() {
        let source = |trailers| Threes { left: b"hello", fault: None, trailers };
        let mut body = Body::Streaming(Some(Box::new(source(None))));
        for expected in [&b"hel"[..], b"lo"] {
            assert!(!body.is_end_stream());
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
        }
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());

        let mut trailers = Fields::new();
        trailers.push(b"X-Sum", b"7");
        let body = Body::Streaming(Some(Box::new(source(Some(trailers))))).collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "7");
        assert_eq!(body.to_bytes(), "hello");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_says_why() {
        let source = Threes { left: b"", fault: Some(Reason::UpstreamReset), trailers: None };
        let error = Body::Streaming(Some(Box::new(source))).collect().await.unwrap_err();
        assert_eq!(error, BodyError(Reason::UpstreamReset));
    }
}
