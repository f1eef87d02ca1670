//! Lines and raw octets over TCP, and over TLS from any moment on; the bottom of both the client and the provider.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

/// No single read takes longer on a working system; a test that hangs is worse than one that fails.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

trait Transport: Read + Write + Send {}
impl<T: Read + Write + Send> Transport for T {}

/// A connection.
pub struct Wire {
    socket: TcpStream,
    stream: BufReader<Box<dyn Transport>>,
    secure: bool,
}

impl Wire {
    /// Over a socket, in clear.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Transport> = Box::new(socket.try_clone()?);
        Ok(Self {
            socket,
            stream: BufReader::new(stream),
            secure: false,
        })
    }

    /// Whether TLS is on.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Starts TLS as the server.
    pub fn accept_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, self.socket.try_clone()?);
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
