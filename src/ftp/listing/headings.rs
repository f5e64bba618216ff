//! Lines of a listing that are no entries and belong there: sums and headings.

use super::sizes;

/// Whether a line is the sum above a listing (in other languages than English too) or the heading of its columns.
pub(super) fn is_heading(line: &[u8]) -> bool {
    /// In UTF-8; GB 18030, Big5 and `Shift_JIS` for the Asian ones.
    const SUMS: [&[u8]; 24] = [
        b"total",
        b"insgesamt",
        b"summe",
        b"totale",
        b"totaal",
        b"razem",
        b"celkem",
        b"totalt",
        b"toplam",
        b"yhteens\xC3\xA4",
        b"\xC3\xB6sszesen",
        "итого".as_bytes(),
        "всего".as_bytes(),
        "总用量".as_bytes(),
        "總計".as_bytes(),
        "总计".as_bytes(),
        "合計".as_bytes(),
        "합계".as_bytes(),
        b"\xD7\xDC\xD3\xC3\xC1\xBF",
        b"\xD7\xDC\xBC\xC6",
        b"\xC1`\xADp",
        b"\x8D\x87\x8Cv",
        b"\xC9\xD4\xCF\xC7\xCF",
        b"\xE8\xF2\xEE\xE3\xEE",
    ];
    const HEADINGS: [&[u8]; 5] = [
        // VMS, MVS, VxWorks
        b"directory ",
        b"volume unit ",
        b"name     vv.mm",
        b"size          date",
        b"--------",
    ];
    let lower = line.trim_ascii().to_ascii_lowercase();
    let is_sum = SUMS.iter().any(|sum| {
        let rest = lower.strip_prefix(*sum).unwrap_or_default();
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let size = rest.trim_ascii();
        size.len() < rest.len() && sizes::size(size).is_some()
    });
    is_sum
        || HEADINGS.iter().any(|heading| lower.starts_with(heading))
        || lower.starts_with(b"total of ") && lower.contains(&b',')
}
