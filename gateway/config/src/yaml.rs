//! The one place that reads and writes YAML.
//!
//! Text goes through `serde_yaml::Value`, where a duplicate key is an error, and then through `serde_json::Value`:
//! `serde_yaml` alone would want a YAML tag for every enumeration and would let the last of two equal keys win.
//! Nothing else in the workspace names `serde_yaml`, so that the parser can be changed here alone.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Why a text is not one of our documents.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The text is not YAML, or has a key twice in one mapping.
    #[error("{0}")]
    Syntax(#[from] serde_yaml::Error),
    /// The YAML has something that JSON cannot say, such as a mapping with a list as key.
    #[error("{0}")]
    NotJson(#[source] serde_json::Error),
    /// The value at a path is of the wrong type, or missing.
    #[error("{path}: {source}")]
    Shape {
        /// The path of the field, as in `listeners[0].port`; `.` is the document itself.
        path: String,
        /// What was found and what would be right.
        source: serde_json::Error,
    },
}

/// All documents of a YAML stream as JSON values; empty documents are left out.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| {
            let value = serde_yaml::Value::deserialize(document)?;
            serde_json::to_value(value).map_err(YamlError::NotJson)
        })
        .filter(|value| !matches!(value, Ok(Value::Null)))
        .collect()
}

/// Reads a typed value from text that holds one YAML (or JSON) document.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let value = documents(text)?.into_iter().next().unwrap_or(Value::Null);
    from_value(value)
}

/// Reads a typed value and says at which path it does not fit.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, YamlError> {
    serde_path_to_error::deserialize(value).map_err(|error| YamlError::Shape {
        path: error.path().to_string(),
        source: error.into_inner(),
    })
}

/// Writes a value as one YAML document.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    let value = serde_json::to_value(value).map_err(YamlError::NotJson)?;
    Ok(serde_yaml::to_string(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_key_is_refused() {
        let error = documents("a: 1\nb: 2\na: 3\n").unwrap_err().to_string();
        assert!(error.contains("duplicate entry with key \"a\""), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[allow(dead_code)]
            inner: Vec<Inner>,
        }
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[allow(dead_code)]
            port: u16,
        }
        let error = from_str::<Outer>("inner: [{ port: 1 }, { port: x }]").unwrap_err();
        assert!(
            error.to_string().starts_with("inner[1].port: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn several_documents_and_empty_ones() {
        assert_eq!(documents("---\na: 1\n---\n---\nb: 2\n").unwrap().len(), 2);
        assert_eq!(documents("").unwrap().len(), 0);
    }
}
