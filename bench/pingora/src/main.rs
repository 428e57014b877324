//! A reverse proxy made of Pingora, with as little of our own as it takes.
//!
//! `lb-bench-pingora ORIGIN PLAIN TLS CERTIFICATE KEY THREADS` forwards all that comes in on the
//! addresses PLAIN and TLS to ORIGIN.

use std::{env, error::Error};

use async_trait::async_trait;
use pingora::{
    listeners::tls::TlsSettings,
    prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service},
    server::configuration::ServerConf,
    tls::ssl::SslVersion,
};

struct Forward {
    origin: String,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.origin, false, String::new())))
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [origin, plain, tls, certificate, key, threads] = arguments.as_slice() else {
        return Err("wanted: ORIGIN PLAIN TLS CERTIFICATE KEY THREADS".into());
    };
    let configuration = ServerConf {
        threads: threads.parse()?,
        upstream_keepalive_pool_size: 512,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let forward = Forward { origin: origin.clone() };
    let mut service = http_proxy_service(&server.configuration, forward);
    service.add_tcp(plain);
    let mut settings = TlsSettings::intermediate(certificate, key)?;
    settings.enable_h2();
    settings.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    service.add_tls_with_settings(tls, None, settings);
    server.add_service(service);
    server.run_forever()
}
