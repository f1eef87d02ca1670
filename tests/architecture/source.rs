//! One source file, and which paths of ours it names.
//!
//! Not a parser of Rust: comments and strings are blanked, then every `crate::` and `posthouse_…::` is followed
//! through its braces. That is enough for code that `rustfmt` has laid out and that has no macro hiding an import.

use std::{collections::BTreeSet, fs, path::Path};

/// A file.
pub(crate) struct Source {
    /// Its path from the top of the repository.
    pub(crate) path: String,
    text: String,
}

impl Source {
    /// Reads a file below `root`.
    pub(crate) fn read(root: &Path, path: &Path) -> Self {
        Self {
            path: path.strip_prefix(root).unwrap().display().to_string(),
            text: fs::read_to_string(path).unwrap(),
        }
    }

    /// A file that is not there.
    pub(crate) fn of(text: &str) -> Self {
        Self {
            path: "gateway/src/x.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    /// Its first line is a module comment.
    pub(crate) fn opens_with_a_comment(&self) -> bool {
        self.text.starts_with("//! ")
    }

    /// The module at the top of its package: `queue` for `gateway/src/queue/lane.rs`.
    pub(crate) fn module(&self) -> String {
        let below = self.path.split_once("/src/").map_or("", |(_, below)| below);
        let first = below.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Every path of ours that is named outside tests: of this package without `crate::`, of others with their name.
    pub(crate) fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut found = BTreeSet::new();
        for (at, _) in code
            .match_indices("crate::")
            .filter(|(at, _)| starts_word(&code, *at))
        {
            follow(&code[at + "crate::".len()..], "", &mut found);
        }
        for (at, _) in code
            .match_indices("posthouse_")
            .filter(|(at, _)| starts_word(&code, *at))
        {
            if let Some((name, rest)) = code[at..]
                .split_once("::")
                .filter(|(name, _)| is_word(name))
            {
                follow(rest, name, &mut found);
            }
        }
        found
    }

    /// The packages of ours that are named outside tests.
    pub(crate) fn packages(&self) -> BTreeSet<String> {
        let first = |path: String| path.split("::").next().map(str::to_owned);
        let firsts = self.imports().into_iter().filter_map(first);
        firsts
            .filter(|name| name.starts_with("posthouse_"))
            .collect()
    }

    /// Its code, outside strings and comments, contains a text.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.code().contains(text)
    }

    /// The text without comments, strings and tests.
    fn code(&self) -> String {
        let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "testing" | "testing.rs");
        if self.path.contains("/src/") && self.path.split('/').any(is_test) {
            return String::new();
        }
        let text = self
            .text
            .split("#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        text.lines().map(|line| blanked(line) + "\n").collect()
    }
}

/// A line without its comment and without what is between quotes.
fn blanked(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            _ if quoted => {}
            '/' if chars.peek() == Some(&'/') => break,
            _ => out.push(c),
        }
    }
    out
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Adds every path that begins here; gives back what follows them.
fn follow<'a>(text: &'a str, prefix: &str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = follow(rest, prefix, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if more.trim_start().starts_with('}') => return &more.trim_start()[1..],
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = match (prefix, word) {
        (_, "self" | "") => prefix.to_owned(),
        ("", _) => word.to_owned(),
        _ => format!("{prefix}::{word}"),
    };
    if let Some(rest) = rest.strip_prefix("::") {
        return follow(rest, &path, found);
    }
    found.insert(path);
    let renamed = rest
        .strip_prefix(" as ")
        .map(|rest| rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
    renamed.unwrap_or(rest)
}
