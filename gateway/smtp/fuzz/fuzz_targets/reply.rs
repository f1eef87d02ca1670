//! Replies: any split of the same octets gives the same replies, and what is kept is bounded and safe to show.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_smtp::reply::{
    Reply,
    stream::{KEPT_TEXT, ReplyError, ReplyStream},
};

fuzz_target!(|data: &[u8]| {
    let (cut, octets) = match data.split_first_chunk::<2>() {
        Some((cut, octets)) => (usize::from(u16::from_be_bytes(*cut)), octets),
        None => return,
    };
    let (first, second) = octets.split_at(cut.min(octets.len()));
    let whole = read(&[octets]);
    assert_eq!(whole, read(&[first, second]));
    for reply in whole.iter().flatten() {
        assert!((200..600).contains(&reply.code));
        assert!(!reply.lines.is_empty());
        assert!(reply.lines.iter().map(String::len).sum::<usize>() <= KEPT_TEXT);
        assert!(!reply.to_string().chars().any(char::is_control));
    }
});

fn read(pieces: &[&[u8]]) -> Vec<Result<Reply, ReplyError>> {
    let mut stream = ReplyStream::default();
    let mut replies = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match stream.next(&mut input) {
                Ok(Some(reply)) => replies.push(Ok(reply)),
                Ok(None) => break,
                Err(error) => {
                    replies.push(Err(error));
                    return replies;
                }
            }
        }
    }
    replies
}
