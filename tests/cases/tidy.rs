//! The rules of the source tree that no compiler knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lb_model::{Bundle, Config};
use lb_tests::certificate::Pair;

/// The longest file.
const MOST_LINES: usize = 600;
/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 6] = ["mod", "utils", "helpers", "common", "misc", "types"];

/// Which of our crates each may import, tests aside: what is not here must not be imported.
const IMPORTS: [(&str, &[&str]); 16] = [
    ("lb-proto", &[]),
    ("lb-model", &["lb-proto"]),
    ("lb-source", &["lb-model"]),
    ("lb-telemetry", &[]),
    ("lb-store", &["lb-model", "lb-telemetry"]),
    (
        "lb-control-plane",
        &["lb-model", "lb-proto", "lb-routing", "lb-source", "lb-store", "lb-telemetry"],
    ),
    ("lb-http", &["lb-telemetry"]),
    ("lb-routing", &["lb-model"]),
    ("lb-upstream", &["lb-model", "lb-http", "lb-routing", "lb-telemetry"]),
    (
        "lb-data-plane",
        &["lb-http", "lb-model", "lb-proto", "lb-routing", "lb-telemetry", "lb-upstream"],
    ),
    ("lbctl", &["lb-model", "lb-routing", "lb-source"]),
    ("lb-bench", &["lb-data-plane", "lb-model", "lb-proto"]),
    ("lb-bench-pingora", &[]),
    ("lb-fuzz", &["lb-http", "lb-model"]),
    ("xtask", &[]),
    (
        "lb-tests",
        &[
            "lb-control-plane",
            "lb-data-plane",
            "lb-http",
            "lb-model",
            "lb-proto",
            "lb-routing",
            "lb-store",
            "lb-telemetry",
            "lb-upstream",
        ],
    ),
];

/// Dependencies that one crate keeps to itself.
const CORRALS: [(&str, &str); 2] = [("sled", "lb-store"), ("axum", "lb-control-plane")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file of the project, build results aside.
fn files() -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the tree is not at {}", root().display());
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let sources = files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    sources.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > MOST_LINES).then(|| format!("{} has {lines} lines", path.display()))
    });
    assert_none(long.collect());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty = sources().into_iter().filter_map(|(path, _)| {
        let name = path.file_stem()?.to_str()?;
        EMPTY_NAMES.contains(&name).then(|| path.display().to_string())
    });
    assert_none(empty.collect());
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = sources().into_iter().filter_map(|(path, text)| {
        let is_tests = path.file_name().is_some_and(|name| name == "tests.rs");
        (!is_tests && !text.starts_with("//!")).then(|| path.display().to_string())
    });
    assert_none(silent.collect());
}

#[derive(Debug)]
struct Manifest {
    name: String,
    imports: BTreeSet<String>,
}

/// The manifests of all crates, with what they depend on outside of their tests.
fn manifests() -> Vec<Manifest> {
    let paths = files().into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let manifests = paths.filter_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let (mut section, mut name) = (String::new(), None);
        let mut imports = BTreeSet::new();
        for line in text.lines() {
            if let Some(header) = line.strip_prefix('[') {
                header.trim_end_matches(']').clone_into(&mut section);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.trim().split('.').next().unwrap_or_default();
            if section == "package" && key == "name" {
                name = Some(value.trim().trim_matches('"').to_owned());
            }
            let is_import = section == "dependencies"
                || section == "build-dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
            if is_import && !key.starts_with('#') {
                imports.insert(key.to_owned());
            }
        }
        // The manifest of the workspace describes no crate.
        name.map(|name| Manifest { name, imports })
    });
    manifests.collect()
}

#[test]
fn crates_import_only_what_they_may() {
    let table: BTreeMap<_, _> = IMPORTS.into_iter().collect();
    let manifests = manifests();
    let ours: BTreeSet<_> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(ours, table.keys().copied().collect(), "the table names every crate");
    let mut faults = Vec::new();
    for Manifest { name, imports } in &manifests {
        let allowed = table[name.as_str()];
        let ours = imports.iter().filter(|import| ours.contains(import.as_str()));
        for import in ours.filter(|import| !allowed.contains(&import.as_str())) {
            faults.push(format!("{name} must not import {import}"));
        }
    }
    assert_none(faults);
}

#[test]
fn some_dependencies_belong_to_one_crate() {
    let mut faults = Vec::new();
    for (dependency, owner) in CORRALS {
        for Manifest { name, imports } in manifests() {
            if imports.contains(dependency) && name != owner {
                faults.push(format!("{name} imports {dependency}, which belongs to {owner}"));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn there_is_one_implementation_of_cryptography() {
    // Cargo.lock also lists what is never built, so cargo is asked what is.
    let arguments = ["tree", "--workspace", "--locked", "--offline", "--prefix", "none"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let built: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains("aws-lc-rs"), "{built:?}");
    let banned = ["ring", "openssl", "openssl-sys", "native-tls"];
    let came_in = banned.into_iter().filter(|name| built.contains(name));
    assert_none(
        came_in.map(|name| format!("`cargo tree -i {name}` says how it came in")).collect(),
    );
}

#[test]
fn every_metric_is_described_where_operators_look() {
    let Ok(page) = fs::read_to_string(root().join("docs/metrics.md")) else {
        eprintln!("skipped: there is no docs/metrics.md");
        return;
    };
    let source = fs::read_to_string(root().join("telemetry/src/metric.rs")).unwrap();
    let names =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    let missing = names.into_iter().filter(|name| !page.contains(&format!("`{name}`")));
    assert_none(missing.map(|name| format!("docs/metrics.md does not mention {name}")).collect());
}

#[test]
fn every_example_is_a_valid_configuration() {
    let examples = root().join("examples");
    let made = Pair::new("example.com");
    let documents = files().into_iter().filter(|path| {
        path.starts_with(&examples) && path.extension().is_some_and(|extension| extension == "yaml")
    });
    let faults = documents.filter_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let mut bundle = Bundle::of_text(&path.display().to_string(), &text);
        // Files that its reader makes, such as keys, are not in the repository.
        bundle.gather(|file| {
            let path = path.parent().unwrap().join(&file.path);
            fs::read(&path).or_else(|error| made.stand_in(&path).ok_or(error))
        });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        match Config::parse(&bundle, i64::try_from(now.as_secs()).unwrap()) {
            Ok(parsed) if parsed.warnings.is_empty() => None,
            Ok(parsed) => Some(parsed.warnings.to_string()),
            Err(found) => Some(found.to_string()),
        }
    });
    assert_none(faults.collect());
}
