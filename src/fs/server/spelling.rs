//! Spellings of one name: by case, and by composed or decomposed letters. Some servers do not tell them apart.

use unicode_normalization::UnicodeNormalization;

/// Whether two names differ, and only in their spelling.
pub(crate) fn is_same_spelled_otherwise(one: &[u8], other: &[u8]) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one != other && one.eq_ignore_ascii_case(other);
    }
    one != other && folded(one) == folded(other)
}

fn folded(name: &[u8]) -> String {
    let lower = String::from_utf8_lossy(name).to_lowercase();
    lower.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_composition_are_spelling_and_nothing_else_is() {
        let same =
            |one: &str, other: &str| is_same_spelled_otherwise(one.as_bytes(), other.as_bytes());
        assert!(same("makefile", "Makefile"));
        assert!(same("\u{fc}ber", "u\u{308}ber"));
        assert!(same("\u{dc}BER", "u\u{308}ber"));
        assert!(!same("makefile", "makefile"));
        assert!(!same("makefile", "makefile2"));
        assert!(!same("uber", "\u{fc}ber"));
    }
}
