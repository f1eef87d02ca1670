//! The addresses of a `From:` or `Sender:` field (RFC 5322 §3.4, §3.6.2; RFC 6532 for UTF-8, RFC 6854 for groups).
//!
//! This parser is the boundary between tenants: who may send as whom is asked of the addresses it finds. So it takes
//! only what every reader must understand in the same way. Obsolete forms (RFC 5322 §4: routes, empty list elements,
//! white space around the dots of an address, control characters) are refused; the one exception is a dot in a display
//! name, as in `John Q. Public <a@b.example>`, which is everywhere and cannot be misread. The grammar allows more than
//! real readers understand: the marks of an address inside a quoted local part or a comment are refused too.

mod cursor;

use cursor::Cursor;

use crate::Mailbox;

/// Addresses of one field.
pub const MAXIMUM_ADDRESSES: usize = 10;

/// Octets of a mailbox, as in a path (RFC 5321 §4.5.3.1.3), with room for long local parts.
const MAXIMUM_ADDRESS: usize = 512;

/// Why a field does not hold an address list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// Not UTF-8.
    #[error("the field is not UTF-8")]
    NotUtf8,
    /// A control character, or a line break that folds nothing.
    #[error("the field holds a control character")]
    Control,
    /// Not the grammar of an address list.
    #[error("the field is not a list of addresses")]
    Syntax,
    /// Something between brackets that is no address.
    #[error("the field holds an address that is not valid")]
    Address,
    /// No address at all.
    #[error("the field holds no address")]
    Empty,
    /// More than [`MAXIMUM_ADDRESSES`].
    #[error("the field holds more than {MAXIMUM_ADDRESSES} addresses")]
    TooMany,
}

/// The 1–10 addresses of a field's body: what follows the colon, folded or not.
pub fn parse(body: &[u8]) -> Result<Vec<Mailbox>, AddressListError> {
    let body = std::str::from_utf8(body).map_err(|_| AddressListError::NotUtf8)?;
    let body = body.strip_suffix("\r\n").unwrap_or(body);
    let mut list = List {
        cursor: Cursor::new(body),
        addresses: Vec::new(),
    };
    list.cursor.blank()?;
    if list.cursor.is_at_end() {
        return Err(AddressListError::Empty);
    }
    list.elements(None)?;
    if list.addresses.is_empty() {
        return Err(AddressListError::Empty);
    }
    Ok(list.addresses)
}

struct List<'a> {
    cursor: Cursor<'a>,
    addresses: Vec<Mailbox>,
}

/// The group a list stands in: groups do not nest (RFC 5322 §3.4).
#[derive(Clone, Copy, PartialEq, Eq)]
struct InGroup;

impl List<'_> {
    /// `address *("," address)` up to the end, or in a group `mailbox *("," mailbox)` up to its semicolon.
    fn elements(&mut self, group: Option<InGroup>) -> Result<(), AddressListError> {
        loop {
            self.element(group)?;
            self.cursor.blank()?;
            if self.cursor.take(',') {
                continue;
            }
            let ended = match group {
                Some(InGroup) => self.cursor.take(';'),
                None => self.cursor.is_at_end(),
            };
            return if ended {
                Ok(())
            } else {
                Err(AddressListError::Syntax)
            };
        }
    }

    /// `addr-spec`, `[display-name] <addr-spec>`, or `display-name: …;`.
    fn element(&mut self, group: Option<InGroup>) -> Result<(), AddressListError> {
        self.cursor.blank()?;
        let words = self.phrase()?;
        match self.cursor.peek() {
            Some('<') => self.angle_address(),
            Some('@') => self.address_from(words),
            Some(':') if group.is_none() && words.count > 0 => {
                self.cursor.take(':');
                self.group()
            }
            _ => Err(AddressListError::Syntax),
        }
    }

    fn group(&mut self) -> Result<(), AddressListError> {
        self.cursor.blank()?;
        if self.cursor.take(';') {
            return Ok(());
        }
        self.elements(Some(InGroup))
    }

    fn angle_address(&mut self) -> Result<(), AddressListError> {
        self.cursor.take('<');
        self.cursor.blank()?;
        let words = self.phrase()?;
        self.address_from(words)?;
        self.cursor.blank()?;
        if self.cursor.take('>') {
            Ok(())
        } else {
            Err(AddressListError::Address)
        }
    }

    /// `@domain` after what must have been a local part.
    fn address_from(&mut self, words: Words) -> Result<(), AddressListError> {
        let Some(local) = words.local_part else {
            return Err(AddressListError::Address);
        };
        if !self.cursor.take('@') {
            return Err(AddressListError::Address);
        }
        self.cursor.blank()?;
        let domain = self.cursor.domain()?;
        // Readers that split a field at these marks before they look for quotes find another address in
        // `"ceo@bank.example x"@shop.example` (CVE-2025-13033).
        if local.starts_with('"') && local.contains(cursor::is_special) {
            return Err(AddressListError::Address);
        }
        let text = format!("{local}@{domain}");
        // RFC 2047 §5 forbids encoded words in an address, yet some readers decode them there: they would see another
        // address, perhaps with another domain.
        if text.len() > MAXIMUM_ADDRESS || text.contains("=?") {
            return Err(AddressListError::Address);
        }
        if self.addresses.len() >= MAXIMUM_ADDRESSES {
            return Err(AddressListError::TooMany);
        }
        let mailbox = Mailbox::parse(&text).map_err(|_| AddressListError::Address)?;
        self.addresses.push(mailbox);
        Ok(())
    }

    /// Words with blanks between them: a display name, or the one word that is a local part.
    fn phrase(&mut self) -> Result<Words, AddressListError> {
        let mut words = Words::default();
        loop {
            let word = match self.cursor.peek() {
                Some('"') => self.cursor.quoted_string()?,
                Some(c) if cursor::is_atext(c) || c == '.' => self.cursor.dotted_atoms(),
                _ => return Ok(words),
            };
            // Only a single word can be a local part: `a b@c` has none.
            words.local_part = (words.count == 0).then_some(word);
            words.count += 1;
            self.cursor.blank()?;
        }
    }
}

/// What [`List::phrase`] found.
#[derive(Default)]
struct Words {
    count: usize,
    /// The word, if there was exactly one, in the form it has in an address.
    local_part: Option<String>,
}

#[cfg(test)]
mod tests;
