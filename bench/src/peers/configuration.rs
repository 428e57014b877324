//! How each peer is told to do what lb does: plain HTTP/1.1 on one port, HTTP/1.1 and HTTP/2 over
//! TLS 1.3 on another, everything to one origin over connections that are kept.
//!
//! None of them logs accesses, checks health or counts, and sessions of TLS are not resumed:
//! where that costs something, it is lb that pays. All else is as they come.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{document::HOST, lanes::Entry};

/// Idle connections that are kept to the origin.
const KEPT: u32 = 512;

/// What a peer is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// A directory of its own.
    pub(super) directory: &'a Path,
    /// Where it listens.
    pub(super) entry: Entry,
    /// Where requests end.
    pub(super) origin: SocketAddr,
    /// The certificate and the key, in PEM.
    pub(super) certificate: &'a Path,
    pub(super) key: &'a Path,
    /// Threads or processes that serve.
    pub(super) workers: usize,
    /// Connections that it has to bear.
    pub(super) connections: usize,
    /// Without a process that watches over the others, where that can be left out.
    pub(super) alone: bool,
}

impl Task<'_> {
    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// The configuration of nginx.
    pub(super) fn nginx(&self) -> Result<String> {
        let Self { directory, entry, origin, certificate, key, workers, connections, alone } =
            *self;
        let (directory, certificate, key) =
            (directory.display(), certificate.display(), key.display());
        let files = 2 * connections + 2_000;
        let master = if alone { "off" } else { "on" };
        let text = format!(
            "daemon off;\nmaster_process {master};\nuser root;\nworker_processes {workers};\n\
             worker_rlimit_nofile {files};\npid {directory}/pid;\nerror_log stderr error;\n\
             events {{ worker_connections {files}; }}\n\
             http {{\n\
             \x20 access_log off;\n\
             \x20 keepalive_timeout 10m;\n\
             \x20 keepalive_requests 1000000000;\n\
             \x20 client_body_buffer_size 64k;\n\
             \x20 client_body_temp_path {directory}/body;\n\
             \x20 proxy_temp_path {directory}/proxy;\n\
             \x20 fastcgi_temp_path {directory}/fastcgi;\n\
             \x20 uwsgi_temp_path {directory}/uwsgi;\n\
             \x20 scgi_temp_path {directory}/scgi;\n\
             \x20 upstream origin {{ server {origin}; keepalive {KEPT}; keepalive_requests 1000000000; }}\n\
             \x20 server {{\n\
             \x20   listen {plain} backlog=4096;\n\
             \x20   listen {tls} ssl http2 backlog=4096;\n\
             \x20   ssl_certificate {certificate};\n\
             \x20   ssl_certificate_key {key};\n\
             \x20   ssl_protocols TLSv1.3;\n\
             \x20   ssl_session_tickets off;\n\
             \x20   location / {{\n\
             \x20     proxy_pass http://origin;\n\
             \x20     proxy_http_version 1.1;\n\
             \x20     proxy_set_header Connection \"\";\n\
             \x20     proxy_set_header Host $host;\n\
             \x20     proxy_buffers 8 16k;\n\
             \x20     proxy_max_temp_file_size 0;\n\
             \x20   }}\n\
             \x20 }}\n\
             }}\n",
            plain = entry.plain,
            tls = entry.tls,
        );
        self.write("nginx.conf", &text)
    }

    /// The configuration of HAProxy.
    pub(super) fn haproxy(&self) -> Result<String> {
        let Self { entry, origin, workers, connections, .. } = *self;
        let both = [fs::read_to_string(self.certificate)?, fs::read_to_string(self.key)?].concat();
        let pem = self.write("both.pem", &both)?;
        let connections = connections + 1_000;
        let text = format!(
            "global\n\
             \x20 nbthread {workers}\n\
             \x20 maxconn {connections}\n\
             \x20 ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets\n\
             defaults\n\
             \x20 mode http\n\
             \x20 timeout connect 5s\n\
             \x20 timeout client 10m\n\
             \x20 timeout server 1m\n\
             \x20 http-reuse always\n\
             frontend all\n\
             \x20 bind {plain} backlog 4096\n\
             \x20 bind {tls} ssl crt {pem} alpn h2,http/1.1 backlog 4096\n\
             \x20 default_backend origin\n\
             backend origin\n\
             \x20 server origin {origin} pool-max-conn {KEPT}\n",
            plain = entry.plain,
            tls = entry.tls,
        );
        self.write("haproxy.cfg", &text)
    }

    /// The configuration of Envoy.
    pub(super) fn envoy(&self) -> Result<String> {
        const API: &str = "type.googleapis.com/envoy.extensions";
        let address = |address: SocketAddr| {
            let (host, port) = (address.ip().to_string(), address.port());
            json!({ "socket_address": { "address": host, "port_value": port } })
        };
        let manager = |codec: &str| {
            json!([{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": format!("{API}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "all",
                    "codec_type": codec,
                    "generate_request_id": false,
                    "route_config": { "virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "origin" } }],
                    }] },
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {
                            "@type": format!("{API}.filters.http.router.v3.Router"),
                            "suppress_envoy_headers": true,
                        },
                    }],
                },
            }])
        };
        let tls = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{API}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "disable_stateless_session_resumption": true,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": { "tls_minimum_protocol_version": "TLSv1_3" },
                    "tls_certificates": [{
                        "certificate_chain": { "filename": self.certificate },
                        "private_key": { "filename": self.key },
                    }],
                },
            },
        });
        let many = 1_000_000;
        let configuration = json!({ "static_resources": {
            "listeners": [
                {
                    "name": "plain",
                    "address": address(self.entry.plain),
                    "filter_chains": [{ "filters": manager("HTTP1") }],
                },
                {
                    "name": "tls",
                    "address": address(self.entry.tls),
                    "filter_chains": [{ "filters": manager("AUTO"), "transport_socket": tls }],
                },
            ],
            "clusters": [{
                "name": "origin",
                "type": "STATIC",
                "circuit_breakers": { "thresholds": [{
                    "max_connections": many, "max_pending_requests": many, "max_requests": many,
                }] },
                "load_assignment": { "cluster_name": "origin", "endpoints": [{
                    "lb_endpoints": [{ "endpoint": { "address": address(self.origin) } }],
                }] },
            }],
        } });
        self.write("envoy.json", &configuration.to_string())
    }

    /// The configuration of Traefik: JSON is YAML as well.
    pub(super) fn traefik(&self) -> Result<String> {
        let rule = "PathPrefix(`/`)";
        let pair = json!({ "certFile": self.certificate, "keyFile": self.key });
        let routing = json!({
            "http": {
                "routers": {
                    "plain": { "rule": rule, "entryPoints": ["plain"], "service": "origin" },
                    "tls": { "rule": rule, "entryPoints": ["tls"], "service": "origin", "tls": {} },
                },
                "services": { "origin": { "loadBalancer": {
                    "servers": [{ "url": format!("http://{}", self.origin) }],
                    "serversTransport": "kept",
                } } },
                "serversTransports": { "kept": { "maxIdleConnsPerHost": KEPT } },
            },
            "tls": {
                "stores": { "default": { "defaultCertificate": pair } },
                "options": { "default": {
                    "minVersion": "VersionTLS13", "disableSessionTickets": true,
                } },
            },
        });
        let routing = self.write("routing.yml", &routing.to_string())?;
        let start = json!({
            "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
            "log": { "level": "ERROR" },
            "entryPoints": {
                "plain": { "address": self.entry.plain },
                "tls": { "address": self.entry.tls },
            },
            "providers": { "file": { "filename": routing, "watch": false } },
        });
        self.write("traefik.yml", &start.to_string())
    }

    /// The configuration of Caddy.
    pub(super) fn caddy(&self) -> Result<String> {
        let server = |listen: SocketAddr, protocols: &[&str], policies: Value| {
            json!({
                "listen": [listen.to_string()],
                "protocols": protocols,
                "automatic_https": { "disable": true },
                "tls_connection_policies": policies,
                "routes": [{ "handle": [{
                    "handler": "reverse_proxy",
                    "upstreams": [{ "dial": self.origin.to_string() }],
                    "transport": {
                        "protocol": "http",
                        "compression": false,
                        "keep_alive": { "max_idle_conns_per_host": KEPT },
                    },
                }] }],
            })
        };
        let tls = json!([{
            "protocol_min": "tls1.3", "default_sni": HOST, "fallback_sni": HOST,
        }]);
        let configuration = json!({
            "admin": { "disabled": true, "config": { "persist": false } },
            "logging": { "logs": { "default": { "level": "ERROR" } } },
            "apps": {
                "http": { "servers": {
                    "plain": server(self.entry.plain, &["h1"], Value::Null),
                    "tls": server(self.entry.tls, &["h1", "h2"], tls),
                } },
                "tls": { "certificates": { "load_files": [
                    { "certificate": self.certificate, "key": self.key },
                ] } },
            },
        });
        self.write("caddy.json", &configuration.to_string())
    }
}
