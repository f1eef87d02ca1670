//! The smallest document, what a later release may add to it, and every refusal in its wording.

use super::*;

const SMALLEST: &str = r#"
format: 1
number: 1
generation: 1
relay: { namespace: mail-system, name: outbound }
hostname: mail.example.com
replicas: 1
listeners:
  - { name: plain, protocol: Smtp, address: "127.0.0.1:2525", tls: Disabled }
upstreams:
  - name: isp
    transport: { smtp: { host: smtp.example, port: 465, tls: { mode: Implicit }, auth: { password: { username: u, password: p } } } }
routes:
  - { name: default, targets: [{ upstream: isp }] }
reports: { sender: postmaster@mail.example.com }
"#;

fn refusal(edit: impl Fn(&mut String)) -> String {
    let mut text = SMALLEST.to_owned();
    edit(&mut text);
    Document::parse(&text).unwrap_err().to_string()
}

fn replaced(from: &str, to: &str) -> String {
    assert!(SMALLEST.contains(from), "{from}");
    refusal(|text| *text = text.replace(from, to))
}

#[test]
fn the_smallest_document_has_every_default_and_survives_a_round_trip() {
    let document = Document::parse(SMALLEST).unwrap();
    assert_eq!(document.retry, Retry::default());
    assert_eq!(document.files(), ["u", "p"]);
    assert_eq!(
        Document::parse(&yaml::to_string(&document).unwrap()).unwrap(),
        document
    );
}

#[test]
fn a_member_of_a_later_release_is_ignored() {
    let later = format!("{SMALLEST}\nsomethingNew: {{ a: 1 }}\n");
    assert_eq!(
        Document::parse(&later).unwrap(),
        Document::parse(SMALLEST).unwrap()
    );
}

#[test]
fn a_later_format_is_named_before_anything_else() {
    let error = Document::parse("format: 2\nwhatever: true\n")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "format: this gateway reads format 1, the file has format 2"
    );
}

#[test]
fn an_unknown_need_is_refused() {
    assert_eq!(
        replaced("format: 1", "format: 1\nneeds: [dane]"),
        "needs: this gateway lacks dane"
    );
}

#[test]
fn a_wrong_type_is_named_with_its_path() {
    let error = replaced("port: 465", "port: many");
    assert!(
        error.starts_with("upstreams[0].transport.smtp.port: "),
        "{error}"
    );
}

#[test]
fn values_out_of_bounds_are_all_named() {
    let error =
        refusal(|text| text.push_str("limits: { sessions: 0 }\nstop: { graceSeconds: 601 }\n"));
    assert_eq!(
        error,
        "limits.sessions: must be between 1 and 50000, is 0; stop.graceSeconds: must be between 1 and 600, is 601"
    );
}

#[test]
fn a_path_that_leaves_the_folder_is_refused() {
    for path in ["/etc/passwd", "../p", "a/../../p", "a//b"] {
        let error = replaced("password: p }", &format!("password: {path} }}"));
        assert!(
            error.contains("must be a path below the document's folder"),
            "{path}: {error}"
        );
    }
}

#[test]
fn a_password_never_goes_in_clear() {
    let error = replaced("mode: Implicit", "mode: None");
    assert!(
        error.contains("upstreams[0].transport.smtp.auth: must not be given without TLS"),
        "{error}"
    );
    let local = SMALLEST
        .replace("mode: Implicit", "mode: None")
        .replace("smtp.example", "127.0.0.1");
    assert!(Document::parse(&local).is_err());
    Document::parse(&format!("{local}\nloopbackIsTrusted: true\n")).unwrap();
}

#[test]
fn trusted_loopback_wants_loopback_listeners() {
    let error = refusal(|text| {
        *text = format!(
            "{}\nloopbackIsTrusted: true\n",
            text.replace("127.0.0.1:2525", "0.0.0.0:2525")
        );
    });
    assert!(
        error.contains("listeners[0].address: must be a loopback address"),
        "{error}"
    );
}

#[test]
fn tls_wants_a_certificate_and_a_certificate_wants_tls() {
    let error = replaced("tls: Disabled", "tls: Required");
    assert!(
        error.contains("listeners[0].certificate: must be given exactly when"),
        "{error}"
    );
}

#[test]
fn a_target_must_exist_and_no_upstream_is_called_none() {
    assert!(replaced("upstream: isp", "upstream: other").contains("routes[0].targets[0].upstream"));
    assert!(replaced("name: isp", "name: none").contains("upstreams[0].name"));
}

#[test]
fn tokens_are_for_somebody_and_of_somebody() {
    let with = |tokens: &str| refusal(|text| text.push_str(tokens));
    assert_eq!(
        with("tokens: { audience: '', issuers: [{ issuer: '', keys: [] }] }\n"),
        "tokens.audience: must not be empty; tokens.issuers[0].issuer: must not be empty"
    );
    let nine = "{ issuer: i, keys: [] }, ".repeat(9);
    assert_eq!(
        with(&format!("tokens: {{ audience: a, issuers: [{nine}] }}\n")),
        "tokens.issuers: must be between 0 and 8, is 9"
    );
}

#[test]
fn shares_add_up_to_the_limit_and_nobody_has_none() {
    let mut document = Document::parse(SMALLEST).unwrap();
    let shares = |document: &Document, total| -> Vec<u32> {
        (0..3)
            .map(|ordinal| document.share(total, ordinal))
            .collect()
    };
    // As from an operator that does not say how many there are.
    assert_eq!(document.share(20, 0), 20);
    document.gateways = Some(3);
    assert_eq!(shares(&document, 20), [7, 7, 6]);
    assert_eq!(shares(&document, 21), [7, 7, 7]);
    assert_eq!(shares(&document, 2), [1, 1, 1]);
    // A draining gateway keeps its share while the document says it is there.
    document.replicas = 0;
    assert_eq!(shares(&document, 20), [7, 7, 6]);
}
