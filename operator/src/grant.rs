//! Grants: which namespaces may have MailSenders for a relay, and what those may send as.
//!
//! Of several grants that match a namespace the domains unite and the limits add up. A relay without grants admits
//! nobody, not even its own namespace.

use std::collections::BTreeMap;

use posthouse_config::AddressPattern;

/// The label every Namespace has, with its name.
pub const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which namespaces.
    pub namespaces: NamespaceSelector,
    /// What their senders may send as.
    pub sender_domains: Vec<AddressPattern>,
    /// How many senders a namespace may have; absent is no bound.
    pub senders: Option<u32>,
}

/// Namespaces by name or by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceSelector {
    /// These names; `*` is every namespace.
    Names(Vec<String>),
    /// All of these requirements.
    Labels(Vec<Requirement>),
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What it must be.
    pub operator: Operator,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// There, with one of these values.
    In(Vec<String>),
    /// Not there, or with none of these values.
    NotIn(Vec<String>),
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
}

/// A namespace as grants see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What the grants give a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// What its senders may send as.
    pub sender_domains: Vec<AddressPattern>,
    /// How many senders it may have; absent is no bound.
    pub senders: Option<u32>,
}

impl Namespace {
    /// A namespace of which only the name is known: it has the one label that every Namespace has.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: BTreeMap::from([(NAMESPACE_LABEL.to_owned(), name.to_owned())]),
        }
    }
}

impl Requirement {
    fn is_met_by(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl NamespaceSelector {
    /// Whether a namespace is one of these. An empty selector is none: it is refused before.
    pub fn matches(&self, namespace: &Namespace) -> bool {
        match self {
            Self::Names(names) => names
                .iter()
                .any(|name| name == "*" || *name == namespace.name),
            Self::Labels(requirements) => {
                !requirements.is_empty()
                    && requirements
                        .iter()
                        .all(|requirement| requirement.is_met_by(&namespace.labels))
            }
        }
    }
}

/// What the grants of a relay give a namespace; `None` if none matches.
pub fn granted(grants: &[Grant], namespace: &Namespace) -> Option<Granted> {
    let mut matching = grants
        .iter()
        .filter(|grant| grant.namespaces.matches(namespace));
    let first = matching.next()?;
    let mut all = Granted {
        sender_domains: first.sender_domains.clone(),
        senders: first.senders,
    };
    for grant in matching {
        all.sender_domains
            .extend(grant.sender_domains.iter().cloned());
        // A grant without a bound lifts the others'.
        all.senders = all
            .senders
            .zip(grant.senders)
            .map(|(a, b)| a.saturating_add(b));
    }
    Some(all)
}

impl Granted {
    /// Whether everything a pattern stands for is granted.
    pub fn covers(&self, pattern: &AddressPattern) -> bool {
        self.sender_domains
            .iter()
            .any(|granted| granted.contains(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(namespaces: NamespaceSelector, domain: &str, senders: Option<u32>) -> Grant {
        Grant {
            namespaces,
            sender_domains: vec![domain.parse().unwrap()],
            senders,
        }
    }

    fn names(names: &[&str]) -> NamespaceSelector {
        NamespaceSelector::Names(names.iter().map(ToString::to_string).collect())
    }

    fn requirement(key: &str, operator: Operator) -> Requirement {
        Requirement {
            key: key.to_owned(),
            operator,
        }
    }

    #[test]
    fn grants_that_match_unite() {
        let grants = [
            grant(names(&["shop"]), "shop.example", Some(2)),
            grant(names(&["*"]), "*.all.example", Some(3)),
            grant(names(&["other"]), "other.example", None),
        ];
        let shop = granted(&grants, &Namespace::named("shop")).unwrap();
        assert_eq!(shop.senders, Some(5));
        for (pattern, expected) in [
            ("shop.example", true),
            ("a@shop.example", true),
            ("b.all.example", true),
            ("all.example", false),
            ("other.example", false),
            ("*", false),
        ] {
            assert_eq!(
                shop.covers(&pattern.parse().unwrap()),
                expected,
                "{pattern}"
            );
        }
        assert_eq!(
            granted(&grants, &Namespace::named("other"))
                .unwrap()
                .senders,
            None
        );
        assert_eq!(granted(&grants[..1], &Namespace::named("other")), None);
        assert_eq!(granted(&[], &Namespace::named("shop")), None);
    }

    #[test]
    fn labels_select_as_in_kubernetes() {
        let mut namespace = Namespace::named("shop");
        namespace.labels.insert("mail".to_owned(), "on".to_owned());
        for (key, operator, expected) in [
            ("mail", Operator::In(vec!["on".to_owned()]), true),
            ("mail", Operator::In(vec!["off".to_owned()]), false),
            ("mail", Operator::NotIn(vec!["off".to_owned()]), true),
            ("mail", Operator::NotIn(vec!["on".to_owned()]), false),
            ("absent", Operator::NotIn(vec!["on".to_owned()]), true),
            ("absent", Operator::In(vec!["on".to_owned()]), false),
            ("mail", Operator::Exists, true),
            ("absent", Operator::Exists, false),
            ("absent", Operator::DoesNotExist, true),
            ("mail", Operator::DoesNotExist, false),
            (NAMESPACE_LABEL, Operator::In(vec!["shop".to_owned()]), true),
        ] {
            let selector = NamespaceSelector::Labels(vec![requirement(key, operator.clone())]);
            assert_eq!(selector.matches(&namespace), expected, "{key} {operator:?}");
        }
        assert!(!NamespaceSelector::Labels(Vec::new()).matches(&namespace));
    }
}
