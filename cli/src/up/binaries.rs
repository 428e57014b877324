//! Finds the servers' programs: beside this one, else where programs are looked for.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::exit::Failure;

/// The programs of the servers.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// `lb-control-plane`.
    pub(crate) control_plane: PathBuf,
    /// `lb-data-plane`.
    pub(crate) data_plane: PathBuf,
}

/// The name of the control plane's program.
pub(crate) const CONTROL_PLANE: &str = "lb-control-plane";
/// The name of the proxy's program.
pub(crate) const DATA_PLANE: &str = "lb-data-plane";

impl Binaries {
    /// Finds both. `path` is what PATH says.
    pub(crate) fn find(path: Option<&OsStr>) -> Result<Self, Failure> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent);
        let find = |name| find(name, beside, path);
        Ok(Self { control_plane: find(CONTROL_PLANE)?, data_plane: find(DATA_PLANE)? })
    }
}

fn find(name: &str, beside: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    let beside = beside.map(Path::to_path_buf);
    let on_path = path.into_iter().flat_map(std::env::split_paths);
    let mut places = beside.clone().into_iter().chain(on_path).map(|folder| folder.join(name));
    let is_program = |file: &PathBuf| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    places.find(is_program).ok_or_else(|| {
        let beside =
            beside.map_or_else(String::new, |folder| format!("{} nor in ", folder.display()));
        Failure::new(format!("found no `{name}` neither in {beside}the folders of PATH"))
            .fix("put it beside lbctl, or build all three with `cargo xtask up` in the source tree")
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_program_beside_lbctl_comes_first_and_one_on_the_path_next() {
        let (beside, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let on_path = program(other.path(), "lb-x", 0o755);
        let find = || find("lb-x", Some(beside.path()), Some(other.path().as_os_str()));
        assert_eq!(find().unwrap(), on_path);
        let first = program(beside.path(), "lb-x", 0o755);
        assert_eq!(find().unwrap(), first);
    }

    #[test]
    fn a_file_that_cannot_run_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "lb-x", 0o644);
        let failure = find("lb-x", Some(folder.path()), None).unwrap_err();
        assert!(failure.what.contains("found no `lb-x`"), "{failure}");
        assert!(failure.fix.unwrap().contains("cargo xtask up"));
    }
}
