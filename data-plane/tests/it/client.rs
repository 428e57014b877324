//! Clients that say exactly what a test wants said.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{origin::find, proxy::PATIENCE};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        let found = fields.find(|(each, _)| each.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// The word in a problem document.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.answer().await
    }

    /// Reads a response: its body as its length says, in chunks, or none.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.until(b"\r\n\r\n").await;
        let mut answer = Answer { head, body: String::new() };
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                self.more().await;
            }
            answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        } else if answer.header("transfer-encoding").is_some() {
            answer.body = self.until(b"0\r\n").await;
            answer.body += &self.until(b"\r\n").await;
        }
        answer
    }

    pub(crate) async fn until(&mut self, what: &[u8]) -> String {
        loop {
            if let Some(at) = find(&self.read, what) {
                let taken = self.read.drain(..at + what.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read));
        let read = read.await.expect("bytes in time").unwrap();
        let so_far = String::from_utf8_lossy(&self.read);
        assert!(read > 0, "the connection ended after {so_far:?}");
    }

    /// Everything up to the end of the connection, however it ends.
    pub(crate) async fn rest(mut self) -> String {
        let reading = self.stream.read_to_end(&mut self.read);
        drop(timeout(PATIENCE, reading).await.expect("an end in time"));
        String::from_utf8(self.read).unwrap()
    }
}

/// Sends these bytes on a connection of their own and reads to its end.
pub(crate) async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    client.rest().await
}

/// Asks once on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}
