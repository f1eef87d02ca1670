//! The chart applies to a real API server as `helm template | kubectl apply` has it, and gives the operator the rights
//! it needs and not those it must not have.

use k8s_openapi::{
    ByteString,
    api::core::v1::{Pod, Secret},
};
use kube::{
    Api, Client, Config,
    api::{ListParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use posthouse_tests::{Cluster, Installation, wait};

/// A client with the operator's rights.
async fn client(installation: &Installation) -> Client {
    let kubeconfig = Kubeconfig::read_from(installation.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn secret(name: &str, kind: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some([("x".to_owned(), ByteString(b"y".to_vec()))].into()),
        ..Secret::default()
    }
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn secrets_can_be_written_and_not_read() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let namespace = cluster.namespace();
    namespace.apply("{apiVersion: v1, kind: Secret, metadata: {name: of-somebody}, data: {}}");
    let client = cluster.run(client(&installation));
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace.name());
    assert_eq!(code(cluster.run(secrets.get("of-somebody"))), 403);
    assert_eq!(code(cluster.run(secrets.list(&ListParams::default()))), 403);

    // The policy takes a moment to be in force.
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let opaque = secret("fence", "Opaque");
    wait::until_true("a Secret of another type is refused", || {
        code(cluster.run(secrets.create(&dry, &opaque))) == 422
    });
    let ours = secret("ours", "posthouse.dev/relay");
    assert_eq!(code(cluster.run(secrets.create(&dry, &ours))), 200);
    let pods = Api::<Pod>::namespaced(client, namespace.name());
    assert_eq!(code(cluster.run(pods.list(&ListParams::default()))), 200);
}
