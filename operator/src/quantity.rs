//! Quantities of Kubernetes, such as `10Gi` or `1.5e3`: whether a text is one, and which of two is larger.
//!
//! Exact and in whole billionths, the smallest a quantity can hold; what is finer is rounded up and what is larger than
//! fits is as large as fits, as the API server does it (apimachinery, `resource.Quantity`).

/// Billionths in one.
const BILLION: i128 = 1_000_000_000;

/// Suffixes that multiply: powers of 1024 and of 1000.
const MULTIPLES: &[(&str, i128)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// Suffixes that divide.
const FRACTIONS: &[(&str, u32)] = &[("m", 3), ("u", 6), ("n", 9)];

/// An amount, to be compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

/// The amount a text says; nothing if it is not a quantity.
pub fn parse(text: &str) -> Option<Amount> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.len() + fraction.len() == 0 {
        return None;
    }
    let (multiple, power) = scale(suffix)?;
    let places = i32::try_from(fraction.len()).ok()?;
    let digits = digits(whole, fraction);
    let amount = scaled(digits.saturating_mul(multiple), power - places);
    Some(Amount(if text.starts_with('-') {
        -amount
    } else {
        amount
    }))
}

/// What a suffix multiplies by, and the power of ten it adds.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    if let Some((_, multiple)) = MULTIPLES.iter().find(|(name, _)| *name == suffix) {
        return Some((*multiple, 0));
    }
    if let Some((_, places)) = FRACTIONS.iter().find(|(name, _)| *name == suffix) {
        return Some((1, -i32::try_from(*places).ok()?));
    }
    let power: i8 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((1, i32::from(power)))
}

fn digits(whole: &str, fraction: &str) -> i128 {
    whole
        .bytes()
        .chain(fraction.bytes())
        .fold(0_i128, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(i128::from(digit.wrapping_sub(b'0')))
        })
}

/// A number times a power of ten, in billionths.
fn scaled(number: i128, power: i32) -> i128 {
    let ten = |power: i32| 10_i128.saturating_pow(power.unsigned_abs());
    let power = power + 9;
    if power >= 0 {
        return number.saturating_mul(ten(power));
    }
    let divisor = ten(power);
    number / divisor + i128::from(number % divisor != 0)
}

impl Amount {
    /// A whole number.
    pub const fn of(number: u64) -> Self {
        Self(number as i128 * BILLION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn amounts_of_one_size_are_equal_however_they_are_written() {
        for (one, other) in [
            ("1Gi", "1073741824"),
            ("1Gi", "1024Mi"),
            ("1.5Ki", "1536"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1E", "1000P"),
            ("12e-1", "1.2"),
            ("+5", "5."),
            (".5", "0.50"),
            ("1Ei", "1152921504606846976"),
            ("0.1n", "1n"),
            ("-1k", "-1000"),
        ] {
            assert_eq!(amount(one), amount(other), "{one} {other}");
        }
        assert_eq!(amount("10Gi"), Amount::of(10 << 30));
    }

    #[test]
    fn amounts_are_ordered_by_size() {
        let texts = [
            "-1",
            "0",
            "1n",
            "999u",
            "1m",
            "1",
            "1k",
            "1Ki",
            "10G",
            "10Gi",
            "10.1Gi",
            "1Ti",
            "99999999999999999999999E",
        ];
        for pair in texts.windows(2) {
            assert!(amount(pair[0]) < amount(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in [
            "", "Gi", ".", "1.2.3", "1gi", "10 Gi", "1e", "1e1e1", "--1", "ten", "1GiB",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
