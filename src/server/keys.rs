//! Keys: who may read, write or administer. Only SHA-256 digests are kept; comparisons take the same time whatever
//! is given.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// What a key allows; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Searches, items, metrics.
    Read = 1,
    /// Changes of items.
    Write = 2,
    /// Collections and settings.
    Admin = 3,
}

impl Scope {
    /// The name in a key file.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }

    fn from_number(number: u8) -> Option<Scope> {
        [Scope::Read, Scope::Write, Scope::Admin].into_iter().find(|scope| *scope as u8 == number)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key file is wrong. Never shows a digest or a key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file could not be read.
    #[error("cannot read keys from {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line is not `scope sha256`.
    #[error(
        "keys, line {line}: {reason}; a line is `read|write|admin` and the key's SHA-256 as 64 hex digits"
    )]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no key at all.
    #[error("no key is given: leave the setting out to serve without keys")]
    Empty,
}

/// The keys that are valid now; any number, so that an old and a new one overlap.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<(Scope, [u8; 32])>,
}

impl Keys {
    /// Reads lines `scope sha256hex`; empty lines and those that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Keys, KeysError> {
        let mut keys: Vec<(Scope, [u8; 32])> = Vec::new();
        let empty_key = <[u8; 32]>::from(Sha256::digest(b""));
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |reason| KeysError::Line { line: at + 1, reason };
            let mut words = line.split_whitespace();
            let (Some(scope), Some(digest), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("not two words"));
            };
            let scopes = [Scope::Read, Scope::Write, Scope::Admin];
            let scope = scopes
                .into_iter()
                .find(|known| known.name() == scope)
                .ok_or_else(|| wrong("unknown scope"))?;
            let digest = from_hex(digest).ok_or_else(|| wrong("not 64 hex digits"))?;
            if digest == empty_key {
                return Err(wrong("the key is empty"));
            }
            if keys.iter().any(|(_, known)| *known == digest) {
                return Err(wrong("the key is there twice"));
            }
            keys.push((scope, digest));
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Keys { keys }) }
    }

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Keys, KeysError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeysError::Read { path: path.to_owned(), source })?;
        Keys::parse(&text)
    }

    /// Keys from the variable `SHORTLIST_KEYS`, which holds the lines themselves; `None` when it is not set.
    pub fn from_env() -> Result<Option<Keys>, KeysError> {
        match std::env::var("SHORTLIST_KEYS") {
            Ok(text) => Keys::parse(&text).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(KeysError::Line { line: 1, reason: "not text" }),
        }
    }

    /// What a presented key allows. Looks at every key whatever is given.
    pub fn scope_of(&self, presented: &[u8]) -> Option<Scope> {
        let digest = <[u8; 32]>::from(Sha256::digest(presented));
        let mut found = 0_u8;
        for (scope, known) in &self.keys {
            let equal: Choice = digest.ct_eq(known);
            found = u8::conditional_select(&found, &(*scope as u8), equal);
        }
        Scope::from_number(found)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(scope: &str, key: &str) -> String {
        let digest: String =
            Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{scope} {digest}\n")
    }

    #[test]
    fn two_keys_are_valid_at_once() {
        let text = format!(
            "# rotated weekly\n{}\n{}{}",
            line("read", "old"),
            line("read", "new"),
            line("admin", "root")
        );
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.scope_of(b"old"), Some(Scope::Read));
        assert_eq!(keys.scope_of(b"new"), Some(Scope::Read));
        assert_eq!(keys.scope_of(b"root"), Some(Scope::Admin));
        assert_eq!(keys.scope_of(b""), None);
        assert_eq!(keys.scope_of(b"guess"), None);
        assert_eq!(format!("{keys:?}"), "Keys(3)");
    }

    #[test]
    fn bad_key_files_are_refused_without_showing_them() {
        let bad = [
            "",
            "# nothing\n",
            "read",
            "read xyz",
            &line("owner", "a"),
            &line("read", ""),
            &(line("read", "a") + &line("write", "a")),
        ];
        for text in bad {
            let error = Keys::parse(text).unwrap_err().to_string();
            assert!(!error.contains("xyz") && !error.contains("e3b0"), "{error}");
        }
    }
}
