//! `lbctl explain`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::{change::Layers, value::field};
use crate::complete;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lbctl explain http://shop.example.com/cart
  lbctl explain -X POST https://shop.example.com/api -H 'X-User: ann' --client 10.0.0.7
  lbctl explain /cart -H 'Host: shop.example.com' --entry-point web
  lbctl explain http://shop.example.com/ --version 41     as version 41 would have it
  lbctl explain http://shop.example.com/ -f lb.yaml       of a file, without a server

The code that decides is the one that serves traffic. Exits with 0 when a backend would be asked,
and with 1 when the proxy would answer by itself.")]
pub(crate) struct Explain {
    /// The URL; its scheme and port choose the entry point
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// The method
    #[arg(short = 'X', long = "method", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// A header field; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub(crate) headers: Vec<(String, String)>,
    /// Whom it comes from; 127.0.0.1 by default
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<IpAddr>,
    /// Where it comes in
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::entry_points))]
    pub(crate) entry_point: Option<String>,
    /// Explain with this file or directory, without a server; may be repeated
    #[arg(short, long = "file", value_name = "FILE", conflicts_with = "version")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Explain with this version; the current one by default
    #[arg(long, value_name = "N", add = ArgValueCandidates::new(complete::versions))]
    pub(crate) version: Option<u64>,
    /// Show every route, not only those that were asked before the one that takes it
    #[arg(long)]
    pub(crate) all: bool,
}
