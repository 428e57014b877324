//! What is measured: kinds of traffic, and the figures that each gives.

use clap::ValueEnum;

use crate::lanes::Protocol;

/// A kind of traffic, or of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Small answers over 64 kept connections
    H1,
    /// Answers of 64 KiB
    #[value(name = "h1-64k")]
    Large,
    /// Requests with a body of 16 KiB
    #[value(name = "h1-post-16k")]
    Post,
    /// Small answers over TLS 1.3
    H1Tls,
    /// HTTP/2 over TLS 1.3: 8 connections with 32 streams each
    H2Tls,
    /// A whole TLS 1.3 handshake for each request
    TlsHandshake,
    /// Requests at a fixed rate
    Latency,
    /// Requests at a fixed rate over TLS 1.3
    LatencyTls,
    /// Memory of a connection that waits
    Memory,
    /// Memory of a connection over TLS 1.3 that waits
    MemoryTls,
    /// Small answers of lb with 10 and with 10,000 routes
    Routes,
    /// Instructions and system calls of a request
    Counts,
}

/// A number that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// Processor time of a request.
    Processor,
    /// Requests a second.
    Rate,
    /// The share of its processors that the proxy took.
    Busy,
    /// Half of the requests were answered within this.
    Median,
    /// 99 of 100 requests were answered within this.
    Slowest,
    /// Memory of a connection.
    Memory,
    /// User instructions of a request.
    Instructions,
    /// System calls of a request.
    SystemCalls,
}

impl Figure {
    /// Its name in JSON.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Processor => "cpu_us",
            Self::Rate => "requests_per_second",
            Self::Busy => "busy",
            Self::Median => "p50_us",
            Self::Slowest => "p99_us",
            Self::Memory => "kib",
            Self::Instructions => "instructions",
            Self::SystemCalls => "system_calls",
        }
    }

    /// What stands over its column.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Processor => "CPU µs",
            Self::Rate => "requests/s",
            Self::Busy => "busy",
            Self::Median => "p50 µs",
            Self::Slowest => "p99 µs",
            Self::Memory => "KiB",
            Self::Instructions => "instructions",
            Self::SystemCalls => "system calls",
        }
    }

    /// Whether more is better.
    pub(super) const fn prefers_more(self) -> bool {
        matches!(self, Self::Rate)
    }

    /// Whether it says who is better at all.
    pub(super) const fn is_compared(self) -> bool {
        !matches!(self, Self::Busy)
    }

    /// A value as it is shown.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Instructions | Self::Median | Self::Slowest => format!("{value:.0}"),
            Self::Processor if value >= 100.0 => format!("{value:.0}"),
            Self::Processor | Self::Memory => format!("{value:.1}"),
            Self::Busy | Self::SystemCalls => format!("{value:.2}"),
        }
    }
}

/// A scenario as results name it; the counts are one for each protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole(Scenario),
    Count(Protocol),
}

impl Part {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Whole(Scenario::H1) => "h1",
            Self::Whole(Scenario::Large) => "h1-64k",
            Self::Whole(Scenario::Post) => "h1-post-16k",
            Self::Whole(Scenario::H1Tls) => "h1-tls",
            Self::Whole(Scenario::H2Tls) => "h2-tls",
            Self::Whole(Scenario::TlsHandshake) => "tls-handshake",
            Self::Whole(Scenario::Latency) => "latency",
            Self::Whole(Scenario::LatencyTls) => "latency-tls",
            Self::Whole(Scenario::Memory) => "memory",
            Self::Whole(Scenario::MemoryTls) => "memory-tls",
            Self::Whole(Scenario::Routes) => "routes",
            Self::Whole(Scenario::Counts) => "counts",
            Self::Count(Protocol::H1) => "counts-h1",
            Self::Count(Protocol::H1Tls) => "counts-h1-tls",
            Self::Count(Protocol::H2Tls) => "counts-h2-tls",
        }
    }

    /// What it is, in a line.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Whole(Scenario::H1) => "small answers, 64 connections",
            Self::Whole(Scenario::Large) => "answers of 64 KiB, 64 connections",
            Self::Whole(Scenario::Post) => "POST of 16 KiB, 64 connections",
            Self::Whole(Scenario::H1Tls) => "small answers over TLS 1.3, 64 connections",
            Self::Whole(Scenario::H2Tls) => "HTTP/2 over TLS 1.3, 8 connections × 32 streams",
            Self::Whole(Scenario::TlsHandshake) => "a TLS 1.3 handshake for each request",
            Self::Whole(Scenario::Latency) => "at a fixed rate, 32 connections",
            Self::Whole(Scenario::LatencyTls) => "at a fixed rate over TLS 1.3, 32 connections",
            Self::Whole(Scenario::Memory) => "an idle connection",
            Self::Whole(Scenario::MemoryTls) => "an idle connection over TLS 1.3",
            Self::Whole(Scenario::Routes) => "small answers with few and with many routes",
            Self::Whole(Scenario::Counts) => "what a request takes",
            Self::Count(Protocol::H1) => "a request, HTTP/1.1",
            Self::Count(Protocol::H1Tls) => "a request, HTTP/1.1 over TLS 1.3",
            Self::Count(Protocol::H2Tls) => "a request, HTTP/2 over TLS 1.3",
        }
    }

    /// What it gives; the first is what it is about.
    pub(super) const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Whole(Scenario::Latency | Scenario::LatencyTls) => {
                &[Figure::Slowest, Figure::Median, Figure::Processor]
            }
            Self::Whole(Scenario::Memory | Scenario::MemoryTls) => &[Figure::Memory],
            Self::Whole(Scenario::Counts) | Self::Count(_) => {
                &[Figure::Instructions, Figure::SystemCalls]
            }
            Self::Whole(_) => &[Figure::Processor, Figure::Rate, Figure::Busy],
        }
    }
}

impl Scenario {
    /// In how many of `rounds` rounds it takes part: what hardly varies need not in all.
    pub(super) fn rounds(self, rounds: u32) -> u32 {
        match self {
            Self::Memory | Self::MemoryTls => rounds.min(2),
            Self::Counts => rounds.min(1),
            _ => rounds,
        }
    }
}
