//! Sizes and times in replies.

use super::{listing, reply::Reply};
use crate::remote::Modified;

/// The size in a reply to SIZE (RFC 3659 section 4).
pub(super) fn size_of(reply: &Reply) -> Option<u64> {
    let text = std::str::from_utf8(reply.first_line()).ok()?;
    (reply.code() == 213).then(|| text.trim().parse().ok())?
}

/// The time in a reply to MDTM (RFC 3659 section 3).
pub(super) fn mdtm_time(reply: &Reply) -> Option<Modified> {
    (reply.code() == 213).then(|| listing::parse_time_val(reply.first_line().trim_ascii()))?
}

#[cfg(test)]
mod tests {
    use super::super::reply::reply;
    use super::*;

    #[test]
    fn sizes_and_times_are_read_from_213_only() {
        assert_eq!(size_of(&reply("213 5368709120")), Some(5_368_709_120));
        assert_eq!(size_of(&reply("213 File status")), None);
        assert_eq!(size_of(&reply("550 12")), None);
        let time = mdtm_time(&reply("213 20260102030405")).unwrap();
        assert_eq!(time.seconds, 1_767_323_045);
        assert_eq!(mdtm_time(&reply("213 File modification time set.")), None);
    }
}
