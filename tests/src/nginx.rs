//! nginx as a backend: a server that we did not write.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    backend::refused_address,
    certificate::Pair,
    client::try_get,
    eventually::eventually,
    process::Process,
    scratch::Scratch,
    sighting::{Extent, Sighting},
};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Nginx {
    /// Starts one with its files in `scratch` that answers every request with `nginx` and the
    /// path.
    pub async fn start(scratch: &Scratch) -> Self {
        let server = "location / { return 200 \"nginx $uri\\n\"; }";
        Self::serving(scratch, "access_log off;", server, "").await
    }

    /// Starts one with its files in `scratch` that speaks TLS too, with this certificate, on the
    /// port that is given back. There it answers with the name it was asked for.
    pub async fn with_tls(scratch: &Scratch, pair: &Pair) -> (Self, u16) {
        let certificate = scratch.write("nginx.crt", &pair.certificate);
        let key = scratch.write("nginx.key", &pair.key);
        let address = refused_address().await;
        let more = format!(
            "server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             location / {{ return 200 \"nginx $ssl_server_name $host $uri\\n\"; }} }}",
            certificate.display(),
            key.display()
        );
        let server = "location / { return 200 \"nginx $uri\\n\"; }";
        let nginx = Self::serving(scratch, "access_log off;", server, &more).await;
        (nginx, address.port())
    }

    /// Starts one with its files in `scratch` that answers as every [`crate::sighting::Origin`]
    /// does.
    ///
    /// It passes requests on to another server of its own, because nginx reads the body of a
    /// request only for somebody else.
    pub async fn echoing(scratch: &Scratch) -> Self {
        let directory = scratch.path().display();
        let settings = format!(
            "large_client_header_buffers 8 64k; keepalive_requests 1000000;\n\
             client_max_body_size 0; client_body_buffer_size 1m; client_body_in_single_buffer on;\n\
             map $http_x_marker $mark {{ default $http_x_marker; '' '-'; }}\n\
             log_format seen escape=json '{{\"method\":\"$request_method\",\
             \"target\":\"$request_uri\",\"marker\":\"$mark\",\"status\":$status,\
             \"line\":\"$request\",\"body\":\"$request_body\"}}';\n\
             access_log {directory}/nginx-requests seen;"
        );
        let server = format!(
            "location / {{ add_header x-seen \"$request_method $request_uri $mark\" always;\n\
             proxy_pass http://unix:{directory}/nginx.sock; }}\n\
             location ~ ^/status/204$ {{\n\
             add_header x-seen \"$request_method $request_uri $mark\" always; return 204; }}\n\
             location ~ ^/status/304$ {{\n\
             add_header x-seen \"$request_method $request_uri $mark\" always; return 304; }}"
        );
        let more = format!(
            "server {{ listen unix:{directory}/nginx.sock; access_log off;\n\
             location / {{ return 200 \"$request_method $request_uri $mark\\n\"; }} }}"
        );
        Self::serving(scratch, &settings, &server, &more).await
    }

    async fn serving(scratch: &Scratch, settings: &str, server: &str, more: &str) -> Self {
        // nginx does not pick ports, so it gets one that was free a moment ago.
        let address = refused_address().await;
        let directory = scratch.path().display();
        let config = scratch.write(
            "nginx.conf",
            format!(
                "daemon off; master_process off; pid {directory}/nginx.pid;\n\
                 error_log {directory}/nginx-error.log;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{ {settings}\n\
                 client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
                 fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n\
                 scgi_temp_path {directory}/scgi;\n\
                 server {{ listen {address}; {server} }}\n{more} }}\n"
            ),
        );
        let config = config.display().to_string();
        let error_log = format!("{directory}/nginx-error.log");
        let arguments = ["-c", &config, "-e", &error_log].map(str::to_owned).to_vec();
        let log = scratch.path().join("nginx.log");
        let process = Process::start("nginx", program(), arguments, log);
        eventually("nginx answers", async || {
            try_get(address, "nginx", "/").await.map_err(|error| error.to_string())
        })
        .await;
        let log = Path::new(&directory.to_string()).join("nginx-requests");
        Self { _process: process, address, log }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that an echoing one is done with, in that order.
    pub fn sightings(&self) -> Vec<Sighting> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(sighting).collect()
    }
}

fn sighting(line: &str) -> Sighting {
    let value: Value = serde_json::from_str(line).expect("a line of the log of nginx");
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let extent = match value["status"].as_u64() {
        Some(200..=399 | 404) => Extent::Whole,
        Some(499) => Extent::Cut,
        status => Extent::Malformed(format!("{:?} was answered {status:?}", text("line"))),
    };
    let (method, target, marker) = (text("method"), text("target"), text("marker"));
    Sighting { method, target, marker, fields: None, body: text("body"), extent }
}

/// The program, which Debian keeps out of the path of users.
fn program() -> PathBuf {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    found.expect("nginx, which these tests need as a backend")
}
