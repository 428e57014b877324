//! Exchanges with a backend that says what a test tells it to.

use std::{collections::VecDeque, future::poll_fn};

use http::Method;
use lb_http::h1::BodyLength;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A request body in the pieces given.
struct Pieces {
    length: BodyLength,
    pieces: VecDeque<&'static [u8]>,
    /// Whether the end follows the pieces, or waiting.
    ends: bool,
    interims: Vec<u16>,
}

impl Pieces {
    fn new(length: BodyLength, pieces: &[&'static [u8]]) -> Self {
        let pieces = pieces.iter().copied().collect();
        Self { length, pieces, ends: true, interims: Vec::new() }
    }

    fn none() -> Self {
        Self::new(BodyLength::Empty, &[])
    }
}

impl Source for Pieces {
    fn length(&self) -> BodyLength {
        self.length
    }

    fn poll_part(&mut self, _: &mut Context<'_>) -> Poll<Result<Part, Reason>> {
        match self.pieces.front() {
            Some(_) => Poll::Ready(Ok(Part::Data)),
            None if self.ends => Poll::Ready(Ok(Part::End)),
            None => Poll::Pending,
        }
    }

    fn data(&self) -> &[u8] {
        self.pieces.front().copied().unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        if let Some(piece) = self.pieces.pop_front()
            && count < piece.len()
        {
            self.pieces.push_front(&piece[count..]);
        }
    }

    fn trailers(&self) -> Option<&Fields> {
        None
    }

    fn interim(&mut self, head: &ResponseHead) {
        self.interims.push(head.status.as_u16());
    }

    fn attend(&mut self, _: &mut Context<'_>) -> Result<(), Reason> {
        Ok(())
    }
}

async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Connection::new(near), listener.accept().await.unwrap().0)
}

async fn call(
    connection: &mut Connection,
    method: &Method,
    source: &mut Pieces,
) -> Result<(), CallError> {
    connection.begin(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes(), source.length);
    poll_fn(|cx| {
        loop {
            let _ = connection.poll_send(cx, source, &mut false)?;
            match ready!(connection.poll_head(cx, method))? {
                Head::Final => return Poll::Ready(Ok(())),
                Head::Interim => source.interim(connection.response()),
            }
        }
    })
    .await
}

/// The rest of the body, and why it broke off.
async fn body(connection: &mut Connection) -> (Vec<u8>, Option<Reason>) {
    let mut data = Vec::new();
    loop {
        match poll_fn(|cx| connection.poll_part(cx)).await {
            Ok(Part::Data) => {
                let part = connection.data().to_vec();
                connection.consume(part.len());
                data.extend(part);
            }
            Ok(Part::End) => return (data, None),
            Err(reason) => return (data, Some(reason)),
        }
    }
}

#[tokio::test]
async fn a_connection_serves_one_exchange_after_another() {
    let (mut connection, mut far) = pair().await;
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        far.write_all(text.as_bytes()).await.unwrap();
        call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
        assert!(!connection.is_reusable());
        assert_eq!(body(&mut connection).await, (b"hi".to_vec(), None));
        assert!(connection.is_reusable() && connection.is_quiet());
    }
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await.unwrap();
    call(&mut connection, &Method::HEAD, &mut Pieces::none()).await.unwrap();
    assert_eq!(body(&mut connection).await, (Vec::new(), None));
    assert!(connection.is_reusable());
}

#[tokio::test]
async fn what_comes_unasked_ends_a_connection() {
    let (mut connection, mut far) = pair().await;
    far.write_all(b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
    assert!(!connection.is_reusable(), "a response that nobody asked for is waiting");

    let (mut connection, mut far) = pair().await;
    far.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
    call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
    assert!(connection.is_reusable() && connection.is_quiet());
    far.write_all(b"H").await.unwrap();
    connection.stream.readable().await.unwrap();
    assert!(!connection.is_quiet());
}

#[tokio::test]
async fn connections_that_are_to_close_are_not_used_again() {
    for text in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (mut connection, mut far) = pair().await;
        far.write_all(text.as_bytes()).await.unwrap();
        call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
        assert!(!connection.is_reusable(), "{text}");
    }
    let (mut connection, mut far) = pair().await;
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").await.unwrap();
    drop(far);
    call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
    assert_eq!(body(&mut connection).await, (b"all of it".to_vec(), None));
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn a_body_is_sent_as_it_was_announced() {
    static LONG: [u8; 30_000] = [b'x'; 30_000];
    let long = &LONG[..];
    for (length, pieces, expected) in [
        (BodyLength::Exact(5), vec![&b"he"[..], b"llo"], b"hello".to_vec()),
        (BodyLength::Exact(30_000), vec![long], long.to_vec()),
        (BodyLength::Chunked, vec![b"ab", b"c"], b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n".to_vec()),
        (BodyLength::Chunked, vec![], b"0\r\n\r\n".to_vec()),
    ] {
        let (mut connection, mut far) = pair().await;
        let mut source = Pieces::new(length, &pieces);
        let answered = async {
            let mut seen = vec![0; b"PUT / HTTP/1.1\r\n\r\n".len() + expected.len()];
            far.read_exact(&mut seen).await.unwrap();
            far.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.unwrap();
            seen
        };
        let (called, seen) =
            tokio::join!(call(&mut connection, &Method::PUT, &mut source), answered);
        called.unwrap();
        assert!(seen.ends_with(&expected), "{length:?}");
        assert!(connection.is_reusable());
    }
}

#[tokio::test]
async fn a_body_other_than_announced_is_the_clients_fault() {
    for pieces in [&[&b"hell"[..]][..], &[b"hello!"]] {
        let (mut connection, _far) = pair().await;
        let mut source = Pieces::new(BodyLength::Exact(5), pieces);
        let error = call(&mut connection, &Method::PUT, &mut source).await.unwrap_err();
        assert!(matches!(error, CallError::Upload(Reason::BadRequest)), "{error}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_sent() {
    let (mut connection, mut far) = pair().await;
    let mut source = Pieces::new(BodyLength::Chunked, &[b"ab"]);
    source.ends = false;
    far.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    call(&mut connection, &Method::POST, &mut source).await.unwrap();
    assert_eq!(connection.response().status.as_u16(), 413);
    assert!(!connection.is_sent() && !connection.is_reusable());
}

#[tokio::test]
async fn answers_before_the_last_one_are_handed_on_and_counted() {
    let (mut connection, mut far) = pair().await;
    far.write_all(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    .await
    .unwrap();
    let mut source = Pieces::none();
    call(&mut connection, &Method::GET, &mut source).await.unwrap();
    assert_eq!(source.interims, [100, 103]);
    assert!(connection.is_reusable());

    far.write_all(&b"HTTP/1.1 102 Wait\r\n\r\n".repeat(100)).await.unwrap();
    let error = call(&mut connection, &Method::GET, &mut source).await.unwrap_err();
    assert!(matches!(error, CallError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn responses_that_lie_are_refused() {
    for text in [
        &b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1",
    ] {
        let (mut connection, mut far) = pair().await;
        far.write_all(text).await.unwrap();
        drop(far);
        let error = call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap_err();
        assert!(matches!(error, CallError::Invalid(_)), "{text:?}: {error}");
    }
    let (mut connection, mut far) = pair().await;
    tokio::spawn(async move {
        let _ = far.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        while far.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let error = call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap_err();
    assert!(matches!(error, CallError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn bodies_that_break_off_say_how() {
    for (text, reason) in [
        ("Content-Length: 5\r\n\r\nhel", Reason::UpstreamReset),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Reason::UpstreamReset),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nhel!\r\n", Reason::UpstreamInvalid),
    ] {
        let (mut connection, mut far) = pair().await;
        far.write_all(format!("HTTP/1.1 200 OK\r\n{text}").as_bytes()).await.unwrap();
        drop(far);
        call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap();
        assert_eq!(body(&mut connection).await, (b"hel".to_vec(), Some(reason)), "{text}");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn only_what_was_not_seen_is_sent_again() {
    let (mut connection, far) = pair().await;
    drop(far);
    let error = call(&mut connection, &Method::GET, &mut Pieces::none()).await.unwrap_err();
    assert!(matches!(error, CallError::Reset(_)), "{error}");
    assert!(connection.may_resend(true) && !connection.may_resend(false));

    let (mut connection, far) = pair().await;
    drop(far);
    let mut source = Pieces::new(BodyLength::Exact(2), &[b"ab"]);
    call(&mut connection, &Method::PUT, &mut source).await.unwrap_err();
    assert!(!connection.may_resend(true), "the body is gone");
}
