//! What `check` and `render` tell people: one line per problem, or one JSON value.
//!
//! A line is `FILE: Kind/name.path: message`. Lines of warnings begin with `warning:` and change no exit code.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    command::Output,
    input::Object,
    problem::{Findings, Problem},
};

/// Whether a line makes the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether it makes the command fail.
    pub severity: Severity,
    /// The file; `-` is standard input.
    pub file: String,
    /// The object, as in `MailRelay/outbound`; empty if the file as a whole is meant.
    pub object: String,
    /// The field's path; empty if the object as a whole is meant.
    pub path: String,
    /// What must hold, or what was seen.
    pub message: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        write!(f, "{}: ", self.file)?;
        if !self.object.is_empty() {
            let separator = if self.path.is_empty() { "" } else { "." };
            write!(f, "{}{separator}{}: ", self.object, self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that was found, in the order of the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Adds what was found in an object.
    pub fn add(&mut self, object: &Object, findings: Findings) {
        let named = if object.kind.is_empty() {
            "object"
        } else {
            &object.kind
        };
        let name = if object.name.is_empty() {
            named.to_owned()
        } else {
            format!("{named}/{}", object.name)
        };
        let mut add = |severity, Problem { path, message }| {
            let line = Line {
                severity,
                file: object.file.clone(),
                object: name.clone(),
                path,
                message,
            };
            if !self.lines.contains(&line) {
                self.lines.push(line);
            }
        };
        findings
            .problems
            .into_iter()
            .for_each(|problem| add(Severity::Error, problem));
        findings
            .warnings
            .into_iter()
            .for_each(|warning| add(Severity::Warning, warning));
    }

    /// Adds a file that holds no objects we could read.
    pub fn failure(&mut self, file: &str, message: &str) {
        self.lines.push(Line {
            severity: Severity::Error,
            file: file.to_owned(),
            object: String::new(),
            path: String::new(),
            message: message.to_owned(),
        });
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether anything makes the command fail.
    pub fn has_errors(&self) -> bool {
        self.lines
            .iter()
            .any(|line| line.severity == Severity::Error)
    }

    /// Prints everything.
    pub fn print(&self, output: Output, out: &mut dyn Write) -> io::Result<()> {
        match output {
            Output::Text => self
                .lines
                .iter()
                .try_for_each(|line| writeln!(out, "{line}")),
            Output::Json => {
                let lines = serde_json::json!({ "problems": self.lines });
                writeln!(out, "{lines:#}")
            }
        }
    }
}
