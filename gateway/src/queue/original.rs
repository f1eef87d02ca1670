//! What of an original goes back with a report: read here, since reports are composed without I/O.

use std::io;

use tokio::{fs::File, io::AsyncReadExt};

use crate::{
    dsn::Returned,
    mail::{Content, Message},
};

/// `RET=FULL` is honoured up to here; of larger messages the header section is returned (RFC 3461 §4.3 lets us).
const FULL: u64 = 256 << 10;

/// Of a header section so much is returned, cut at a line's end: enough to recognise the message.
const HEADERS: usize = 32 << 10;

/// What is returned of a message. Content that cannot be read does not stop the report.
pub(crate) async fn returned(message: &Message, content: &Content) -> Returned {
    let full = message.return_full && content.len() <= FULL;
    let length = if full {
        content.len()
    } else {
        u64::from(message.facts.header_length)
    };
    let stored = match octets(content, length).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(queue_id = %message.id, %error, "a report goes without its original: cannot read it");
            Vec::new()
        }
    };
    match Returned::new(message, &stored, full) {
        Returned::Headers(mut octets) => {
            cut(&mut octets);
            Returned::Headers(octets)
        }
        full @ Returned::Full(_) => full,
    }
}

async fn octets(content: &Content, length: u64) -> io::Result<Vec<u8>> {
    match content {
        Content::Inline(bytes) => {
            let length = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            Ok(bytes.slice(..length).to_vec())
        }
        Content::File { path, crc, .. } => {
            let mut octets = Vec::new();
            File::open(path)
                .await?
                .take(length)
                .read_to_end(&mut octets)
                .await?;
            if octets.len() as u64 == content.len() && crc32c::crc32c(&octets) != *crc {
                return Err(io::Error::other("its checksum is wrong"));
            }
            Ok(octets)
        }
    }
}

fn cut(octets: &mut Vec<u8>) {
    if octets.len() > HEADERS {
        octets.truncate(HEADERS);
        let end = memchr::memrchr(b'\n', octets).map_or(0, |at| at + 1);
        octets.truncate(end);
    }
}
