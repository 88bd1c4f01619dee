//! Names of collections: identifiers that are safe as one directory name, and nothing else.

use std::fmt;
use std::str::FromStr;

use super::CatalogueError;

/// A name that matches `^[a-z0-9][a-z0-9_-]{0,63}$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(String);

impl CollectionName {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = text.bytes();
        text.len() <= Self::MAX_LEN
            && bytes.next().is_some_and(plain)
            && bytes.all(|byte| plain(byte) || byte == b'_' || byte == b'-')
    }
}

impl FromStr for CollectionName {
    type Err = CatalogueError;

    fn from_str(text: &str) -> Result<Self, CatalogueError> {
        if Self::is_valid(text) {
            Ok(CollectionName(text.to_owned()))
        } else {
            Err(CatalogueError::Name { given: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_identifiers_are_names() {
        for good in ["a", "0", "debian-packages_384", &"x".repeat(64)] {
            assert!(good.parse::<CollectionName>().is_ok(), "{good:?}");
        }
        for bad in
            ["", ".", "..", "a/b", "../a", "-a", "_a", "A", "a b", "a\0", "ä", "a.b", "a%2f", &"x".repeat(65)]
        {
            assert!(bad.parse::<CollectionName>().is_err(), "{bad:?}");
        }
    }
}
