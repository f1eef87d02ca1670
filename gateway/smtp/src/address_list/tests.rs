//! What is an address list, what is none, and what must never be taken for another.

use proptest::prelude::*;

use super::*;

fn addresses(body: &str) -> Result<Vec<String>, AddressListError> {
    let addresses = parse(body.as_bytes())?;
    Ok(addresses.iter().map(ToString::to_string).collect())
}

#[test]
fn addresses_are_found_in_every_form() {
    for (body, expected) in [
        ("a@b.example", vec!["a@b.example"]),
        (" a@b.example\r\n", vec!["a@b.example"]),
        (" <a@b.example>", vec!["a@b.example"]),
        ("Shop <a@b.example>", vec!["a@b.example"]),
        ("\"Doe, Jane\" <a@b.example>", vec!["a@b.example"]),
        ("\"x <evil@e.example>\" <a@b.example>", vec!["a@b.example"]),
        ("\"a\\\"b\" <a@b.example>", vec!["a@b.example"]),
        ("John Q. Public <a@b.example>", vec!["a@b.example"]),
        ("=?utf-8?Q?J=C3=B6rg?= <a@b.example>", vec!["a@b.example"]),
        ("Jörg <jörg@bücher.example>", vec!["jörg@bücher.example"]),
        ("a@b.example (a comment)", vec!["a@b.example"]),
        ("(x(y)) a (\\)) @ (z) b.example", vec!["a@b.example"]),
        (
            "a@b.example, Bob <c@d.example>",
            vec!["a@b.example", "c@d.example"],
        ),
        (
            "Shop\r\n <a@b.example>,\r\n\tc@d.example",
            vec!["a@b.example", "c@d.example"],
        ),
        (
            "Team: a@b.example, C <c@d.example>;",
            vec!["a@b.example", "c@d.example"],
        ),
        (
            "Team: a@b.example;, c@d.example",
            vec!["a@b.example", "c@d.example"],
        ),
        ("Nobody:;, c@d.example", vec!["c@d.example"]),
        ("\"a b\"@c.example", vec!["\"a b\"@c.example"]),
        ("a@[192.0.2.1]", vec!["a@[192.0.2.1]"]),
        ("\"a\" \"b\" <c@d.example>", vec!["c@d.example"]),
    ] {
        let expected = Ok(expected.into_iter().map(str::to_owned).collect());
        assert_eq!(addresses(body), expected, "{body:?}");
    }
}

#[test]
fn what_readers_could_take_differently_is_refused() {
    use AddressListError::{Address, Control, Empty, NotUtf8, Syntax, TooMany};
    for (body, expected) in [
        ("", Empty),
        (" \r\n", Empty),
        ("(only a comment)", Empty),
        ("Nobody:;", Empty),
        ("name", Syntax),
        ("a@", Address),
        ("@b.example", Address),
        ("<>", Address),
        ("Shop <>", Address),
        ("a@b.example <c@d.example>", Syntax),
        ("<a@b.example> c@d.example", Syntax),
        ("<a@b.example><c@d.example>", Syntax),
        ("<a@b.example", Address),
        ("a@b.example>", Syntax),
        ("a b@c.example", Address),
        ("\"a\" b@c.example", Address),
        ("\"a\".b@c.example", Address),
        ("a.b .c@d.example", Address),
        ("a@b.example@c.example", Syntax),
        ("a@b .example", Syntax),
        ("a@b. example", Address),
        ("<@x.example:a@b.example>", Address),
        ("a@b.example,", Syntax),
        ("\"a@evil.example\"@c.example", Address),
        ("\"ceo@bank.example x\"@shop.example", Address),
        ("<\"ceo@bank.example x\"@shop.example>", Address),
        ("\"a<b\"@c.example", Address),
        ("\"a>b\"@c.example", Address),
        ("\"a,b\"@c.example", Address),
        ("\"a;b\"@c.example", Address),
        ("\"a:b\"@c.example", Address),
        ("\"a(b\"@c.example", Address),
        ("\"a)b\"@c.example", Address),
        ("\"a\\\"b\"@c.example", Address),
        ("me(<ceo@bank.example>)@shop.example", Syntax),
        ("me@shop.example (ceo@bank.example)", Syntax),
        ("me@shop.example (\\<ceo\\>)", Syntax),
        ("me(,ceo)@shop.example", Syntax),
        ("me(x(>))@shop.example", Syntax),
        (",a@b.example", Syntax),
        ("a@b.example,,c@d.example", Syntax),
        ("a@b.example; c@d.example", Syntax),
        ("Team: a@b.example", Syntax),
        ("A: B: c@d.example;;", Syntax),
        ("Shop (x <a@b.example>", Syntax),
        ("Shop x) <a@b.example>", Syntax),
        ("\"Shop <a@b.example>", Syntax),
        ("a..b@c.example", Address),
        (".a@c.example", Address),
        ("a\0@b.example", Syntax),
        ("a@b.example\nBcc: c@d.example", Control),
        ("a@b.example\r\nc@d.example", Control),
        ("a@b.example,\r\n \r\n c@d.example", Control),
        ("\"a\0b\" <a@b.example>", Control),
        ("(a\x07) <a@b.example>", Control),
        ("a@b.example\rc", Control),
        ("=?utf-8?q?a=40evil.example=3e?=@b.example", Address),
        ("<=?utf-8?q?x?=a@b.example>", Address),
        ("a@[192.0.2.1", Address),
        ("a@[x]", Address),
        ("a\u{85}@b.example", Syntax),
    ] {
        assert_eq!(addresses(body), Err(expected), "{body:?}");
    }
    assert_eq!(parse(b"J\xf6rg <a@b.example>"), Err(NotUtf8));
    let many = ["a@b.example"; 10].join(",");
    assert_eq!(addresses(&many).unwrap().len(), 10);
    assert_eq!(addresses(&format!("{many},a@b.example")), Err(TooMany));
    let deep = "(".repeat(MAXIMUM_NESTED + 1) + &")".repeat(MAXIMUM_NESTED + 1) + "a@b.example";
    assert_eq!(addresses(&deep), Err(Syntax));
}

const MAXIMUM_NESTED: usize = 16;

proptest! {
    /// Nothing makes it panic, and what it finds are addresses as the envelope knows them.
    #[test]
    fn every_address_found_is_one(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("a@b.example"), Just("<"), Just(">"), Just("\""), Just(","), Just("("), Just(")"), Just(":"),
                Just(";"), Just("\\"), Just(" "), Just("\r\n "), Just("@"), Just("."), Just("["), Just("x"),
            ],
            0..12,
        ),
    ) {
        if let Ok(found) = parse(parts.concat().as_bytes()) {
            prop_assert!((1..=MAXIMUM_ADDRESSES).contains(&found.len()));
            for mailbox in found {
                prop_assert_eq!(Mailbox::parse(mailbox.as_str()), Ok(mailbox));
            }
        }
    }
}
