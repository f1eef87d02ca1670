//! Programs nobody here wrote, which must get along with ours.
//!
//! One that is not installed is named in one line and its test is skipped; with `POSTHOUSE_PEERS=required` that is a
//! failure, so that a continuous build cannot quietly test less.

use std::{
    env,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// Where Debian keeps what is not in every user's `PATH`.
const EXTRA: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The path of a program, or `None` after saying that its test is skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(EXTRA.map(PathBuf::from));
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.or_else(|| missing(name))
}

/// The system's Python, if it has a module.
pub fn python(module: &str) -> Option<PathBuf> {
    has("/usr/bin/python3", &["-c", &format!("import {module}")])
}

/// swaks, if its Perl can speak TLS.
pub fn swaks() -> Option<PathBuf> {
    has("/usr/bin/perl", &["-MNet::SSLeay", "-e", "1"])?;
    program("swaks")
}

/// An interpreter that can do this.
fn has(interpreter: &str, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(interpreter).args(arguments).output();
    if output.is_ok_and(|output| output.status.success()) {
        Some(PathBuf::from(interpreter))
    } else {
        missing(&format!("{interpreter} {}", arguments.join(" ")))
    }
}

/// Says that a peer is not there.
///
/// # Panics
/// Where peers are required.
pub fn missing<T>(what: &str) -> Option<T> {
    let required = env::var_os("POSTHOUSE_PEERS").is_some_and(|value| value == "required");
    assert!(
        !required,
        "{what} is not installed, and POSTHOUSE_PEERS=required"
    );
    // Not through the captured output: a skipped test must be seen.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {}: {what} is not installed",
        test()
    );
    None
}

/// The name of the test that asks: tests run in threads of their names.
fn test() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("a test").to_owned()
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Panics
/// If it does not end with success.
pub fn run(command: &mut Command, input: &[u8]) -> String {
    let (output, text) = attempt(command, input);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    text
}

/// Runs a program to its end; how it ended and everything it said.
pub fn attempt(command: &mut Command, input: &[u8]) -> (Output, String) {
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // A program that does not read its input may have closed it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output, text)
}
