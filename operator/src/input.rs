//! The objects given with `-f`: files, folders and standard input, any number of YAML documents each.
//!
//! Text becomes values here and nothing more: duplicate keys are refused by the YAML module, kinds we do not know are
//! warned about, so that a whole folder of manifests can be given. Secrets and ConfigMaps are read into octets. Where
//! each object came from is kept, for the messages.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use posthouse_config::yaml;
use serde_json::Value;

use crate::problem::{Findings, quoted};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One object and where it came from.
#[derive(Clone, Debug)]
pub struct Object {
    /// The file as it was given; `-` is standard input.
    pub file: String,
    /// Its kind; empty if it has none.
    pub kind: String,
    /// Its namespace; [`DEFAULT_NAMESPACE`] if it names none.
    pub namespace: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// The object itself.
    pub value: Value,
}

/// What was given, and files that could not be read as objects at all.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// In the order they were given.
    pub objects: Vec<Object>,
    /// The file and why it could not be read, or the text and why it is not YAML.
    pub failures: Vec<(String, String)>,
}

/// The kinds we look at, each with its API version.
const KINDS: [(&str, &str); 6] = [
    ("MailRelay", "posthouse.dev/v1alpha1"),
    ("MailSender", "posthouse.dev/v1alpha1"),
    ("Secret", "v1"),
    ("ConfigMap", "v1"),
    ("Namespace", "v1"),
    ("ServiceAccount", "v1"),
];

impl Input {
    /// Reads everything that was given. A folder stands for its `.yaml`, `.yml` and `.json` files, sorted, not for
    /// folders in it.
    pub fn read(paths: &[PathBuf], stdin: &mut dyn Read) -> Self {
        let mut input = Self::default();
        for path in paths {
            let before = (input.objects.len(), input.failures.len());
            input.add_path(path, stdin);
            if (input.objects.len(), input.failures.len()) == before {
                let file = path.display().to_string();
                input.failures.push((file, "has no objects".to_owned()));
            }
        }
        input
    }

    fn add_path(&mut self, path: &Path, stdin: &mut dyn Read) {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let read = stdin.read_to_string(&mut text).map(|_| text);
            self.add_text("-", read);
        } else if path.is_dir() {
            self.add_folder(path);
        } else {
            self.add_text(&path.display().to_string(), fs::read_to_string(path));
        }
    }

    fn add_folder(&mut self, folder: &Path) {
        match files_of(folder) {
            Ok(files) => {
                for file in files {
                    self.add_text(&file.display().to_string(), fs::read_to_string(&file));
                }
            }
            Err(error) => self
                .failures
                .push((folder.display().to_string(), error.to_string())),
        }
    }

    fn add_text(&mut self, file: &str, text: io::Result<String>) {
        let documents = text
            .map_err(|error| error.to_string())
            .and_then(|text| yaml::documents(&text).map_err(|error| error.to_string()));
        match documents {
            Ok(documents) => documents
                .into_iter()
                .for_each(|value| self.add(file, value)),
            Err(error) => self.failures.push((file.to_owned(), error)),
        }
    }

    /// Adds an object, or the items of a List.
    fn add(&mut self, file: &str, value: Value) {
        let text_at = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let kind = text_at("/kind");
        if kind == "List" {
            let items = value.get("items").and_then(Value::as_array).cloned();
            items
                .into_iter()
                .flatten()
                .for_each(|item| self.add(file, item));
            return;
        }
        let namespace = text_at("/metadata/namespace");
        self.objects.push(Object {
            file: file.to_owned(),
            name: text_at("/metadata/name"),
            namespace: if namespace.is_empty() {
                DEFAULT_NAMESPACE.to_owned()
            } else {
                namespace
            },
            kind,
            value,
        });
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects
            .iter()
            .filter(move |object| object.kind == kind)
    }

    /// The object of a kind, namespace and name; a Namespace has no namespace.
    pub fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| {
            object.kind == kind
                && object.name == name
                && (kind == "Namespace" || object.namespace == namespace)
        })
    }
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Object {
    /// What is wrong with what every object has, and with what Secrets and ConfigMaps hold.
    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        let Some((_, wanted)) = KINDS.iter().find(|(kind, _)| *kind == self.kind) else {
            let kinds = KINDS.map(|(kind, _)| kind).join(", ");
            if self.kind.is_empty() {
                findings.problem("kind", format!("must be given: one of {kinds}"));
            } else {
                findings.warning("kind", format!("is not looked at; only {kinds} are"));
            }
            return findings;
        };
        let version = self
            .value
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or("");
        findings.require(
            version == *wanted,
            "apiVersion",
            format!("must be {wanted}, is {}", quoted(version)),
        );
        findings.require(!self.name.is_empty(), "metadata.name", "must be given");
        for (path, content) in self.raw_content() {
            if let Err(message) = content {
                findings.problem(path, message);
            }
        }
        findings
    }

    /// The labels in its metadata.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self
            .value
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let pairs = labels.into_iter().flatten();
        pairs
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// What a Secret or ConfigMap holds, by key; what cannot be read is left out.
    pub fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let pairs = self.raw_content().into_iter();
        pairs
            .filter_map(|(path, content)| {
                let key = path.split_once('.')?.1.to_owned();
                Some((key, content.ok()?))
            })
            .collect()
    }

    /// Each key's path and octets, or why it has none. Later members win: `stringData` over `data`.
    fn raw_content(&self) -> Vec<(String, Result<Vec<u8>, String>)> {
        let members: &[(&str, bool)] = match self.kind.as_str() {
            "Secret" => &[("data", true), ("stringData", false)],
            "ConfigMap" => &[("data", false), ("binaryData", true)],
            _ => &[],
        };
        let mut found = Vec::new();
        for &(member, encoded) in members {
            let values = self.value.get(member).and_then(Value::as_object);
            for (key, value) in values.into_iter().flatten() {
                found.push((format!("{member}.{key}"), octets(value, encoded)));
            }
        }
        found
    }
}

fn octets(value: &Value, encoded: bool) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if encoded {
        // The value may be a secret: it is not shown.
        BASE64_STANDARD
            .decode(text.trim())
            .map_err(|_| "must be base64".to_owned())
    } else {
        Ok(text.as_bytes().to_vec())
    }
}
