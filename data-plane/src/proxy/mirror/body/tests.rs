use proptest::prelude::*;

use super::*;

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(100, 1 << 20))
}

fn tee(length: BodyLength, room: u64, on_large_body: LargeBody, budget: &Arc<Budget>) -> Tee {
    Tee::new(length, room, on_large_body, Arc::clone(budget)).unwrap()
}

/// What a reader has to read now, and how it goes on.
fn read(body: &mut CopiedBody) -> (Vec<u8>, Poll<Result<Part, Reason>>) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    loop {
        match body.poll_part(&mut cx) {
            Poll::Ready(Ok(Part::Data)) => {
                read.extend_from_slice(body.data());
                let count = body.data().len();
                body.consume(count);
            }
            end => return (read, end),
        }
    }
}

#[test]
fn readers_follow_at_their_own_pace_and_what_all_have_is_forgotten() {
    let budget = budget();
    let mut tee = tee(BodyLength::Chunked, 1 << 20, LargeBody::Skip, &budget);
    let mut quick = tee.reader(BodyLength::Chunked);
    let mut slow = tee.reader(BodyLength::Chunked);
    tee.take(b"abc");
    assert_eq!(read(&mut quick), (b"abc".to_vec(), Poll::Pending));
    tee.take(b"def");
    assert_eq!(budget.bytes(), 6);
    assert_eq!(read(&mut slow), (b"abcdef".to_vec(), Poll::Pending));
    assert_eq!(read(&mut quick), (b"def".to_vec(), Poll::Pending));
    assert_eq!(budget.bytes(), 0, "everybody has it");
    tee.end();
    drop(tee);
    assert_eq!(read(&mut quick), (vec![], Poll::Ready(Ok(Part::End))));
    assert_eq!(slow.broken(), None);
}

#[test]
fn a_body_of_known_length_ends_by_itself() {
    let budget = budget();
    let mut tee = tee(BodyLength::Exact(5), 100, LargeBody::Skip, &budget);
    let mut body = tee.reader(BodyLength::Exact(5));
    tee.take(b"hello");
    drop(tee);
    assert_eq!(read(&mut body), (b"hello".to_vec(), Poll::Ready(Ok(Part::End))));
}

#[test]
fn a_request_that_breaks_off_breaks_its_copies_off() {
    let budget = budget();
    let mut tee = tee(BodyLength::Exact(5), 100, LargeBody::Skip, &budget);
    let mut body = tee.reader(BodyLength::Exact(5));
    tee.take(b"hell");
    drop(tee);
    assert_eq!(read(&mut body).1, Poll::Ready(Err(Reason::ClientAborted)));
    assert_eq!(body.broken(), Some(Broken::BrokeOff));
    assert_eq!(budget.bytes(), 0);
}

#[test]
fn a_body_that_is_too_large_is_given_up_or_cut() {
    let budget = budget();
    let mut skipped = tee(BodyLength::Chunked, 4, LargeBody::Skip, &budget);
    let mut body = skipped.reader(BodyLength::Chunked);
    skipped.take(b"abc");
    skipped.take(b"de");
    assert_eq!(read(&mut body).1, Poll::Ready(Err(Reason::ClientAborted)));
    assert_eq!(body.broken(), Some(Broken::TooLarge));

    let mut cut = tee(BodyLength::Chunked, 4, LargeBody::Truncate, &budget);
    let mut body = cut.reader(BodyLength::Chunked);
    cut.take(b"abc");
    cut.take(b"de");
    cut.take(b"fg");
    assert_eq!(read(&mut body), (b"abcd".to_vec(), Poll::Ready(Ok(Part::End))));
}

#[test]
fn without_room_for_it_a_body_is_given_up() {
    let small = Arc::new(Budget::new(1, 4));
    let mut tee = tee(BodyLength::Chunked, 100, LargeBody::Skip, &small);
    let body = tee.reader(BodyLength::Chunked);
    tee.take(b"abc");
    tee.take(b"de");
    assert_eq!(body.broken(), Some(Broken::NoRoom));
    assert_eq!(small.bytes(), 0);
}

#[test]
fn nothing_is_held_for_readers_that_have_gone() {
    let budget = budget();
    let mut tee = tee(BodyLength::Chunked, 100, LargeBody::Skip, &budget);
    let body = tee.reader(BodyLength::Chunked);
    tee.take(b"abc");
    drop(body);
    assert_eq!(budget.bytes(), 0);
    tee.take(b"abc");
    assert_eq!(budget.bytes(), 0);
}

#[test]
fn there_is_no_tee_without_a_body() {
    for length in [BodyLength::Empty, BodyLength::Exact(0)] {
        assert!(Tee::new(length, 1, LargeBody::Skip, budget()).is_none());
    }
}

proptest! {
    #[test]
    fn whatever_the_order_readers_get_the_body_and_nothing_is_left(
        steps in proptest::collection::vec((0usize..3, 0usize..90_000), 1..40),
    ) {
        let budget = Arc::new(Budget::new(10, 100 << 20));
        let mut tee = tee(BodyLength::Chunked, u64::MAX, LargeBody::Skip, &budget);
        let mut readers = [tee.reader(BodyLength::Chunked), tee.reader(BodyLength::Chunked)];
        let (mut sent, mut got) = (Vec::new(), [Vec::new(), Vec::new()]);
        for (step, size) in steps {
            if step == 2 {
                let piece: Vec<u8> = (0..size).map(|i| (sent.len() + i) as u8).collect();
                tee.take(&piece);
                sent.extend(piece);
            } else {
                got[step].extend(read(&mut readers[step]).0);
            }
            let least = got.iter().map(Vec::len).min().unwrap();
            prop_assert!(budget.bytes() as usize <= sent.len() - least + TRIM + PIECE);
        }
        tee.end();
        for (reader, got) in readers.iter_mut().zip(&mut got) {
            got.extend(read(reader).0);
            prop_assert_eq!(&*got, &sent);
        }
        drop(readers);
        drop(tee);
        prop_assert_eq!(budget.bytes(), 0);
    }
}
