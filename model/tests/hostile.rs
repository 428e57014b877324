//! Documents that somebody made to hurt: each is answered with a finding, within bounded memory.
//!
//! A test program of its own with one test, so that the most memory the process ever had is what
//! these documents took.

use std::fmt::Write;

use lb_model::{Bundle, Config, Diagnostics, bundle::Source};

/// The most memory that the process may have taken, in KiB.
const MOST_MEMORY: u64 = 256 << 10;

const BACKEND: &str = "backends: { a: { url: \"http://a\" } }\n";

fn check(text: &str) -> Diagnostics {
    findings(&Bundle::of_text("lb.yaml", text))
}

fn findings(bundle: &Bundle) -> Diagnostics {
    match Config::check(bundle, 0) {
        Ok(parsed) => parsed.warnings,
        Err(found) => found,
    }
}

fn refused(text: &str, code: &str) {
    let found = check(text);
    let codes: Vec<_> = found.iter().map(|finding| finding.code.as_str()).take(8).collect();
    let begins: String = text.chars().take(40).collect();
    assert!(
        found.has_errors() && codes.contains(&code),
        "{begins}: {codes:?}\n{}",
        found.iter().next().map(ToString::to_string).unwrap_or_default()
    );
}

/// The most memory that this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or(u64::MAX)
}

#[test]
fn hostile_documents_get_a_finding_within_bounded_memory() {
    // Too large, deep or many: each limit answers before anything is built.
    refused(&"a".repeat(100 << 20), "LB0002");
    refused(&"[".repeat(1 << 20), "LB0002");
    refused(&"- ".repeat(1 << 20), "LB0002");
    refused(&format!("x: {}", "{a: ".repeat(1 << 18)), "LB0002");
    refused(&"- a\n".repeat(1_100_000), "LB0002");
    let after = peak();
    assert!(after < MOST_MEMORY, "{after} KiB");

    // What YAML has for making much of little.
    let mut bomb = "a0: &a0 [x, x, x]\n".to_owned();
    for level in 1..64 {
        let _ = writeln!(bomb, "a{level}: &a{level} [*a{0}, *a{0}, *a{0}]", level - 1);
    }
    refused(&bomb, "LB0004");
    refused("a: &a [*a]\n", "LB0004");
    refused("<<: { a: 1 }\n", "LB0101");

    // One key, or one name, over and over.
    refused(&"a: 1\n".repeat(20_000), "LB0003");
    refused(
        &format!("{BACKEND}services: {{ s: {{ backends: [{}] }} }}", "a, ".repeat(20_000)),
        "LB0202",
    );
    let unknown = (0..20_000).fold(String::new(), |text, n| text + &format!("b{n:05}x, "));
    refused(&format!("{BACKEND}services: {{ s: {{ backends: [{unknown}] }} }}"), "LB0201");

    // Text that is none, or ends in the middle.
    for bytes in [b"\xff\xfe".to_vec(), b"backends: \xc3\x28".to_vec(), vec![0; 1 << 20]] {
        let documents = vec![Source::from_bytes("lb.yaml", bytes)];
        assert!(findings(&Bundle { documents, ..Bundle::default() }).has_errors());
    }
    let whole = include_str!("../../tests/golden/block-all.check.yaml");
    for end in (0..whole.len()).step_by(7).filter(|end| whole.is_char_boundary(*end)) {
        let _ = check(&whole[..end]);
    }

    // Rules, patterns and chains that want to be expensive.
    let rule = format!("!{}Path(`/`){}", "(".repeat(5_000), ")".repeat(5_000));
    refused(&format!("{BACKEND}routes: {{ r: {{ rule: \"{rule}\" }} }}"), "LB0301");
    let pattern = "(((((a{1,90}){1,90}){1,90}){1,90}){1,90})";
    refused(
        &format!("{BACKEND}waf: {{ enabled: true, rules: [{{ name: n, pattern: '{pattern}' }}] }}"),
        "LB0304",
    );
    let mut chains = format!("{BACKEND}middlewares:\n  m0: {{ compress: {{}} }}\n");
    for level in 1..60 {
        let _ = writeln!(
            chains,
            "  m{level}: {{ chain: {{ middlewares: [m{0}, m{0}, m{0}] }} }}",
            level - 1
        );
    }
    assert!(!check(&chains).has_errors(), "{}", check(&chains));
    let peak = peak();
    assert!(peak < MOST_MEMORY, "{peak} KiB");
}
