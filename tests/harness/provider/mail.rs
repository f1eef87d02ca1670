//! One message as a provider took it.

/// A transaction that was answered with a 2yz.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Whether it came over TLS.
    pub secure: bool,
    /// Who had authenticated.
    pub user: Option<String>,
    /// The reverse-path.
    pub from: String,
    /// The parameters of MAIL.
    pub parameters: String,
    /// The accepted forward-paths.
    pub recipients: Vec<String>,
    /// The content without dot-stuffing; only the first octets if the script says so.
    pub content: Vec<u8>,
    /// Octets of the content, kept or not.
    pub octets: u64,
}

impl Mail {
    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// The first field of this name, unfolded, without surrounding space.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let end = text.find("\r\n\r\n").unwrap_or(text.len());
        let header = text
            .get(..end)?
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        let mut fields = header.split("\r\n").filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }

    /// Its subject, empty without one.
    pub fn subject(&self) -> String {
        self.field("Subject").unwrap_or_default()
    }

    /// What follows the header section.
    pub fn body(&self) -> &[u8] {
        let at = self.content.windows(4).position(|four| four == b"\r\n\r\n");
        at.map_or(&[][..], |at| &self.content[at + 4..])
    }
}
