//! The gateway's container: its command line, ports, probes and mounts.
//!
//! No `preStop`, since the gateway goes on accepting for a moment after SIGTERM; no `startupProbe`, since it answers
//! before it has read its spool. The spool is the only place it writes to.

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
        ObjectFieldSelector, Probe, SecurityContext, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use posthouse_admin::telemetry::LogFormat;

use super::{
    super::{
        Request,
        place::{FOLDER, HAND_OVER_PORT, METRICS_PORT, SPOOL, STATUS_PORT},
    },
    resources::resources,
    volume,
};
use crate::names;

/// The container's name.
pub const NAME: &str = "gateway";

/// The container.
pub(super) fn container(request: &Request<'_>) -> Container {
    let settings = request.settings;
    Container {
        name: NAME.to_owned(),
        image: Some(settings.gateway_image.clone()),
        image_pull_policy: settings.gateway_pull_policy.clone(),
        args: Some(arguments(settings.gateway_log_format)),
        env: Some(vec![
            variable("ORDINAL", "metadata.labels['apps.kubernetes.io/pod-index']"),
            variable("POD_UID", "metadata.uid"),
        ]),
        ports: Some(ports(request)),
        // A minute: a restart makes a slow disk no faster.
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        resources: Some(resources(request.relay.spec.resources.as_ref())),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount(volume::NAME, FOLDER, true),
            mount(names::SPOOL_VOLUME, SPOOL, false),
        ]),
        ..Container::default()
    }
}

/// `$(…)` is filled in by the kubelet.
fn arguments(format: LogFormat) -> Vec<String> {
    let format = match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let (metrics, status) = (
        format!("[::]:{METRICS_PORT}"),
        format!("[::]:{STATUS_PORT}"),
    );
    let arguments = [
        "run",
        "--config",
        FOLDER,
        "--spool",
        SPOOL,
        "--ordinal",
        "$(ORDINAL)",
        "--admin",
        &metrics,
        "--status",
        &status,
        "--pod-uid",
        "$(POD_UID)",
        "--log-format",
        format,
    ];
    arguments.map(str::to_owned).into()
}

fn variable(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// Listeners' ports have no names: those may have 40 characters, a port's 15.
fn ports(request: &Request<'_>) -> Vec<ContainerPort> {
    let listeners = request.valid.listeners.iter();
    let mut numbers: Vec<_> = listeners
        .map(|listener| (None, listener.container_port()))
        .collect();
    numbers.sort_unstable();
    numbers.extend([
        (Some("handover"), HAND_OVER_PORT),
        (Some("metrics"), METRICS_PORT),
        (Some("status"), STATUS_PORT),
    ]);
    let port = |(name, number): (Option<&str>, u16)| ContainerPort {
        name: name.map(str::to_owned),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    numbers.into_iter().map(port).collect()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(METRICS_PORT)),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mount(name: &str, path: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}
