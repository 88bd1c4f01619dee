//! Whole numbers on the command line: an error names what is allowed, beside the option and what was given.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a number between the ends of a range may be written as.
pub trait Number: Copy + Display + FromStr + PartialOrd + Send + Sync + 'static {}

impl<N: Copy + Display + FromStr + PartialOrd + Send + Sync + 'static> Number for N {}

/// Reads a number of this range.
pub fn whole<N: Number>(
    range: RangeInclusive<N>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("not a whole number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_the_range_are_taken() {
        let number = whole(2_u64..=256);
        assert_eq!((number("2"), number("256")), (Ok(2), Ok(256)));
        for wrong in ["", "1", "257", "-5", "2.5", "1e2", "99999999999999999999", "two"] {
            assert_eq!(number(wrong), Err("not a whole number from 2 to 256".to_owned()), "{wrong}");
        }
    }
}
