//! Reading from real folders, with what goes wrong there.

use std::fs;

use lb_model::{Config, Diagnostics, Parsed};

use super::*;

const NOW: i64 = 1_700_000_000;
const WORKING: &str = "backends: { web1: { url: \"http://127.0.0.1:9001\" } }\n";

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn read_all(paths: &[PathBuf]) -> Result<Reading, Unreadable> {
    read(&Sources { paths: paths.to_vec(), ..Sources::default() }, &mut io::empty())
}

fn check(reading: &Reading) -> Result<Parsed, Diagnostics> {
    Config::parse(&reading.bundle, NOW)
}

fn faults(reading: &Reading) -> Vec<String> {
    check(reading).unwrap_err().iter().map(ToString::to_string).collect()
}

fn certificate(path: &str) -> Vec<u8> {
    format!("{WORKING}certificates: {{ a: {{ cert_file: {path}, key_file: {path} }} }}\n").into()
}

#[test]
fn a_directory_is_its_documents_in_lexical_order() {
    let folder = folder(&[
        ("b.yml", b"services: {}\n"),
        ("a.yaml", WORKING.as_bytes()),
        ("notes.txt", b"not one"),
        ("c.yaml/inside.yaml", b"a directory is no document"),
    ]);
    let reading = read_all(&[folder.path().into()]).unwrap();
    let names: Vec<_> =
        reading.bundle.documents.iter().map(|d| d.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a.yaml", "b.yml"]);
}

#[test]
fn a_document_named_twice_is_read_once() {
    let folder = folder(&[("lb.yaml", WORKING.as_bytes())]);
    let path = folder.path().join("lb.yaml");
    let reading = read_all(&[path.clone(), path]).unwrap();
    assert_eq!(reading.bundle.documents.len(), 1);
    assert!(check(&reading).is_ok());
}

#[test]
fn standard_input_is_a_document_too() {
    let sources = Sources { paths: vec!["-".into()], ..Sources::default() };
    let reading = read(&sources, &mut WORKING.as_bytes()).unwrap();
    assert_eq!(reading.bundle.documents[0].name, "<stdin>");
    assert_eq!(reading.bundle.documents[0].text, WORKING);
}

#[test]
fn a_document_that_is_not_there_is_named_with_the_reason() {
    let failure = read_all(&["nowhere/lb.yaml".into()]).unwrap_err();
    assert_eq!(failure.to_string(), "could not read nowhere/lb.yaml: no such file or directory");
}

#[test]
fn an_empty_directory_is_a_failure_that_says_so() {
    let folder = folder(&[("lb.json", b"{}")]);
    let failure = read_all(&[folder.path().into()]).unwrap_err();
    assert!(failure.to_string().starts_with("there is no *.yaml or *.yml in "), "{failure}");
}

#[test]
fn files_are_read_relative_to_the_document_that_names_them() {
    let folder =
        folder(&[("conf/lb.yaml", &certificate("../tls/a.pem")), ("tls/a.pem", b"not a pem")]);
    let reading = read_all(&[folder.path().join("conf/lb.yaml")]).unwrap();
    assert_eq!(reading.bundle.files.len(), 1, "a file named twice is shipped once");
    assert_eq!(reading.bundle.files[0].path, "../tls/a.pem");
    assert_eq!(reading.bundle.files[0].content.0, b"not a pem");
}

#[test]
fn a_missing_file_is_a_fault_at_its_place_with_the_systems_reason() {
    let folder = folder(&[("lb.yaml", &certificate("a.pem"))]);
    let reading = read_all(&[folder.path().join("lb.yaml")]).unwrap();
    let faults = faults(&reading);
    assert_eq!(faults.len(), 2, "one for each place that names it: {faults:#?}");
    assert!(
        faults[0].contains(
            "lb.yaml:2:33: error[LB0401]: certificates.a.cert_file: the file \
                            `a.pem` could not be read: no such file or directory"
        ),
        "{faults:#?}"
    );
    assert!(faults[1].contains("certificates.a.key_file"), "{faults:#?}");
}

#[test]
fn a_file_too_large_to_be_a_certificate_is_a_fault() {
    let large = vec![b'x'; (1 << 20) + 1];
    let folder = folder(&[("lb.yaml", &certificate("a.pem")), ("a.pem", &large)]);
    let faults = faults(&read_all(&[folder.path().join("lb.yaml")]).unwrap());
    assert!(faults[0].contains("it is larger than 1 MiB"), "{faults:#?}");
}

#[test]
fn a_directory_in_the_place_of_a_file_is_a_fault() {
    let folder = folder(&[("lb.yaml", &certificate("tls")), ("tls/a.pem", b"")]);
    let faults = faults(&read_all(&[folder.path().join("lb.yaml")]).unwrap());
    assert!(faults[0].contains("is a directory"), "{faults:#?}");
}

#[test]
fn text_that_is_not_utf8_is_one_fault_where_it_starts() {
    let folder = folder(&[("lb.yaml", b"# fine\n# caf\xe9\nbackends: {}\n")]);
    let faults = faults(&read_all(&[folder.path().join("lb.yaml")]).unwrap());
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].contains("lb.yaml:2:6: error[LB0001]: "), "{faults:#?}");
}

fn with(text: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Reading, Unreadable> {
    let sources = Sources {
        paths: vec!["-".into()],
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags.iter().map(|flag| pair(flag)).collect::<Result<_, _>>()?,
    };
    read(&sources, &mut text.as_bytes())
}

#[test]
fn the_environment_is_stronger_than_documents_and_flags_than_both() {
    let text = "backends:\n  a: { url: \"http://${HOST}\", weight: 1 }\n";
    let environment = [("HOST", "shop"), ("LB_BACKENDS__A__WEIGHT", "2"), ("OTHER", "x")];
    let weight = |flags: &[&str]| {
        let parsed = check(&with(text, &environment, flags).unwrap()).unwrap();
        let backend = parsed.config.backends.values().next().unwrap().clone();
        assert_eq!(backend.url.to_string(), "http://shop:80");
        backend.weight.get()
    };
    assert_eq!((weight(&[]), weight(&["backends.a.weight=3"])), (2, 3));
    // What no document names does not travel.
    let reading = with(text, &environment, &[]).unwrap();
    assert_eq!(reading.bundle.variables.keys().collect::<Vec<_>>(), ["HOST"]);
}

#[test]
fn a_value_may_be_in_a_file() {
    let folder = folder(&[("weight", b"5\n")]);
    let file = folder.path().join("weight").display().to_string();
    let reading = with(WORKING, &[("LB_BACKENDS__WEB1__WEIGHT_FILE", &file)], &[]).unwrap();
    assert_eq!(check(&reading).unwrap().config.backends.values().next().unwrap().weight.get(), 5);
    assert!(reading.looked_at.contains(Path::new(&file)));
    let missing = with(WORKING, &[("LB_BACKENDS__WEB1__WEIGHT_FILE", "nowhere")], &[]);
    assert_eq!(
        missing.unwrap_err().to_string(),
        "could not read nowhere, which LB_BACKENDS__WEB1__WEIGHT_FILE names: no such file or \
         directory"
    );
}

#[test]
fn names_of_other_programs_and_of_our_servers_are_left_alone() {
    let environment =
        [("LB_PORT", "tcp://10.0.0.1:80"), ("LB_CONTROL_PLANE_DATA_DIR", "/x"), ("LB_X____Y", "")];
    let reading = with(WORKING, &environment, &[]).unwrap();
    assert!(reading.bundle.settings.is_empty());
    assert_eq!(reading.ignored, ["LB_PORT", "LB_X____Y"]);
    assert!(check(&reading).is_ok());
}

#[test]
fn a_name_that_is_meant_and_wrong_is_a_fault() {
    let reading = with(WORKING, &[("LB_BAKENDS__WEB1__WEIGHT", "2")], &[]).unwrap();
    let faults = faults(&reading);
    assert!(
        faults[0].starts_with("environment variable LB_BAKENDS__WEB1__WEIGHT: error[LB0101]"),
        "{faults:?}"
    );
    assert!(faults[0].contains("did you mean `backends`?"), "{faults:?}");
}

#[test]
fn a_flag_that_is_no_pair_says_how_to_write_one() {
    for bad in ["a.b", "=x", "a..b=x"] {
        assert!(pair(bad).unwrap_err().to_string().contains("write PATH=VALUE"), "{bad}");
    }
    assert_eq!(pair("a.b=c=d").unwrap(), ("a.b".to_owned(), "c=d".to_owned()));
}

#[test]
fn everything_that_was_looked_at_is_named() {
    let folder = folder(&[("a.yaml", &certificate("x.pem"))]);
    let reading = read_all(&[folder.path().into()]).unwrap();
    let names: Vec<_> = reading
        .looked_at
        .iter()
        .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["", "a.yaml", "x.pem"], "also what is not there: it may come");
}
