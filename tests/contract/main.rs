//! The operator and the gateway agree: what the one renders, the other accepts, and what users are shown works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod alerts_say_what_to_do;
mod argocd_tells_health;
mod opens_spools_of_every_format;
mod pages_lead_somewhere;
mod the_chart_gives_no_right_too_many;
mod the_chart_is_current;
mod the_demonstration_relays;
mod the_pods_command_line_is_the_gateways;
mod what_is_rendered_is_accepted;
mod what_is_watched_is_exported;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use posthouse_tests::{gateway::executable, peer};

/// A file of this repository.
fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join(path)
}

/// The examples users begin with.
fn example(name: &str) -> PathBuf {
    repository("operator/examples").join(name)
}

/// A program of Kubernetes' surroundings: beside the control plane of the tests, else wherever programs are. `None`
/// after saying that its test is skipped.
fn kubernetes_program(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let cached = fs::read_dir(cache.join("posthouse"))
        .into_iter()
        .flatten()
        .flatten();
    let folders = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    folders
        .into_iter()
        .chain(cached.map(|entry| entry.path()))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .or_else(|| peer::program(name))
}

/// `render --local` of some files into a folder; what it said.
fn render(files: &[&Path], folder: &Path, extra: &[&str]) -> String {
    let mut command = Command::new(executable("posthouse-operator"));
    command
        .arg("render")
        .arg("-f")
        .args(files)
        .arg("--local")
        .arg(folder);
    peer::run(command.args(extra), b"")
}

/// An example with one text replaced, as a file of its own.
fn changed(name: &str, from: &str, to: &str, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(example(name)).unwrap();
    assert!(text.contains(from), "{from:?} in {name}");
    let file = folder.join(name);
    fs::write(&file, text.replace(from, to)).unwrap();
    file
}
