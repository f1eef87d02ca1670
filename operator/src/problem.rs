//! What is wrong with an object: all of it at once, each at a field path, in the wording of Kubernetes.
//!
//! A problem makes an object unusable, a warning does not. Paths are those of the object, as in
//! `spec.listeners[0].port`; which object and which file it was is known to whoever collects.

use serde::Serialize;

/// One thing that is wrong, or worth knowing, at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The field's path; empty is the object itself.
    pub path: String,
    /// What must hold, or what was seen.
    pub message: String,
}

/// Everything found in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What makes the object unusable.
    pub problems: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Problem>,
}

impl Findings {
    /// Adds a problem, once.
    pub fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        add(&mut self.problems, path.into(), message.into());
    }

    /// Adds a warning, once.
    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        add(&mut self.warnings, path.into(), message.into());
    }

    /// Adds a problem unless something holds.
    pub fn require(&mut self, holds: bool, path: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.problem(path, message);
        }
    }

    /// Adds what was found elsewhere, once each.
    pub fn extend(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            add(&mut self.problems, problem.path, problem.message);
        }
    }
}

fn add(list: &mut Vec<Problem>, path: String, message: String) {
    let problem = Problem { path, message };
    if !list.contains(&problem) {
        list.push(problem);
    }
}

/// A text in quotes, shortened where it is long: it may be anything.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// An error with what caused it, for people.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
