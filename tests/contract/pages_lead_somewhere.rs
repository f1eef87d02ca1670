//! Every link in the pages leads to a file, and to a heading in it.

use std::{fs, path::Path};

use crate::repository;

/// The headings of a page, as links name them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then_some(title.trim())
    });
    let anchor = |title: &str| -> String {
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links.
fn targets(page: &str) -> Vec<&str> {
    let links = page.split("](").skip(1);
    links
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

#[test]
fn in_this_repository() {
    let mut pages = vec![repository("README.md")];
    for entry in fs::read_dir(repository("operator")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    assert!(pages.len() >= 5, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new(".")).join(file)
            };
            assert!(path.exists(), "{}: {target}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(path).unwrap());
                assert!(
                    there.iter().any(|a| a == anchor),
                    "{}: {target}",
                    page.display()
                );
            }
        }
    }
}
