//! Lines and raw octets over TCP, and over TLS from any moment on; the bottom of both the client and the provider.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

/// No single read takes longer on a working system; a test that hangs is worse than one that fails.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Octets that are kept of what was read, for all connections that share the record.
const RECORDED: usize = 1 << 20;

/// What was read from sockets, as it was on the wire.
pub type Octets = Arc<Mutex<Vec<u8>>>;

/// A socket; what is read from it may be recorded.
struct Tapped {
    socket: TcpStream,
    record: Option<Octets>,
}

impl Read for Tapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        if let Some(record) = &self.record {
            let mut record = record.lock().unwrap();
            let room = RECORDED.saturating_sub(record.len()).min(count);
            record.extend_from_slice(&buffer[..room]);
        }
        Ok(count)
    }
}

impl Write for Tapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

trait Transport: Read + Write + Send {}
impl<T: Read + Write + Send> Transport for T {}

/// A connection.
pub struct Wire {
    socket: TcpStream,
    stream: BufReader<Box<dyn Transport>>,
    secure: bool,
    record: Option<Octets>,
}

impl Wire {
    /// Over a socket, in clear.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        Self::over(socket, None)
    }

    /// As `new`, keeping what comes.
    pub fn recorded(socket: TcpStream, record: Octets) -> io::Result<Self> {
        Self::over(socket, Some(record))
    }

    fn over(socket: TcpStream, record: Option<Octets>) -> io::Result<Self> {
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        socket.set_nodelay(true)?;
        let tapped = Tapped {
            socket: socket.try_clone()?,
            record: record.clone(),
        };
        let stream: Box<dyn Transport> = Box::new(tapped);
        Ok(Self {
            socket,
            stream: BufReader::new(stream),
            secure: false,
            record,
        })
    }

    /// Whether TLS is on.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Starts TLS as the server.
    pub fn accept_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let tapped = Tapped {
            socket: self.socket.try_clone()?,
            record: self.record.clone(),
        };
        let mut stream = StreamOwned::new(connection, tapped);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = BufReader::new(Box::new(stream));
        self.secure = true;
        Ok(())
    }

    /// Starts TLS as the client, verifying `name`.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, self.socket.try_clone()?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = BufReader::new(Box::new(stream));
        self.secure = true;
        Ok(())
    }

    /// One line with whatever ended it; empty at the end of the stream.
    pub fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// Writes and flushes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Ends the connection without a word.
    pub fn close(&self) {
        // A peer that is gone already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
