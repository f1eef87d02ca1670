//! Reads a gateway's admin port: probes, status, metrics.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use posthouse_config::Status;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One HTTP answer.
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// GETs a path.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        code: code.ok_or(io::ErrorKind::InvalidData)?,
        body: body.to_owned(),
    })
}

/// The gateway's account of itself.
pub fn status(address: SocketAddr) -> io::Result<Status> {
    serde_json::from_str(&get(address, "/status")?.body).map_err(io::Error::other)
}

/// The sum of a metric's series whose labels contain all of `labels`, each as `name="value"`; 0 without any.
pub fn metric(address: SocketAddr, name: &str, labels: &[&str]) -> io::Result<f64> {
    Ok(sum(&get(address, "/metrics")?.body, name, labels))
}

fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            let fits = own == name && labels.iter().all(|label| rest.contains(label));
            fits.then(|| value.parse::<f64>().ok())?
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn series_are_chosen_by_name_and_labels() {
        let text = "# HELP a x\na{b=\"c\",d=\"e\"} 3\na{b=\"c\",d=\"f\"} 4\nab 9\nn 1.5\n";
        assert!((sum(text, "a", &["b=\"c\""]) - 7.0).abs() < f64::EPSILON);
        assert!((sum(text, "a", &["b=\"c\"", "d=\"f\""]) - 4.0).abs() < f64::EPSILON);
        assert!((sum(text, "n", &[]) - 1.5).abs() < f64::EPSILON);
        assert!(sum(text, "missing", &[]).abs() < f64::EPSILON);
    }
}
