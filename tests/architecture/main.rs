//! Who may know whom: our own sources are read and every import that the layering does not list is named.
//!
//! The table is the whole rule; what is not in it is forbidden. Tests inside the sources are exempt (`#[cfg(test)]`,
//! `tests.rs`, `tests/`, `testing.rs`): they may stand on more than what they test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod source;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use source::Source;

/// Package folder → packages of ours it may import, its own library included for its executables.
const PACKAGES: [(&str, &[&str]); 7] = [
    ("gateway/admin/src", &["posthouse_admin"]),
    ("gateway/smtp/src", &["posthouse_smtp"]),
    ("gateway/config/src", &["posthouse_config"]),
    ("operator/api/src", &["posthouse_api"]),
    (
        "gateway/src",
        &[
            "posthouse_gateway",
            "posthouse_smtp",
            "posthouse_config",
            "posthouse_admin",
        ],
    ),
    (
        "operator/src",
        &[
            "posthouse_operator",
            "posthouse_api",
            "posthouse_config",
            "posthouse_admin",
        ],
    ),
    (
        "tests",
        &[
            "posthouse_tests",
            "posthouse_api",
            "posthouse_config",
            "posthouse_gateway",
            "posthouse_operator",
            "posthouse_smtp",
        ],
    ),
];

/// Values and words that everybody shares; they know nobody.
const SHARED: [&str; 6] = [
    "posthouse_smtp::Mailbox",
    "posthouse_smtp::Domain",
    "posthouse_smtp::ReversePath",
    "posthouse_smtp::EnhancedStatus",
    "posthouse_smtp::Reply",
    "posthouse_config::reason",
];

/// Module of the gateway → what it may import beside [`SHARED`]. A path with two parts allows that part alone.
const MODULES: [(&str, &[&str]); 11] = [
    ("shutdown", &[]),
    ("clock", &["mail::Timestamp"]),
    ("metrics", &["posthouse_config"]),
    ("mail", &["posthouse_smtp", "posthouse_config::credential"]),
    (
        "spool",
        &[
            "mail",
            "clock",
            "metrics",
            "shutdown",
            "posthouse_config::status",
        ],
    ),
    ("dsn", &["mail", "shutdown"]),
    ("route", &["mail", "posthouse_config", "shutdown"]),
    (
        "queue",
        &[
            "mail",
            "route",
            "spool",
            "dsn",
            "posthouse_config",
            "clock",
            "metrics",
            "shutdown",
            "inbound::Intake",
        ],
    ),
    (
        "outbound",
        &[
            "mail",
            "posthouse_smtp",
            "posthouse_config",
            "clock",
            "metrics",
            "shutdown",
            "queue::deliver",
        ],
    ),
    (
        "inbound",
        &[
            "mail",
            "posthouse_smtp",
            "posthouse_config",
            "spool",
            "clock",
            "metrics",
            "shutdown",
        ],
    ),
    ("stop", &["posthouse_config", "clock", "shutdown"]),
];

/// Modules of the gateway that may import anything and that only these, `lib.rs` and `main.rs` may import.
const OUTERMOST: [&str; 6] = ["control", "status", "reload", "command", "lib", "main"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "no sources in {folder}");
    found
        .iter()
        .map(|path| Source::read(&root(), path))
        .collect()
}

fn is_allowed(import: &str, allowed: &[&str]) -> bool {
    allowed
        .iter()
        .any(|entry| import == *entry || import.starts_with(&format!("{entry}::")))
}

/// What is wrong with one file of the gateway.
fn forbidden(module: &str, imports: &BTreeSet<String>) -> Vec<String> {
    if OUTERMOST.contains(&module) {
        return Vec::new();
    }
    let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == module) else {
        return vec![format!("module {module} is not in the table")];
    };
    let allowed = [&SHARED[..], allowed].concat();
    let own = |import: &&String| import.split("::").next() != Some(module);
    let wrong = imports
        .iter()
        .filter(own)
        .filter(|import| !is_allowed(import, &allowed));
    wrong
        .map(|import| format!("{module} must not import {import}"))
        .collect()
}

#[test]
fn modules_of_the_gateway_import_only_what_the_table_lists() {
    let mut wrong = Vec::new();
    for source in sources("gateway/src") {
        for problem in forbidden(&source.module(), &source.imports()) {
            wrong.push(format!("{}: {problem}", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn packages_import_only_what_the_table_lists() {
    let mut wrong = Vec::new();
    for (folder, allowed) in PACKAGES {
        for source in sources(folder) {
            for package in source
                .packages()
                .iter()
                .filter(|package| !allowed.contains(&package.as_str()))
            {
                wrong.push(format!("{}: must not import {package}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    // What `tests.rs` is for stands at the top of what it tests.
    let is_code = |source: &Source| !source.path.ends_with("/tests.rs");
    let all = PACKAGES.iter().flat_map(|(folder, _)| sources(folder));
    let silent: Vec<_> = all
        .filter(is_code)
        .filter(|source| !source.opens_with_a_comment())
        .map(|source| source.path)
        .collect();
    assert!(
        silent.is_empty(),
        "no //! at the top of {}",
        silent.join(", ")
    );
}

#[test]
fn tests_wait_for_events_and_nothing_else() {
    let sleeps = |source: &Source| {
        // What is measured is measured over time.
        let is_a_test = !source.path.starts_with("tests/bench/");
        is_a_test && (source.mentions("sleep(") || source.mentions("park_timeout("))
    };
    let sleeping: Vec<_> = sources("tests")
        .into_iter()
        .filter(sleeps)
        .map(|source| source.path)
        .collect();
    assert_eq!(
        sleeping,
        ["tests/harness/wait.rs"],
        "waiting has one place, which has a deadline"
    );
}

#[test]
fn the_gateway_does_not_know_kubernetes() {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--locked",
            "--package",
            "posthouse-gateway",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"posthouse-config"), "{tree}");
    for name in names {
        let kubernetes = name.starts_with("kube") || name.starts_with("k8s");
        assert!(
            !kubernetes && name != "posthouse-operator" && name != "posthouse-api",
            "{name}"
        );
    }
}

#[test]
fn a_forbidden_import_is_found_wherever_it_hides() {
    let source = Source::of(
        "//! x\nuse crate::{\n    mail::{Message, QueueId}, // crate::admin\n    queue::{self, deliver::Deliver},\n};\n\
         fn f() { let s = \"crate::dsn\"; crate::spool::open(); posthouse_smtp::path::parse(s) }\n\
         #[cfg(test)]\nmod tests { use crate::control; }\n",
    );
    let imports: Vec<_> = source.imports().into_iter().collect();
    let expected = [
        "mail::Message",
        "mail::QueueId",
        "posthouse_smtp::path::parse",
        "queue",
        "queue::deliver::Deliver",
        "spool::open",
    ];
    assert_eq!(imports, expected);
    assert_eq!(
        forbidden("dsn", &source.imports()),
        [
            "dsn must not import posthouse_smtp::path::parse",
            "dsn must not import queue",
            "dsn must not import queue::deliver::Deliver",
            "dsn must not import spool::open",
        ]
    );
    assert_eq!(forbidden("outbound", &source.imports()).len(), 2);
    assert!(forbidden("lib", &source.imports()).is_empty());
    assert_eq!(
        forbidden("novel", &source.imports()),
        ["module novel is not in the table"]
    );
}
