//! `posthouse-operator render`: children as YAML ([`manifests`]), or with `--local DIR` a gateway's configuration from
//! the same objects a cluster would get.
//!
//! With `--local` the objects given are all there is: exactly one MailRelay, and everything it refers to. Nothing is
//! written unless everything is right.

mod manifests;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use crate::{
    check::{Checked, check},
    command::{self, Environment, Exit, Output},
    input::{Input, Object},
    local::{self, Listen, Written},
    mail_relay::{Audience, ValidRelay, build::Place},
    problem::{Findings, chain},
    report::Report,
};

/// Runs the command.
pub fn run(arguments: &command::Render, environment: &mut Environment<'_>) -> io::Result<Exit> {
    match &arguments.local {
        Some(directory) => write(arguments, directory, environment),
        None => manifests::run(arguments, environment),
    }
}

fn write(
    arguments: &command::Render,
    directory: &Path,
    environment: &mut Environment<'_>,
) -> io::Result<Exit> {
    let input = Input::read(&arguments.files.paths, environment.input.as_mut());
    let mut checked = check(&input, Audience::Local);
    let place = one_relay(&input, &mut checked).and_then(|(object, relay)| {
        addresses(object, &relay, &arguments.listen, &mut checked.report).map(|a| (relay, a))
    });
    checked.report.print(Output::Text, &mut environment.err)?;
    let Some((relay, addresses)) = place.filter(|_| !checked.report.has_errors()) else {
        if arguments.output == Output::Json {
            checked.report.print(Output::Json, &mut environment.out)?;
        }
        return Ok(Exit::Failed);
    };
    let request = local::Request {
        relay: &relay,
        admitted: &checked.admitted,
        input: &input,
        addresses,
        now: environment.now,
    };
    match local::write(&request, directory) {
        Ok(written) => {
            print(&written, arguments.output, &mut environment.out)?;
            Ok(Exit::Done)
        }
        Err(error) => Err(io::Error::other(chain(&error))),
    }
}

/// The one MailRelay; how many there are instead is a problem of the command, not of an object.
fn one_relay<'a>(input: &'a Input, checked: &mut Checked<'a>) -> Option<(&'a Object, ValidRelay)> {
    let given = input.of_kind("MailRelay").count();
    if given == 1 {
        return checked.relays.pop();
    }
    if input.failures.is_empty() {
        checked.report.failure(
            "render --local",
            &format!("takes exactly one MailRelay, {given} were given"),
        );
    }
    None
}

/// The addresses that were asked for, if the relay has such listeners.
fn addresses(
    object: &Object,
    relay: &ValidRelay,
    asked: &[Listen],
    report: &mut Report,
) -> Option<BTreeMap<String, SocketAddr>> {
    let mut findings = Findings::default();
    let mut addresses = BTreeMap::new();
    for Listen { name, address } in asked {
        let is_known = relay
            .listeners
            .iter()
            .any(|listener| listener.name == *name);
        findings.require(
            is_known,
            "spec.listeners",
            format!("--listen: there is no listener {name:?}"),
        );
        findings.require(
            address.ip().is_loopback(),
            "spec.listeners",
            format!("--listen: must be a loopback address, since passwords are taken without TLS from there, is {address}"),
        );
        addresses.insert(name.clone(), *address);
    }
    let place = Place::Local(addresses.clone());
    let mut bound = BTreeMap::new();
    for listener in &relay.listeners {
        let address = place.address(listener);
        if let Some(other) = bound.insert(address, &listener.name) {
            let message = format!(
                "--listen: {other:?} and {:?} must not both bind {address}",
                listener.name
            );
            findings.problem("spec.listeners", message);
        }
    }
    let is_right = findings.problems.is_empty();
    report.add(object, findings);
    is_right.then_some(addresses)
}

fn print(written: &Written, output: Output, out: &mut dyn Write) -> io::Result<()> {
    match output {
        Output::Json => writeln!(out, "{:#}", serde_json::json!(written)),
        Output::Text => {
            writeln!(out, "{} (number {})", written.config, written.number)?;
            for binding in &written.bindings {
                let local::WrittenBinding {
                    directory,
                    username,
                    host,
                    port,
                    tls,
                } = binding;
                writeln!(
                    out,
                    "{directory}: {username} at {host} port {port}, tls {tls}"
                )?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
