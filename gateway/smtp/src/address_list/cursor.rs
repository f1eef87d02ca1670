//! The lexical tokens of RFC 5322 §3.2: atoms, quoted strings, comments, folding white space, domains.

use super::AddressListError;

/// How deep comments may nest. Nobody writes more than two.
const MAXIMUM_NESTING: usize = 16;

/// Walks a field's body.
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes one character if it is the next.
    pub(super) fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    /// `[CFWS]`: comments and folding white space (RFC 5322 §3.2.2).
    pub(super) fn blank(&mut self) -> Result<(), AddressListError> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => self.white_space()?,
                Some('(') => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// One white-space character, or a line break and the white space that makes it folding. A folded line of nothing
    /// but white space is obsolete (RFC 5322 §4.2), and some readers take it for the end of the header section.
    fn white_space(&mut self) -> Result<(), AddressListError> {
        match self.next() {
            Some(' ' | '\t') => Ok(()),
            Some('\r') if self.take('\n') => {
                let line = self.rest.trim_start_matches([' ', '\t']);
                if line.len() == self.rest.len() || line.is_empty() || line.starts_with('\r') {
                    return Err(AddressListError::Control);
                }
                Ok(())
            }
            _ => Err(AddressListError::Control),
        }
    }

    fn comment(&mut self) -> Result<(), AddressListError> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some('(') => depth += 1,
                Some(')') => depth -= 1,
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.white_space()?;
                    continue;
                }
                Some('\\') => {
                    self.next();
                    comment_character(self.visible_or_blank()?)?;
                    continue;
                }
                Some(c) if c.is_control() => return Err(AddressListError::Control),
                Some(c) => comment_character(c)?,
                None => return Err(AddressListError::Syntax),
            }
            self.next();
            if depth == 0 {
                return Ok(());
            }
            if depth > MAXIMUM_NESTING {
                return Err(AddressListError::Syntax);
            }
        }
    }

    /// The second half of a `quoted-pair`.
    fn visible_or_blank(&mut self) -> Result<char, AddressListError> {
        match self.next() {
            Some(c) if c == '\t' || !c.is_control() => Ok(c),
            Some(_) => Err(AddressListError::Control),
            None => Err(AddressListError::Syntax),
        }
    }

    /// A quoted string, in the form it has in an address: unfolded (RFC 5322 §2.2.3), otherwise as it came.
    pub(super) fn quoted_string(&mut self) -> Result<String, AddressListError> {
        let mut text = String::from('"');
        self.take('"');
        loop {
            match self.peek() {
                Some('"') => {
                    self.next();
                    text.push('"');
                    return Ok(text);
                }
                Some('\\') => {
                    self.next();
                    text.push('\\');
                    text.push(self.visible_or_blank()?);
                }
                Some('\r' | '\n') => self.white_space()?,
                Some('\t') => {
                    self.next();
                    text.push('\t');
                }
                Some(c) if c.is_control() => return Err(AddressListError::Control),
                Some(c) => {
                    self.next();
                    text.push(c);
                }
                None => return Err(AddressListError::Syntax),
            }
        }
    }

    /// Atom characters and dots.
    pub(super) fn dotted_atoms(&mut self) -> String {
        self.run(|c| is_atext(c) || c == '.')
    }

    /// A domain or domain literal, without white space inside.
    pub(super) fn domain(&mut self) -> Result<String, AddressListError> {
        if !self.take('[') {
            return Ok(self.dotted_atoms());
        }
        let literal = self.run(|c| c.is_ascii_graphic() && !matches!(c, '[' | ']' | '\\'));
        if self.take(']') {
            Ok(format!("[{literal}]"))
        } else {
            Err(AddressListError::Address)
        }
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        run.to_owned()
    }
}

/// Readers that do not know comments take an address out of `me(<ceo@bank.example>)@shop.example`.
fn comment_character(c: char) -> Result<(), AddressListError> {
    if matches!(c, '<' | '>' | '@' | ',') {
        return Err(AddressListError::Syntax);
    }
    Ok(())
}

/// A mark that has a meaning around an address: `specials` (RFC 5322 §3.2.3) that a quoted string can hide.
pub(super) const fn is_special(c: char) -> bool {
    matches!(
        c,
        '@' | '<' | '>' | ',' | ';' | ':' | '(' | ')' | '[' | ']' | '\\'
    )
}

/// `atext` (RFC 5322 §3.2.3) with UTF-8 (RFC 6532 §3.2).
pub(super) fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control())
}
