//! Reading from real folders, with what goes wrong there.

use std::fs;

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

fn read_all(paths: &[PathBuf]) -> Result<Reading, Failure> {
    read(paths, &mut io::empty())
}

fn faults(reading: &Reading) -> Vec<String> {
    reading.check(NOW).unwrap_err().iter().map(ToString::to_string).collect()
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
    assert!(reading.check(NOW).is_ok());
}

#[test]
fn standard_input_is_a_document_too() {
    let reading = read(&["-".into()], &mut WORKING.as_bytes()).unwrap();
    assert_eq!(reading.names(), "<stdin>");
    assert_eq!(reading.bundle.documents[0].text, WORKING);
}

#[test]
fn a_document_that_is_not_there_is_named_with_the_reason() {
    let failure = read_all(&["nowhere/lb.yaml".into()]).unwrap_err();
    assert_eq!(failure.exit, Exit::Failure);
    assert!(
        failure
            .to_string()
            .starts_with("could not read nowhere/lb.yaml: no such file or directory; ")
    );
}

#[test]
fn an_empty_directory_is_a_failure_that_says_so() {
    let folder = folder(&[("lb.json", b"{}")]);
    let failure = read_all(&[folder.path().into()]).unwrap_err();
    assert!(failure.what.starts_with("there is no *.yaml or *.yml in "), "{failure}");
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
