//! nginx as a backend: a server that we did not write.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    backend::refused_address, client::try_get, eventually::eventually, process::Process,
    scratch::Scratch,
};

/// A running nginx that answers every request with `nginx` and the path.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one with its files in `scratch`.
    pub async fn start(scratch: &Scratch) -> Self {
        // nginx does not pick ports, so it gets one that was free a moment ago.
        let address = refused_address().await;
        let directory = scratch.path().display();
        let config = scratch.write(
            "nginx.conf",
            format!(
                "daemon off; master_process off; pid {directory}/nginx.pid;\n\
                 error_log {directory}/nginx-error.log;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{ access_log off;\n\
                 client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
                 fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n\
                 scgi_temp_path {directory}/scgi;\n\
                 server {{ listen {address}; location / {{ return 200 \"nginx $uri\\n\"; }} }} }}\n"
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
        Self { _process: process, address }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The program, which Debian keeps out of the path of users.
fn program() -> PathBuf {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    found.expect("nginx, which these tests need as a backend")
}
