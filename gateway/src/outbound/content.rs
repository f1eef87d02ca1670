//! The octets of a message as they are relayed: stored content with its edits applied, folded and stuffed.
//!
//! Small content becomes one buffer, so that it is one write together with its final dot. Large content is read from
//! its file piece by piece; the final dot goes with the last piece, and only if what was read is what was stored:
//! without it no server takes what it has seen so far.

use std::{ops::Range, path::Path};

use posthouse_config::document::{Document, LongLines};
use posthouse_smtp::fold::{ContentWriter, Lines, MAXIMUM_LINE};
use tokio::io::AsyncReadExt;

use crate::mail::{Content, Edits, Message};

/// Octets read from a content file at a time: a few system calls for a mebibyte, and little memory per connection.
const PIECE: usize = 128 << 10;

/// Whether lines of a message are folded.
pub(crate) fn lines(message: &Message, document: &Document) -> Lines {
    let passes = document
        .listeners
        .iter()
        .find(|listener| *listener.name == *message.listener)
        .is_some_and(|listener| listener.long_lines == LongLines::Pass);
    let is_long = usize::try_from(message.facts.longest_line).unwrap_or(usize::MAX) > MAXIMUM_LINE;
    if is_long && !passes && !message.facts.signed {
        Lines::Folded
    } else {
        Lines::AsTheyAre
    }
}

/// Why stored content could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The disk did not give it.
    #[error("the stored content cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is not what was stored.
    #[error("the stored content is damaged: its checksum is wrong")]
    Damaged,
}

/// The content of one message on its way out.
pub(crate) struct Outgoing<'a> {
    edits: &'a Edits,
    source: Source<'a>,
    writer: Option<ContentWriter>,
    /// Octets of stored content taken so far.
    position: u64,
}

enum Source<'a> {
    Inline(&'a [u8]),
    File(Box<Reader>),
}

/// A content file that is being read.
struct Reader {
    file: tokio::fs::File,
    piece: Vec<u8>,
    /// Of all pieces so far.
    crc: u32,
    /// What was stored.
    stored: (u64, u32),
}

impl Reader {
    async fn open(path: &Path, length: u64, crc: u32) -> Result<Self, Unreadable> {
        Ok(Self {
            file: tokio::fs::File::open(path).await?,
            piece: Vec::with_capacity(PIECE),
            crc: 0,
            stored: (length, crc),
        })
    }

    /// The next piece, and whether it is the last; `position` is where it begins.
    async fn next(&mut self, position: u64) -> Result<(&[u8], bool), Unreadable> {
        self.piece.clear();
        let mut rest = (&mut self.file).take(PIECE as u64);
        rest.read_to_end(&mut self.piece).await?;
        self.crc = crc32c::crc32c_append(self.crc, &self.piece);
        let is_last = self.piece.len() < PIECE;
        if is_last && (position + self.piece.len() as u64, self.crc) != self.stored {
            return Err(Unreadable::Damaged);
        }
        Ok((&self.piece, is_last))
    }
}

impl<'a> Outgoing<'a> {
    /// Opens content.
    pub(crate) async fn open(
        content: &'a Content,
        edits: &'a Edits,
        writer: ContentWriter,
    ) -> Result<Self, Unreadable> {
        let source = match content {
            Content::Inline(octets) => Source::Inline(octets),
            Content::File { path, length, crc } => {
                Source::File(Box::new(Reader::open(path, *length, *crc).await?))
            }
        };
        Ok(Self {
            edits,
            source,
            writer: Some(writer),
            position: 0,
        })
    }

    /// Appends the next part to `out`; `false` after the last one, which ends with the final dot.
    ///
    /// # Errors
    /// What was appended is not to be sent.
    pub(crate) async fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Unreadable> {
        let Some(mut writer) = self.writer.take() else {
            return Ok(false);
        };
        if self.position == 0 {
            writer.write(&self.edits.prepend, out);
        }
        let (piece, is_last): (&[u8], bool) = match &mut self.source {
            Source::Inline(octets) => (std::mem::take(octets), true),
            Source::File(reader) => reader.next(self.position).await?,
        };
        let start = self.position;
        self.position += piece.len() as u64;
        for part in kept(piece, start, &self.edits.remove) {
            writer.write(part, out);
        }
        if is_last {
            writer.finish(out);
        } else {
            self.writer = Some(writer);
        }
        Ok(!is_last)
    }
}

/// The parts of a piece that are not cut out; `start` is the piece's offset in the stored content.
fn kept<'p>(
    piece: &'p [u8],
    start: u64,
    remove: &'p [Range<u32>],
) -> impl Iterator<Item = &'p [u8]> {
    let within = move |offset: u64| {
        usize::try_from(offset.saturating_sub(start))
            .unwrap_or(usize::MAX)
            .min(piece.len())
    };
    let mut from = 0;
    remove
        .iter()
        .map(move |range| within(range.start.into())..within(range.end.into()))
        .chain(std::iter::once(piece.len()..piece.len()))
        .map(move |cut| {
            let part = piece.get(from..cut.start).unwrap_or_default();
            from = cut.end.max(from);
            part
        })
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn written(content: &Content, edits: &Edits) -> Vec<u8> {
        let writer = ContentWriter::new(Lines::AsTheyAre);
        let mut outgoing = Outgoing::open(content, edits, writer).await.unwrap();
        let mut out = Vec::new();
        while outgoing.next(&mut out).await.unwrap() {}
        assert!(!outgoing.next(&mut out).await.unwrap());
        out
    }

    fn edits() -> Edits {
        Edits {
            prepend: b"Received: x\r\n".to_vec(),
            remove: vec![0..8, 16..24],
        }
    }

    #[tokio::test]
    async fn edits_are_applied() {
        let stored = b"Bcc: a\r\nFrom: b\r\nBcc: c\r\n\r\n.\r\n";
        let edits = Edits {
            prepend: b"Received: x\r\n".to_vec(),
            remove: vec![0..8, 17..25],
        };
        assert_eq!(
            written(&Content::Inline(stored.to_vec().into()), &edits).await,
            b"Received: x\r\nFrom: b\r\n\r\n..\r\n.\r\n"
        );
        assert_eq!(
            written(&Content::Inline(bytes::Bytes::new()), &Edits::default()).await,
            b".\r\n"
        );
    }

    #[test]
    fn ranges_are_cut_wherever_pieces_end() {
        let stored: Vec<u8> = (0..40).collect();
        let whole: Vec<u8> = kept(&stored, 0, &edits().remove)
            .flatten()
            .copied()
            .collect();
        let expected: Vec<u8> = (8..16).chain(24..40).collect();
        assert_eq!(whole, expected);
        for size in 1..40 {
            let pieces: Vec<u8> = stored
                .chunks(size)
                .enumerate()
                .flat_map(|(i, piece)| {
                    kept(piece, (i * size) as u64, &edits().remove)
                        .flatten()
                        .copied()
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(pieces, expected, "{size}");
        }
    }

    /// What would end with a dot would be taken for the message.
    #[tokio::test]
    async fn damaged_content_never_comes_to_its_final_dot() {
        for length in [10, PIECE, PIECE + 1, 3 * PIECE] {
            let stored = b"0123456789abc\r\n".repeat(length / 15 + 1);
            let changed = |change: &dyn Fn(&mut Vec<u8>)| {
                let mut octets = stored.clone();
                change(&mut octets);
                octets
            };
            for octets in [
                changed(&|octets| octets[3] ^= 1),
                changed(&|octets| *octets.last_mut().unwrap() ^= 128),
                changed(&|octets| octets.truncate(octets.len() / 2)),
                changed(&|octets| octets.extend(b"more")),
            ] {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&octets).unwrap();
                let content = Content::File {
                    path: file.path().into(),
                    length: stored.len() as u64,
                    crc: crc32c::crc32c(&stored),
                };
                let edits = Edits::default();
                let writer = ContentWriter::new(Lines::AsTheyAre);
                let mut outgoing = Outgoing::open(&content, &edits, writer).await.unwrap();
                let mut out = Vec::new();
                let end = loop {
                    match outgoing.next(&mut out).await {
                        Ok(true) => {}
                        end => break end,
                    }
                };
                assert!(matches!(end, Err(Unreadable::Damaged)), "{length}: {end:?}");
                assert!(!out.ends_with(b"\r\n.\r\n"));
            }
        }
    }

    #[tokio::test]
    async fn a_file_gives_the_same_octets_as_memory() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let stored: Vec<u8> = b"0123456789abc\r\n.\r\n"
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&stored).unwrap();
            let from_file = Content::File {
                path: file.path().into(),
                length: length as u64,
                crc: crc32c::crc32c(&stored),
            };
            let from_memory = Content::Inline(stored.into());
            assert_eq!(
                written(&from_file, &edits()).await,
                written(&from_memory, &edits()).await,
                "{length}"
            );
        }
    }
}
