//! Compiles the protocol without a system protoc.

use std::io;

fn main() -> io::Result<()> {
    let files =
        ["lb/v1/identity.proto", "lb/v1/report.proto", "lb/v1/resource.proto", "lb/v1/sync.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."]).map_err(io::Error::other)?;
    tonic_prost_build::configure()
        .bytes(".")
        // By far the largest message, and sent once: the others should not pay for its size.
        .boxed(".lb.v1.FromProxy.message.hello")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors)
}
