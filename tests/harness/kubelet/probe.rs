//! Probes: an HTTP GET each second, judged by the thresholds of the pod.
//!
//! The period is a second whatever the pod says, so that tests need not wait for ten; thresholds and time-outs hold.

use std::{net::Ipv4Addr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// What one kind of probe found so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings {
    successes: i32,
    failures: i32,
}

/// The state of one kind of probe of one container.
#[derive(Debug)]
pub(super) struct Watch {
    findings: Findings,
    last: Option<Instant>,
    holds: bool,
}

impl Watch {
    /// Begins anew; `holds` is what counts until the first threshold is reached.
    pub(super) const fn new(holds: bool) -> Self {
        Self {
            findings: Findings {
                successes: 0,
                failures: 0,
            },
            last: None,
            holds,
        }
    }

    /// What was found so far.
    pub(super) const fn holds(&self) -> bool {
        self.holds
    }

    /// Probes if it is time; whether the probe holds, by its thresholds. Without a probe it holds.
    pub(super) async fn ask(
        &mut self,
        probe: Option<&Probe>,
        container: &Container,
        address: Ipv4Addr,
    ) -> bool {
        let Some(probe) = probe else { return true };
        if self.last.is_some_and(|last| last.elapsed() < PERIOD) {
            return self.holds;
        }
        self.last = Some(Instant::now());
        let good = succeeds(probe, container, address).await;
        self.holds = self.findings.add(good, probe).unwrap_or(self.holds);
        self.holds
    }
}

impl Findings {
    /// Counts one probe; a verdict once a threshold is reached.
    fn add(&mut self, good: bool, probe: &Probe) -> Option<bool> {
        if good {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= probe.success_threshold.unwrap_or(1)).then_some(true)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= probe.failure_threshold.unwrap_or(3)).then_some(false)
        }
    }
}

/// Whether a GET is answered with 2xx or 3xx in time. Probes of other kinds do.
async fn succeeds(probe: &Probe, container: &Container, address: Ipv4Addr) -> bool {
    let Some(http) = &probe.http_get else {
        return true;
    };
    let Some(port) = port(&http.port, container) else {
        return false;
    };
    let path = http.path.as_deref().unwrap_or("/");
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).unsigned_abs().into());
    let asked = timeout(limit, code((address, port), path)).await;
    asked.is_ok_and(|code| code.is_ok_and(|code| (200..400).contains(&code)))
}

fn port(given: &IntOrString, container: &Container) -> Option<u16> {
    let number = match given {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let port = ports.find(|port| port.name.as_ref() == Some(name));
            port?.container_port
        }
    };
    u16::try_from(number).ok()
}

async fn code(address: (Ipv4Addr, u16), path: &str) -> std::io::Result<u16> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_decide() {
        let probe = Probe {
            success_threshold: Some(2),
            failure_threshold: Some(3),
            ..Probe::default()
        };
        let mut findings = Findings::default();
        let mut add = |good| findings.add(good, &probe);
        assert_eq!(add(false), None);
        assert_eq!(add(false), None);
        assert_eq!(add(true), None, "failures are counted in a row");
        assert_eq!(add(true), Some(true));
        assert_eq!(add(false), None);
        assert_eq!(add(false), None);
        assert_eq!(add(false), Some(false));
    }
}
