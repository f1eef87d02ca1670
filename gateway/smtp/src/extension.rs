//! What a server offers in its EHLO reply (RFC 5321 §4.1.1.1, §2.2).
//!
//! Keywords are case-insensitive. What this gateway does not use (CHUNKING, LIMITS …) is passed over; a parameter that
//! is not as its RFC says is treated as absent, since the extension is offered all the same.

use crate::reply::Reply;

/// An extension without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// RFC 2920.
    Pipelining,
    /// RFC 6152.
    EightBitMime,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 3207.
    StartTls,
    /// RFC 3461.
    Dsn,
    /// RFC 1870; its parameter is in [`Extensions::size`].
    Size,
}

impl Keyword {
    const ALL: [Self; 6] = [
        Self::Pipelining,
        Self::EightBitMime,
        Self::SmtpUtf8,
        Self::StartTls,
        Self::Dsn,
        Self::Size,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::EightBitMime => "8BITMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::StartTls => "STARTTLS",
            Self::Dsn => "DSN",
            Self::Size => "SIZE",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A SASL mechanism that the client side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login; what Microsoft offers.
    Login,
}

/// What one server offers. The default is a server that answered HELO only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    keywords: u8,
    /// Octets of the largest message, where the server names a fixed limit (RFC 1870 §4: 0 is none).
    pub size: Option<u64>,
    /// The mechanisms offered that we speak, each once.
    pub mechanisms: Vec<Mechanism>,
    /// Every mechanism's name as offered, for people.
    pub mechanism_names: Vec<String>,
}

impl Extensions {
    /// Reads the lines after the first of an EHLO reply.
    pub fn of(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.lines.iter().skip(1) {
            extensions.read(line);
        }
        extensions
    }

    /// Whether an extension is offered.
    pub const fn offers(&self, keyword: Keyword) -> bool {
        self.keywords & keyword.bit() != 0
    }

    fn read(&mut self, line: &str) {
        // `AUTH=PLAIN` is from before RFC 2554 and still sent for old clients.
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        let Some(name) = words.next() else { return };
        if name.eq_ignore_ascii_case("AUTH") {
            words.for_each(|mechanism| self.read_mechanism(mechanism));
            return;
        }
        let Some(keyword) = Keyword::ALL
            .into_iter()
            .find(|keyword| keyword.as_str().eq_ignore_ascii_case(name))
        else {
            return;
        };
        self.keywords |= keyword.bit();
        if keyword == Keyword::Size {
            let size = words.next().and_then(|size| size.parse().ok());
            self.size = size.filter(|&size| size != 0);
        }
    }

    fn read_mechanism(&mut self, name: &str) {
        let name = name.to_ascii_uppercase();
        if self.mechanism_names.contains(&name) {
            return;
        }
        match name.as_str() {
            "PLAIN" => self.mechanisms.push(Mechanism::Plain),
            "LOGIN" => self.mechanisms.push(Mechanism::Login),
            _ => {}
        }
        self.mechanism_names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Extensions {
        let lines = std::iter::once("mx.example at your service")
            .chain(lines.iter().copied())
            .map(str::to_owned)
            .collect();
        Extensions::of(&Reply {
            code: 250,
            enhanced: None,
            lines,
        })
    }

    #[test]
    fn keywords_are_case_insensitive() {
        let extensions = of(&[
            "pipelining",
            "SIZE 157286400",
            "8bitmime",
            "SmtpUtf8",
            "StartTLS",
            "DSN",
            "CHUNKING",
            "LIMITS RCPTMAX=100",
            "AUTH login XOAUTH2",
            "AUTH=LOGIN PLAIN",
        ]);
        for keyword in Keyword::ALL {
            assert!(extensions.offers(keyword), "{keyword:?}");
        }
        assert_eq!(extensions.size, Some(157_286_400));
        assert_eq!(extensions.mechanisms, [Mechanism::Login, Mechanism::Plain]);
        assert_eq!(extensions.mechanism_names, ["LOGIN", "XOAUTH2", "PLAIN"]);
    }

    #[test]
    fn the_first_line_is_no_keyword_and_a_bad_size_is_none() {
        let reply = Reply::new(250, None, "PIPELINING");
        assert_eq!(Extensions::of(&reply), Extensions::default());
        for line in ["SIZE", "SIZE 0", "SIZE lots", "SIZE 99999999999999999999"] {
            let extensions = of(&[line]);
            assert!(extensions.offers(Keyword::Size));
            assert_eq!(extensions.size, None, "{line}");
        }
        assert!(!of(&["X-PIPELINING", ""]).offers(Keyword::Pipelining));
    }
}
