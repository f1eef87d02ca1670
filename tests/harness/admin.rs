//! Reads a gateway's admin port: probes, status, metrics; and the status port of one in a pod.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use posthouse_config::{Status, credential::Key, link};
use rustls::{ClientConnection, StreamOwned};

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
    ask(&mut open(address)?, path)
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn ask(stream: &mut (impl Read + Write), path: &str) -> io::Result<Answer> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
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

/// The same over the link, as the operator reads it, by whoever has the link key.
pub fn status_over_link(address: SocketAddr, key: &Key) -> io::Result<Status> {
    let config = link::client(key).map_err(io::Error::other)?;
    let connection =
        ClientConnection::new(config, link::server_name()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, open(address)?);
    serde_json::from_str(&ask(&mut stream, "/status")?.body).map_err(io::Error::other)
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
