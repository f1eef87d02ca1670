//! No way leads the operator's ServiceAccount to a Secret that is not its own, whatever its process would ask for; and
//! its own it can keep. Asked of a real API server, in the operator's name.

use posthouse_tests::{
    Installation,
    operator::{ask, wait_for_fence},
    wait,
};
use serde_json::{Value, json};

/// The value that nobody may see, and as the API writes it.
const VALUE: &str = "topsecret";
const ENCODED: &str = "dG9wc2VjcmV0";

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
fn of_any_kind() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    wait_for_fence(&cluster, true);
    let shop = cluster.namespace();
    for (name, kind, owner) in FOREIGN {
        let mut theirs = secret(name, kind, owner);
        theirs["stringData"]["x"] = VALUE.into();
        shop.kubectl(&["create", "--filename", "-"], &theirs.to_string());
    }
    let all = ["get", "secrets", "--output", "yaml"];
    let before = shop.kubectl(&all, "");
    assert!(before.contains(ENCODED), "{before}");

    let null = Value::Null;
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let copy = json!([{ "op": "copy", "from": "/data/x", "path": "/metadata/labels" }]);
    let test = json!([{ "op": "test", "path": "/data/x", "value": ENCODED }]);
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
            "shop/secrets/foreign?dryRun=All",
            "application/json-patch+json",
            &test,
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
        let path = path.replace("shop", shop.name());
        let (answer, said) = ask(&cluster, method, &path, content, body);
        assert_eq!(answer, code, "{method} {path}: {said}");
        assert!(
            !said.contains(VALUE) && !said.contains(ENCODED),
            "{method} {path} shows the value: {said}"
        );
    }
    assert_eq!(before, shop.kubectl(&all, ""));
}

#[test]
fn but_keeps_its_own() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    wait_for_fence(&cluster, true);
    let shop = cluster.namespace();
    // Its first leader makes it.
    wait::until_true("the installation has keys", || {
        let path = "posthouse-system/secrets/posthouse-keys";
        ask(&cluster, "GET", path, JSON, &Value::Null).0 == 200
    });
    let mine = |owner| secret("mine", "servicebinding.io/smtp", owner);
    let keys = secret("posthouse-keys", "posthouse.dev/key", Some("u"));
    let null = Value::Null;
    for (code, method, path, body) in [
        (200, "POST", "shop/secrets", &mine(Some("u"))),
        (200, "PUT", "shop/secrets/mine", &mine(Some("u"))),
        // Whose it is cannot be changed, nor forgotten.
        (422, "PUT", "shop/secrets/mine", &mine(Some("v"))),
        (422, "PUT", "shop/secrets/mine", &mine(None)),
        (200, "DELETE", "shop/secrets/mine", &null),
        // The installation's keys it reads, and cannot change: nobody could compute them again.
        (200, "GET", "posthouse-system/secrets/posthouse-keys", &null),
        (422, "PUT", "posthouse-system/secrets/posthouse-keys", &keys),
        (
            422,
            "DELETE",
            "posthouse-system/secrets/posthouse-keys",
            &null,
        ),
    ] {
        let path = path.replace("shop", shop.name());
        let (answer, said) = ask(&cluster, method, &path, JSON, body);
        assert_eq!(answer, code, "{method} {path}: {said}");
    }
}
