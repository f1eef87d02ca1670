//! Finds our own executables, and sees to it that they are those of the sources at hand.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Tests need every executable, with the features that `cargo test --workspace` has built already.
const DEBUG: &[&str] = &["--workspace"];

/// Measuring the operator needs no gateway.
#[cfg(feature = "cluster")]
const RELEASE: &[&str] = &[
    "--release",
    "--package",
    "posthouse-operator",
    "--package",
    "posthouse-tests",
];

/// Measuring the gateway needs it alone; the control plane would triple the time to build.
#[cfg(not(feature = "cluster"))]
const RELEASE: &[&str] = &[
    "--release",
    "--no-default-features",
    "--package",
    "posthouse-gateway",
    "--package",
    "posthouse-tests",
];

/// The path of one of the workspace's executables.
///
/// Built once per test binary: `cargo test` builds the executables of a package for that package's own tests only, and
/// a test against yesterday's executable proves nothing. With nothing changed it costs a fraction of a second.
pub fn executable(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

/// Builds into the folder this test itself was built into, and gives it back.
fn build() -> PathBuf {
    let own = env::current_exe().unwrap();
    let parents = own.ancestors().skip(1);
    let folder = parents
        .clone()
        .find(|folder| !folder.ends_with("deps"))
        .unwrap();
    let release = folder.ends_with("release");
    let status = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .args(["build", "--quiet", "--bins", "--target-dir"])
        .arg(folder.parent().unwrap())
        .args(if release { RELEASE } else { DEBUG })
        .status()
        .expect("cargo builds the executables");
    assert!(status.success(), "cargo build: {status}");
    folder.to_owned()
}
