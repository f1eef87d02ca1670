//! Tagged fields: tag 1 · length 4 · value. What payloads are made of, at every level.
//!
//! A field that holds its default is left out. Unknown tags below 128 are carried along by whoever copies a record;
//! unknown tags from 128 on change the meaning of what is beside them and must be understood.

/// From this tag on a reader must know a field.
pub(in crate::spool) const MUST_UNDERSTAND: u8 = 128;

/// Why a payload could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::spool) enum FieldError {
    /// Not what this format writes, although the checksum is right.
    #[error("field {0} is malformed")]
    Malformed(u8),
    /// A field that must be understood and is not known: a newer release wrote it.
    #[error("field {0} is of a newer format")]
    Newer(u8),
    /// A field without which the record means nothing.
    #[error("field {0} is missing")]
    Missing(u8),
}

/// Writes a field.
pub(in crate::spool) fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value);
}

/// Writes a field unless it is empty.
pub(in crate::spool) fn put_text(out: &mut Vec<u8>, tag: u8, value: &str) {
    if !value.is_empty() {
        put(out, tag, value.as_bytes());
    }
}

/// Writes a field that may be absent, and may be present and empty.
pub(in crate::spool) fn put_optional(out: &mut Vec<u8>, tag: u8, value: Option<&str>) {
    if let Some(value) = value {
        put(out, tag, value.as_bytes());
    }
}

/// Writes a number unless it is zero.
pub(in crate::spool) fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        // Only as many octets as it needs.
        let bytes = value.to_le_bytes();
        let used = 8 - (value.leading_zeros() / 8) as usize;
        put(out, tag, bytes.get(..used).unwrap_or(&bytes));
    }
}

/// Writes a field that holds fields.
pub(in crate::spool) fn put_nested(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// One field as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) struct Field<'a> {
    pub(in crate::spool) tag: u8,
    pub(in crate::spool) value: &'a [u8],
}

impl Field<'_> {
    /// A number of up to eight octets.
    pub(in crate::spool) fn number(&self) -> Result<u64, FieldError> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..self.value.len())
            .ok_or(FieldError::Malformed(self.tag))?
            .copy_from_slice(self.value);
        Ok(u64::from_le_bytes(bytes))
    }

    /// A number that fits a smaller type.
    pub(in crate::spool) fn small<T: TryFrom<u64>>(&self) -> Result<T, FieldError> {
        T::try_from(self.number()?).map_err(|_| FieldError::Malformed(self.tag))
    }

    pub(in crate::spool) fn text(&self) -> Result<Box<str>, FieldError> {
        std::str::from_utf8(self.value)
            .map(Box::from)
            .map_err(|_| FieldError::Malformed(self.tag))
    }

    /// The answer to a field that the reader does not know.
    pub(in crate::spool) fn unknown(&self) -> Result<(), FieldError> {
        if self.tag >= MUST_UNDERSTAND {
            Err(FieldError::Newer(self.tag))
        } else {
            Ok(())
        }
    }
}

/// The fields of a payload, in order.
#[derive(Clone, Debug)]
pub(in crate::spool) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(in crate::spool) const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, FieldError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let field = rest.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        if let Some((value, rest)) = field {
            self.0 = rest;
            Some(Ok(Field { tag, value }))
        } else {
            self.0 = &[];
            Some(Err(FieldError::Malformed(tag)))
        }
    }
}
