//! The chart as it is installed: no way leads the operator's ServiceAccount to a Secret that is not its own, and its
//! rights end with the namespaces of relays. Asked of a real API server, in the operator's name.
//!
//! The policy has one name in a cluster, so this cluster is the test's own.

use std::{process::Command, sync::Arc};

use kube::Error;
use posthouse_tests::{cluster::Cluster, peer, wait};
use serde_json::{Value, json};

const NAMESPACE: &str = "posthouse-system";
const OPERATOR: &str = "system:serviceaccount:posthouse-system:posthouse-operator";
const POLICY: &str = "ValidatingAdmissionPolicy 'posthouse-secret-fence'";

/// The value that nobody may see, and as the API writes it.
const VALUE: &str = "topsecret";
const ENCODED: &str = "dG9wc2VjcmV0";

/// A cluster with the chart in it.
struct Installed(Arc<Cluster>);

impl Installed {
    /// `None` after saying what is skipped.
    fn new() -> Option<Self> {
        let cluster = Cluster::start()?;
        cluster.program("helm")?;
        let installed = Self(cluster);
        for namespace in [NAMESPACE, "mail", "shop"] {
            installed.kubectl(&["create", "namespace", namespace]);
        }
        installed.apply("relayNamespaces={mail,shop}");
        Some(installed)
    }

    /// `helm template | kubectl apply`.
    fn apply(&self, value: &str) -> String {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/posthouse");
        let mut template = Command::new(self.0.program("helm").unwrap());
        template.args(["template", "posthouse", chart, "--namespace", NAMESPACE]);
        let rendered = template.args(["--set", value]).output().unwrap();
        assert!(rendered.status.success(), "{rendered:?}");
        peer::run(
            &mut self.0.kubectl(&["apply", "--filename", "-"]),
            &rendered.stdout,
        )
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        peer::run(&mut self.0.kubectl(arguments), b"")
    }

    /// Whether somebody may do something, as `kubectl auth can-i` takes it.
    fn may(&self, who: &str, arguments: &[&str]) -> bool {
        let command = [&["auth", "can-i", "--as", who], arguments].concat();
        let (output, said) = peer::attempt(&mut self.0.kubectl(&command), b"");
        match said.trim() {
            "yes" => true,
            said => {
                assert!(said.ends_with("no") && !output.status.success(), "{said}");
                false
            }
        }
    }

    /// A request in the operator's name: the code, and what is said.
    fn ask(&self, method: &str, path: &str, content: &str, body: &Value) -> (u16, String) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{path}"))
            .header("Impersonate-User", OPERATOR)
            .header("Impersonate-Group", "system:serviceaccounts")
            .header("Impersonate-Group", "system:authenticated")
            .header("Content-Type", content)
            .body(body)
            .unwrap();
        match self.0.run(self.0.client().request_text(request)) {
            Ok(text) => (200, text),
            Err(Error::Api(status)) => (status.code, status.message),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Waits until the API server has taken up the policy: that is what the operator waits for, too.
    fn until_fenced(&self) {
        wait::until_true("the policy is in force", || {
            let path = format!("{NAMESPACE}/secrets?dryRun=All");
            let (_, said) = self.ask("POST", &path, JSON, &secret("proof", "Opaque", Some("u")));
            said.contains(POLICY)
        });
    }
}

const JSON: &str = "application/json";

fn secret(name: &str, kind: &str, owner: Option<&str>) -> Value {
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": { "name": name }, "stringData": { "x": "other" },
    });
    if let Some(owner) = owner {
        secret["metadata"]["labels"] = json!({ "posthouse.dev/owner": owner });
    }
    secret
}

/// Secrets that are not the operator's, each for another reason: its type, its label, both.
const FOREIGN: [(&str, &str, Option<&str>); 3] = [
    ("foreign", "Opaque", None),
    ("labelled", "Opaque", Some("u")),
    ("unlabelled", "servicebinding.io/smtp", None),
];

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one flat table of calls that must be refused"
)]
fn and_no_way_leads_to_another() {
    let Some(installed) = Installed::new() else {
        return;
    };
    installed.until_fenced();
    for (name, kind, owner) in FOREIGN {
        let mut theirs = secret(name, kind, owner);
        theirs["stringData"]["x"] = VALUE.into();
        let mut create = installed
            .0
            .kubectl(&["create", "--namespace", "shop", "--filename", "-"]);
        peer::run(&mut create, theirs.to_string().as_bytes());
    }
    let before = installed.kubectl(&["get", "secrets", "--namespace", "shop", "--output", "yaml"]);
    assert!(before.contains(ENCODED), "{before}");

    let null = Value::Null;
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let copy = json!([{ "op": "copy", "from": "/data/x", "path": "/metadata/labels" }]);
    let own = |name| secret(name, "servicebinding.io/smtp", Some("u"));
    let token = {
        let mut token = secret("token", "kubernetes.io/service-account-token", Some("u"));
        token["metadata"]["annotations"] =
            json!({ "kubernetes.io/service-account.name": "default" });
        token
    };
    let refused = [
        // Reading.
        (403, "GET", "shop/secrets/foreign", JSON, &null),
        (403, "GET", "shop/secrets", JSON, &null),
        (
            403,
            "GET",
            "shop/secrets?watch=true&timeoutSeconds=1",
            JSON,
            &null,
        ),
        // A patch is applied before admission, and its answers show the object.
        (
            403,
            "PATCH",
            "shop/secrets/foreign",
            "application/json-patch+json",
            &copy,
        ),
        (
            403,
            "PATCH",
            "shop/secrets/foreign",
            "application/merge-patch+json",
            &label,
        ),
        (
            403,
            "PATCH",
            "shop/secrets/foreign",
            "application/strategic-merge-patch+json",
            &label,
        ),
        (
            403,
            "PATCH",
            "shop/secrets/foreign?fieldManager=posthouse-operator&force=true",
            "application/apply-patch+yaml",
            &own("foreign"),
        ),
        // Overwriting, as what it is and as one of ours.
        (
            422,
            "PUT",
            "shop/secrets/foreign",
            JSON,
            &secret("foreign", "Opaque", Some("u")),
        ),
        (422, "PUT", "shop/secrets/foreign", JSON, &own("foreign")),
        (
            422,
            "PUT",
            "shop/secrets/foreign?dryRun=All",
            JSON,
            &secret("foreign", "Opaque", None),
        ),
        (
            422,
            "PUT",
            "shop/secrets/labelled",
            JSON,
            &secret("labelled", "Opaque", Some("u")),
        ),
        (
            422,
            "PUT",
            "shop/secrets/unlabelled",
            JSON,
            &own("unlabelled"),
        ),
        // Deleting, one and all.
        (422, "DELETE", "shop/secrets/foreign", JSON, &null),
        (422, "DELETE", "shop/secrets/labelled", JSON, &null),
        (422, "DELETE", "shop/secrets/unlabelled", JSON, &null),
        (403, "DELETE", "shop/secrets", JSON, &null),
        // Making what is not ours, above all what mints a token.
        (
            422,
            "POST",
            "shop/secrets",
            JSON,
            &secret("new", "Opaque", Some("u")),
        ),
        (
            422,
            "POST",
            "shop/secrets?dryRun=All",
            JSON,
            &secret("new", "Opaque", Some("u")),
        ),
        (422, "POST", "shop/secrets", JSON, &token),
        // In its own namespace the same holds.
        (
            422,
            "POST",
            "posthouse-system/secrets",
            JSON,
            &secret("new", "Opaque", Some("u")),
        ),
        (403, "GET", "posthouse-system/secrets/another", JSON, &null),
    ];
    for (code, method, path, content, body) in refused {
        let (answer, said) = installed.ask(method, path, content, body);
        assert_eq!(answer, code, "{method} {path}: {said}");
        assert!(
            !said.contains(VALUE) && !said.contains(ENCODED),
            "{method} {path} shows the value: {said}"
        );
    }
    let after = installed.kubectl(&["get", "secrets", "--namespace", "shop", "--output", "yaml"]);
    assert_eq!(before, after);
}

#[test]
fn and_its_own_it_keeps() {
    let Some(installed) = Installed::new() else {
        return;
    };
    installed.until_fenced();
    let mine = |owner| secret("mine", "servicebinding.io/smtp", owner);
    let null = Value::Null;
    for (code, method, path, body) in [
        (200, "POST", "shop/secrets", &mine(Some("u"))),
        (200, "PUT", "shop/secrets/mine", &mine(Some("u"))),
        // Whose it is cannot be changed, nor forgotten.
        (422, "PUT", "shop/secrets/mine", &mine(Some("v"))),
        (422, "PUT", "shop/secrets/mine", &mine(None)),
        (200, "DELETE", "shop/secrets/mine", &null),
        (
            200,
            "POST",
            "posthouse-system/secrets",
            &secret("posthouse-keys", "posthouse.dev/key", Some("u")),
        ),
        (200, "GET", "posthouse-system/secrets/posthouse-keys", &null),
    ] {
        let (answer, said) = installed.ask(method, path, JSON, body);
        let is_success = code == 200 && answer / 100 == 2;
        assert!(
            is_success || answer == code,
            "{method} {path}: {answer} {said}"
        );
    }
}

#[test]
fn and_works_where_relays_are() {
    let Some(installed) = Installed::new() else {
        return;
    };
    let may_make = |namespace| {
        installed.may(
            OPERATOR,
            &["create", "statefulsets.apps", "--namespace", namespace],
        )
    };
    assert!(may_make("mail") && may_make("shop") && !may_make("default") && !may_make(NAMESPACE));
    // Another rendering over the first one: a namespace more, an operator less.
    let said = installed.apply("relayNamespaces={mail,default},replicas=1");
    assert!(
        said.contains("deployment.apps/posthouse-operator configured"),
        "{said}"
    );
    wait::until_true("the new namespace is served", || may_make("default"));

    let dev = "system:serviceaccount:shop:dev";
    let bind = |role: &str| {
        installed.kubectl(&[
            "create",
            "rolebinding",
            role,
            "--clusterrole",
            role,
            "--user",
            dev,
            "--namespace",
            "shop",
        ]);
    };
    let may = |what: &[&str]| installed.may(dev, &[what, &["--namespace", "shop"]].concat());
    bind("edit");
    wait::until_true("who edits may ask", || {
        may(&["create", "mailsenders.posthouse.dev"])
    });
    assert!(!may(&["create", "mailrelays.posthouse.dev"]));
    assert!(!may(&[
        "patch",
        "mailsenders.posthouse.dev",
        "--subresource",
        "status"
    ]));
    bind("admin");
    wait::until_true("who administers may write relays", || {
        may(&["create", "mailrelays.posthouse.dev"])
    });
}
