//! Code of others, as written.

use super::{Anything, Named, Spanned, record, words};
use crate::{
    rule::MethodName,
    value::{ByteSize, FilePath, PathPattern, PositiveDuration, Url},
};

record! {
    /// Code of others that sees requests.
    pub struct Plugins {
        /// Whether it runs.
        enabled: Spanned<bool> = "false",
        /// WebAssembly, run here.
        wasm_plugins: Vec<WasmPlugin>,
        /// Services that are asked.
        http_plugins: Vec<HttpPlugin>,
    }
}

record! {
    /// WebAssembly that sees requests.
    pub struct WasmPlugin {
        /// What it is called.
        name: Spanned<String>,
        /// The file.
        path: Spanned<FilePath>,
        /// Higher goes first; equal ones in the order of this list.
        priority: Spanned<i64> = "0",
        /// The paths that it sees; all by default.
        paths: Vec<Spanned<PathPattern>>,
        /// The methods that it sees; all by default.
        methods: Vec<Spanned<MethodName>>,
        /// What it is told, as JSON.
        config: Anything,
        /// Variables of its environment.
        env: Named<String, Spanned<crate::value::Secret<String>>>,
        /// The interface that it is written for.
        abi: Spanned<Abi> = "http-wasm",
        /// How long it may think about one request.
        timeout: Spanned<PositiveDuration> = "20ms",
        /// How much memory an instance may have.
        max_memory: Spanned<ByteSize> = "64MiB",
        /// What happens to a request when it fails.
        fail: Spanned<Fail> = "closed",
    }
    required: name = "name: NAME", path = "path: ./plugins/NAME.wasm"
}

record! {
    /// A service that is asked about requests.
    pub struct HttpPlugin {
        /// What it is called.
        name: Spanned<String>,
        /// Where it is.
        url: Spanned<Url>,
        /// Higher goes first; equal ones in the order of this list.
        priority: Spanned<i64> = "0",
        /// The paths that it is asked about; all by default.
        paths: Vec<Spanned<PathPattern>>,
        /// The methods that it is asked about; all by default.
        methods: Vec<Spanned<MethodName>>,
        /// What it is told, as JSON.
        config: Anything,
        /// How long it may take.
        timeout: Spanned<PositiveDuration> = "1s",
        /// What happens to a request when it fails.
        fail: Spanned<Fail> = "closed",
    }
    required: name = "name: NAME", url = "url: \"http://plugin:8080\""
}

words! {
    /// The interface of a plugin.
    pub enum Abi: "an interface" {
        /// http-wasm, as in Traefik.
        HttpWasm = "http-wasm",
        /// proxy-wasm 0.2, as in Envoy.
        ProxyWasm = "proxy-wasm",
    }
}

words! {
    /// What happens to a request when a plugin fails.
    pub enum Fail: "a way to fail" {
        /// It is refused.
        Closed = "closed",
        /// It goes on.
        Open = "open",
    }
}
