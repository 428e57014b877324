//! HTTP/2 as h2spec sees it, which has to be in the path:
//! `go install github.com/summerwind/h2spec/cmd/h2spec@latest`.

use std::{net::SocketAddr, process::Output};

use tokio::process::Command;

use crate::{
    h2::certified,
    origin::Origin,
    proxy::{Proxy, config, simple},
};

/// Over plain TCP what does not begin as HTTP/2 is HTTP/1.1, and answered as such.
const EXCUSED: [&str; 1] = ["Sends invalid connection preface"];

async fn run(address: SocketAddr, arguments: &[&str]) -> Output {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new("h2spec");
    command.args(["-S", "-h", &host, "-p", &port, "-o", "2", "-P", "/x"]).args(arguments);
    command.args(["generic", "http2", "hpack"]);
    command.output().await.unwrap()
}

fn judge(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let failures: Vec<_> = text.lines().filter(|line| line.contains('×')).collect();
    let ours = failures.iter().filter(|line| !EXCUSED.iter().any(|known| line.contains(known)));
    assert_eq!(ours.count(), 0, "{text}");
    assert!(text.contains(" tests, "), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "needs h2spec"]
async fn h2spec_is_content_over_plain_tcp() {
    let origin = Origin::saying("hello").await;
    let proxy = Proxy::start(&simple(origin.address, "", "")).await;
    judge(&run(proxy.web(), &[]).await);
}

#[tokio::test]
#[ignore = "needs h2spec"]
async fn h2spec_is_content_over_tls() {
    let origin = Origin::saying("hello").await;
    let one = certified("one.test");
    let yaml = simple(origin.address, ", tls: {}", "");
    let proxy = Proxy::with(config(&yaml, &[("one", &one)])).await;
    judge(&run(proxy.web(), &["-t", "-k"]).await);
}
