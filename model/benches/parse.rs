//! How long a large document takes to read and to validate: `cargo bench -p lb-model`.
//!
//! Ten thousand routes, services and backends must take less than a second on one core, and twice
//! as many no more than about twice as long: no step compares everything with everything. Times
//! are those of the processor.

use std::{fmt::Write, fs, time::Duration};

use lb_model::{Bundle, Config};

fn main() {
    #[expect(clippy::print_stdout, reason = "what a benchmark is for")]
    for count in [2_500, 5_000, 10_000, 20_000] {
        let bundle = Bundle::of_text("lb.yaml", &document(count));
        let began = on_cpu();
        let parsed = Config::parse(&bundle, 0);
        let took = on_cpu().saturating_sub(began);
        let routes = parsed.map_or(0, |parsed| parsed.config.routes.len());
        println!("{routes:>6} routes, services and backends: {took:?}");
    }
    #[expect(clippy::print_stdout, reason = "what a benchmark is for")]
    for (what, text) in [
        ("a list of values, as many as are read", "- a\n".repeat(4_000_000)),
        ("open brackets", "[".repeat(16 << 20)),
        ("more bytes than are read", "a".repeat(100 << 20)),
        ("one key again and again", "a: 1\n".repeat(480_000)),
        ("unknown keys", (0..480_000).fold(String::new(), |text, n| text + &format!("a{n}: 1\n"))),
    ] {
        let began = on_cpu();
        let found = Config::parse(&Bundle::of_text("lb.yaml", &text), 0).err();
        let first = found.iter().flatten().next().map(|finding| finding.code.clone());
        println!(
            "{what}: {:?} after {:?}",
            first.unwrap_or_default(),
            on_cpu().saturating_sub(began)
        );
    }
}

/// How long this thread has run, whatever else the machine does.
fn on_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// A document in which every object is used, and most routes share hosts with others.
fn document(count: usize) -> String {
    let mut text = "health_check: { path: /healthz }\nbackends:\n".to_owned();
    for n in 0..count {
        let _ = writeln!(text, "  b{n}: {{ url: \"http://10.0.{}.{}:8080\" }}", n / 250, n % 250);
    }
    text += "services:\n";
    for n in 0..count {
        let _ = writeln!(text, "  s{n}: {{ backends: [b{n}, b{}] }}", (n + 1) % count);
    }
    text += "routes:\n";
    for n in 0..count {
        let host = n / 10;
        let rule = match n % 4 {
            0 => format!("Host(`h{host}.example.com`) && PathPrefix(`/v{n}`)"),
            1 => format!("Host(`h{host}.example.com`) && PathPrefix(`/v{n}/a`) && Method(`GET`)"),
            2 => {
                format!("(Host(`h{host}.example.com`) || Host(`h{n}.example.org`)) && Path(`/{n}`)")
            }
            _ => format!("PathRegexp(`^/r{n}/[0-9]+$`)"),
        };
        let _ = writeln!(text, "  r{n}: {{ rule: \"{rule}\", service: s{n} }}");
    }
    text
}
