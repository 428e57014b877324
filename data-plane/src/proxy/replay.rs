//! A request body that can be sent more than once, as far as it fits into a limit.

use std::task::{Context, Poll};

use lb_http::{
    Fields, Part, Reason, Source,
    h1::{BodyLength, ResponseHead},
};

/// Keeps what was taken of a body.
#[derive(Debug)]
pub(super) struct Replay<'s, S> {
    source: &'s mut S,
    kept: Vec<u8>,
    most: usize,
    /// How much of what is kept was taken in this try.
    at: usize,
    /// Whether what is taken is kept: there is not too much of it so far.
    keeps: bool,
    /// More was taken than is kept.
    is_lost: bool,
    /// The last part came from what is kept.
    is_again: bool,
}

impl<'s, S: Source> Replay<'s, S> {
    /// Keeps at most so many bytes of a body; one that says that it is longer is not kept at all.
    pub(super) fn new(source: &'s mut S, most: usize) -> Self {
        let keeps = match source.length() {
            BodyLength::Exact(length) => length <= most as u64,
            BodyLength::Empty | BodyLength::Chunked | BodyLength::UntilClose => true,
        };
        Self { source, kept: Vec::new(), most, at: 0, keeps, is_lost: false, is_again: false }
    }

    /// Whether all that was taken is still there.
    pub(super) const fn can_repeat(&self) -> bool {
        !self.is_lost
    }

    /// Begins from the start.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.is_again = false;
    }
}

impl<S: Source> Source for Replay<'_, S> {
    fn length(&self) -> BodyLength {
        self.source.length()
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        self.is_again = self.at < self.kept.len();
        if self.is_again {
            return Poll::Ready(Ok(Part::Data));
        }
        self.source.poll_part(cx)
    }

    fn data(&self) -> &[u8] {
        if self.is_again { &self.kept[self.at..] } else { self.source.data() }
    }

    fn consume(&mut self, count: usize) {
        if self.is_again {
            self.at += count;
            return;
        }
        if count > 0 && !self.keeps {
            self.is_lost = true;
        }
        if self.keeps {
            let data = self.source.data();
            let data = &data[..count.min(data.len())];
            if self.kept.len() + data.len() > self.most {
                (self.keeps, self.is_lost) = (false, true);
                self.kept = Vec::new();
                self.at = 0;
            } else {
                self.kept.extend_from_slice(data);
                self.at = self.kept.len();
            }
        }
        self.source.consume(count);
    }

    fn trailers(&self) -> Option<&Fields> {
        self.source.trailers()
    }

    fn interim(&mut self, head: &ResponseHead) {
        self.source.interim(head);
    }

    fn attend(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.source.attend(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body in parts.
    struct Parts(Vec<Vec<u8>>, BodyLength);

    impl Source for Parts {
        fn length(&self) -> BodyLength {
            self.1
        }

        fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
            self.0.retain(|part| !part.is_empty());
            Poll::Ready(Ok(if self.0.is_empty() { Part::End } else { Part::Data }))
        }

        fn data(&self) -> &[u8] {
            self.0.first().map_or(&[], |part| part)
        }

        fn consume(&mut self, count: usize) {
            self.0[0].drain(..count);
        }

        fn trailers(&self) -> Option<&Fields> {
            None
        }

        fn interim(&mut self, _: &ResponseHead) {}

        fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
            Ok(())
        }
    }

    /// Takes up to `most` bytes in steps.
    fn take(body: &mut impl Source, most: usize, step: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while taken.len() < most {
            match body.poll_part(&mut cx) {
                Poll::Ready(Ok(Part::Data)) => {
                    let count = step.min(body.data().len()).min(most - taken.len());
                    taken.extend_from_slice(&body.data()[..count]);
                    body.consume(count);
                }
                _ => break,
            }
        }
        taken
    }

    proptest! {
        #[test]
        fn what_fits_is_sent_again_to_the_byte(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8),
            tries in prop::collection::vec((0_usize..200, 1_usize..30), 0..5),
            step in 1_usize..30,
        ) {
            let whole = parts.concat();
            let mut source = Parts(parts, BodyLength::Chunked);
            let mut body = Replay::new(&mut source, 1_000);
            for (most, step) in tries {
                let taken = take(&mut body, most, step);
                prop_assert_eq!(&taken[..], &whole[..taken.len()]);
                prop_assert!(body.can_repeat());
                body.rewind();
            }
            prop_assert_eq!(take(&mut body, usize::MAX, step), whole);
        }

        #[test]
        fn what_does_not_fit_is_sent_once(
            length in 11_usize..100,
            step in 1_usize..30,
        ) {
            let whole = vec![7; length];
            let mut source = Parts(vec![whole.clone()], BodyLength::Chunked);
            let mut body = Replay::new(&mut source, 10);
            prop_assert_eq!(take(&mut body, usize::MAX, step), whole);
            prop_assert!(!body.can_repeat());
            prop_assert!(body.kept.capacity() < 64);
        }
    }

    #[test]
    fn a_body_that_announces_too_much_is_not_kept() {
        let mut source = Parts(vec![vec![1; 11]], BodyLength::Exact(11));
        let mut body = Replay::new(&mut source, 10);
        assert_eq!(take(&mut body, 5, 5).len(), 5);
        assert!(body.kept.is_empty());
    }
}
