//! The same many objects in the words of each proxy.
//!
//! A route to each backend by host and path, one more for the load, and one that each change
//! moves.

use std::{fmt::Write, net::SocketAddr, path::Path};

use serde_json::{Map, Value, json};

use crate::{document::HOST, load::PATH};

/// Many routes and backends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Many {
    /// How many of each.
    pub(super) objects: usize,
    /// Where every backend is.
    pub(super) backend: SocketAddr,
}

impl Many {
    /// The path that only this change serves.
    pub(super) fn probe(change: usize) -> String {
        format!("/change-{change}")
    }

    /// lb's document.
    pub(super) fn document(&self, change: usize) -> String {
        let (backend, probe) = (self.backend, Self::probe(change));
        let mut text = "entry_points:\n  web: { address: \"127.0.0.1:0\" }\nbackends:\n".to_owned();
        for n in 0..self.objects {
            let _ = writeln!(text, "  b{n}: {{ url: \"http://{backend}\" }}");
        }
        text.push_str("services:\n");
        for n in 0..self.objects {
            let _ = writeln!(text, "  s{n}: {{ backends: [b{n}] }}");
        }
        text.push_str("routes:\n");
        for n in 0..self.objects {
            let rule = format!("Host(`h{n}.example.com`) && PathPrefix(`/r{n}`)");
            let _ = writeln!(text, "  r{n}: {{ rule: \"{rule}\", service: s{n} }}");
        }
        for (name, path) in [("load", PATH), ("changing", &probe)] {
            let rule = format!("Host(`{HOST}`) && Path(`{path}`)");
            let _ = writeln!(text, "  {name}: {{ rule: \"{rule}\", service: s0 }}");
        }
        text
    }

    /// nginx's configuration, for one worker.
    pub(super) fn nginx(&self, listen: SocketAddr, directory: &Path, change: usize) -> String {
        let (backend, probe, directory) = (self.backend, Self::probe(change), directory.display());
        let mut text = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {directory}/pid;\n\
             error_log stderr error;\nevents {{ worker_connections 4096; }}\nhttp {{\n\
             \x20 access_log off;\n  server_names_hash_max_size 131072;\n\
             \x20 server_names_hash_bucket_size 128;\n  keepalive_requests 1000000000;\n\
             \x20 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n\
             \x20 proxy_set_header Host $host;\n"
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(text, "  {kind}_temp_path {directory}/{kind};");
        }
        for n in 0..self.objects {
            let _ = writeln!(text, "  upstream b{n} {{ server {backend}; keepalive 8; }}");
        }
        for n in 0..self.objects {
            let _ = writeln!(
                text,
                "  server {{ listen {listen}; server_name h{n}.example.com; \
                 location /r{n} {{ proxy_pass http://b{n}; }} }}"
            );
        }
        let _ = writeln!(
            text,
            "  server {{ listen {listen}; server_name {HOST};\n    \
             location / {{ return 404; }}\n    \
             location = {PATH} {{ proxy_pass http://b0; }}\n    \
             location = {probe} {{ proxy_pass http://b0; }}\n  }}\n}}"
        );
        text
    }

    /// What Traefik reads again; JSON is YAML as well.
    pub(super) fn traefik(&self, change: usize) -> String {
        let (mut routers, mut services) = (Map::new(), Map::new());
        for n in 0..self.objects {
            let rule = format!("Host(`h{n}.example.com`) && PathPrefix(`/r{n}`)");
            routers.insert(format!("r{n}"), json!({ "rule": rule, "service": format!("s{n}") }));
            let servers = json!([{ "url": format!("http://{}", self.backend) }]);
            services.insert(format!("s{n}"), json!({ "loadBalancer": { "servers": servers } }));
        }
        for (name, path) in [("load", PATH), ("changing", &Self::probe(change))] {
            let rule = format!("Host(`{HOST}`) && Path(`{path}`)");
            routers.insert(name.to_owned(), json!({ "rule": rule, "service": "s0" }));
        }
        json!({ "http": { "routers": Value::Object(routers), "services": Value::Object(services) } })
            .to_string()
    }

    /// What Traefik reads once.
    pub(super) fn traefik_start(listen: SocketAddr, dynamic: &Path) -> String {
        json!({
            "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
            "log": { "level": "ERROR" },
            "entryPoints": { "web": { "address": listen.to_string() } },
            "providers": { "file": { "directory": dynamic, "watch": true } },
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;

    #[test]
    fn the_document_is_valid_and_a_change_is_in_one_route() {
        let many = Many { objects: 3, backend: "127.0.0.1:9".parse().unwrap() };
        let parse = |change| {
            let bundle = Bundle::of_text("lb.yaml", &many.document(change));
            Config::parse(&bundle, 0).unwrap().config
        };
        let (one, two) = (parse(1), parse(2));
        assert_eq!((one.routes.len(), one.backends.len()), (5, 3));
        let changed = one.routes.iter().filter(|(name, route)| two.routes[*name] != **route);
        assert_eq!(changed.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["changing"]);
    }
}
