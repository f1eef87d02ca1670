//! Parameters of MAIL and RCPT (RFC 5321 §4.1.1.11): only those of extensions that are offered.
//!
//! `AUTH=` (RFC 4954 §5) is read and ignored: whom a client says it acts for is not evidence, its own login is.

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`, what the client expects to send (RFC 1870); more than a u64 holds is its largest value.
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub utf8: Utf8,
}

/// What `BODY=` says about the content (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// ASCII only.
    SevenBit,
    /// Octets over 127 occur.
    EightBitMime,
}

/// Whether addresses and header fields may hold UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Utf8 {
    /// No `SMTPUTF8` was given.
    #[default]
    Absent,
    /// `SMTPUTF8` was given.
    Given,
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Not `keyword` or `keyword=value` (501).
    #[error("parameters must be a keyword, or a keyword, = and a value")]
    Syntax,
    /// A value its keyword does not take (501).
    #[error("a parameter has a value that is not valid")]
    Value,
    /// The same keyword twice (501).
    #[error("a parameter was given twice")]
    Twice,
    /// A keyword of no extension on offer (555).
    #[error("a parameter is not known here")]
    Unknown,
}

/// One `esmtp-param`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parameter<'a> {
    keyword: &'a str,
    value: Option<&'a str>,
}

impl MailParameters {
    /// Reads what follows the path of MAIL. Spaces around and between are of no meaning.
    pub fn parse(text: &str) -> Result<Self, ParameterError> {
        let mut read = Self::default();
        for parameter in parameters(text)? {
            read.take(parameter)?;
        }
        Ok(read)
    }

    fn take(&mut self, parameter: Parameter<'_>) -> Result<(), ParameterError> {
        let is = |keyword: &str| parameter.keyword.eq_ignore_ascii_case(keyword);
        match parameter.value {
            Some(value) if is("SIZE") => self.size = Some(size(value)?),
            Some(value) if is("BODY") => self.body = Some(body(value)?),
            None if is("SMTPUTF8") => self.utf8 = Utf8::Given,
            Some(_) if is("AUTH") => {}
            _ if ["SIZE", "BODY", "SMTPUTF8", "AUTH"].into_iter().any(is) => {
                return Err(ParameterError::Value);
            }
            _ => return Err(ParameterError::Unknown),
        }
        Ok(())
    }
}

/// Reads what follows the path of RCPT: no extension on offer has a parameter for it.
pub fn recipient_parameters(text: &str) -> Result<(), ParameterError> {
    if parameters(text)?.is_empty() {
        Ok(())
    } else {
        Err(ParameterError::Unknown)
    }
}

/// `size-value = 1*20DIGIT` (RFC 1870 §5).
fn size(value: &str) -> Result<u64, ParameterError> {
    if !(1..=20).contains(&value.len()) || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParameterError::Value);
    }
    // Twenty digits may be more than a u64: too large either way.
    Ok(value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Result<Body, ParameterError> {
    if value.eq_ignore_ascii_case("7BIT") {
        Ok(Body::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Ok(Body::EightBitMime)
    } else {
        Err(ParameterError::Value)
    }
}

fn parameters(text: &str) -> Result<Vec<Parameter<'_>>, ParameterError> {
    let mut read: Vec<Parameter<'_>> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let parameter = parameter(word)?;
        let twice = |other: &Parameter<'_>| other.keyword.eq_ignore_ascii_case(parameter.keyword);
        if read.iter().any(twice) {
            return Err(ParameterError::Twice);
        }
        read.push(parameter);
    }
    Ok(read)
}

fn parameter(word: &str) -> Result<Parameter<'_>, ParameterError> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let keyword_is_valid = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // esmtp-value = 1*(%d33-60 / %d62-126)
    let value_is_valid = value.is_none_or(|value| {
        !value.is_empty() && value.bytes().all(|b| matches!(b, 33..=60 | 62..=126))
    });
    if keyword_is_valid && value_is_valid {
        Ok(Parameter { keyword, value })
    } else {
        Err(ParameterError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_on_offer_are_read() {
        let read = MailParameters::parse(" size=123  BODY=8bitmime SMTPUTF8 AUTH=<> ").unwrap();
        assert_eq!(read.size, Some(123));
        assert_eq!(read.body, Some(Body::EightBitMime));
        assert_eq!(read.utf8, Utf8::Given);
        assert_eq!(MailParameters::parse(""), Ok(MailParameters::default()));
        assert_eq!(
            MailParameters::parse("SIZE=99999999999999999999")
                .unwrap()
                .size,
            Some(u64::MAX)
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, expected) in [
            ("SIZE", ParameterError::Value),
            ("SIZE=", ParameterError::Syntax),
            ("SIZE=-1", ParameterError::Value),
            ("SIZE=1x", ParameterError::Value),
            ("SIZE=999999999999999999999", ParameterError::Value),
            ("SIZE=1 size=2", ParameterError::Twice),
            ("BODY=BINARYMIME", ParameterError::Value),
            ("SMTPUTF8=yes", ParameterError::Value),
            ("AUTH", ParameterError::Value),
            ("RET=FULL", ParameterError::Unknown),
            ("ENVID=x", ParameterError::Unknown),
            ("X=a=b", ParameterError::Syntax),
            ("=1", ParameterError::Syntax),
            ("-A=1", ParameterError::Syntax),
            ("bücher", ParameterError::Syntax),
        ] {
            assert_eq!(MailParameters::parse(text), Err(expected), "{text}");
        }
        assert_eq!(recipient_parameters("  "), Ok(()));
        for text in ["NOTIFY=NEVER", "ORCPT=rfc822;a@b.example"] {
            assert_eq!(recipient_parameters(text), Err(ParameterError::Unknown));
        }
    }
}
