//! What the API has and this release does not do yet: one table of paths.
//!
//! Only what would change what happens to mail stands here; it is refused rather than ignored. A row goes when the
//! feature comes.

use serde_json::Value;

use crate::problem::Findings;

/// When a field counts as used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It is there.
    Given,
    /// It is a list with items, or a text with characters.
    NotEmpty,
    /// It is a number over zero.
    Positive,
    /// It is a text other than these.
    OtherThan(&'static [&'static str]),
}

/// The kind, the field's path, and when it counts as used. `[]` stands for every item of a list.
pub const UNSUPPORTED: &[(&str, &str, Used)] = &[
    (
        "MailRelay",
        "spec.upstreams[].provider",
        Used::OtherThan(&["Custom", "Capture"]),
    ),
    ("MailRelay", "spec.upstreams[].auth.oauth2", Used::Given),
    (
        "MailRelay",
        "spec.upstreams[].auth.awsAccessKey",
        Used::Given,
    ),
    ("MailRelay", "spec.upstreams[].rewrite", Used::Given),
    (
        "MailRelay",
        "spec.upstreams[].limits.windows",
        Used::NotEmpty,
    ),
    ("MailRelay", "spec.retry.delayNoticeSeconds", Used::Positive),
    (
        "MailRelay",
        "spec.clients.grants[].limits.messagesPerMinute",
        Used::Given,
    ),
    (
        "MailRelay",
        "spec.clients.grants[].limits.queuedMessages",
        Used::Given,
    ),
    ("MailSender", "spec.limits.messagesPerMinute", Used::Given),
    ("MailSender", "spec.recipients.allow", Used::NotEmpty),
    ("MailSender", "spec.recipients.redirectTo", Used::NotEmpty),
    ("MailSender", "spec.allowFields", Used::NotEmpty),
];

/// Refuses what an object of a kind uses and this release does not do.
pub fn refuse(kind: &str, object: &Value, findings: &mut Findings) {
    for (_, path, used) in UNSUPPORTED.iter().filter(|(of, _, _)| *of == kind) {
        for (path, value) in at(object, path) {
            if is_used(value, *used) {
                findings.problem(path, message(value, *used));
            }
        }
    }
}

fn message(value: &Value, used: Used) -> String {
    match used {
        Used::OtherThan(supported) => {
            format!(
                "{value} is not supported yet, only {}",
                supported.join(" and ")
            )
        }
        Used::Given | Used::NotEmpty | Used::Positive => "not supported yet".to_owned(),
    }
}

fn is_used(value: &Value, used: Used) -> bool {
    match used {
        Used::Given => !value.is_null(),
        Used::NotEmpty => {
            value.as_array().is_some_and(|items| !items.is_empty())
                || value.as_str().is_some_and(|text| !text.is_empty())
        }
        Used::Positive => value.as_f64().is_some_and(|number| number > 0.0),
        Used::OtherThan(supported) => value
            .as_str()
            .is_some_and(|text| !supported.contains(&text)),
    }
}

/// Every value at a path of the table, with its own path.
fn at<'a>(object: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    let mut found = vec![(String::new(), object)];
    for part in path.split('.') {
        let (name, is_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |name| (name, true));
        found = found
            .into_iter()
            .filter_map(|(path, value)| {
                let separator = if path.is_empty() { "" } else { "." };
                Some((format!("{path}{separator}{name}"), value.get(name)?))
            })
            .flat_map(|(path, value)| {
                if is_list {
                    items(&path, value)
                } else {
                    vec![(path, value)]
                }
            })
            .collect();
    }
    found
}

fn items<'a>(path: &str, list: &'a Value) -> Vec<(String, &'a Value)> {
    let items = list.as_array().into_iter().flatten().enumerate();
    items
        .map(|(i, item)| (format!("{path}[{i}]"), item))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_use_is_named_with_its_path() {
        let object = json!({ "spec": { "upstreams": [
            { "name": "a", "provider": "Custom", "limits": { "windows": [] } },
            { "name": "b", "provider": "AmazonSes", "limits": { "windows": [{}] } },
        ], "retry": { "delayNoticeSeconds": 0 } } });
        let mut findings = Findings::default();
        refuse("MailRelay", &object, &mut findings);
        let lines: Vec<_> = findings
            .problems
            .iter()
            .map(|p| format!("{}: {}", p.path, p.message))
            .collect();
        assert_eq!(
            lines,
            [
                "spec.upstreams[1].provider: \"AmazonSes\" is not supported yet, only Custom and Capture",
                "spec.upstreams[1].limits.windows: not supported yet",
            ]
        );
    }

    #[test]
    fn every_row_is_a_field_of_the_schema() {
        for (kind, path, _) in UNSUPPORTED {
            assert!(Schema::of(kind).unwrap().has(path), "{kind} {path}");
        }
    }
}
