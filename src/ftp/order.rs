//! Whether replies are those to the questions that were sent together: a surplus one shifts all that follow it.
//!
//! The surplus shows itself on the session a moment later. What was read until then must not be taken for evidence, so replies that do not
//! fit their questions count as none.

use super::{
    reply::Reply,
    values::{mdtm_time, size_of},
};

/// How many digits a time has (RFC 3659 section 2.3).
const TIME_DIGITS: usize = 14;

/// Whether each reply can be that to its line, and those about one path do not contradict each other.
pub(super) fn is_plausible(lines: &[Vec<u8>], replies: &[Reply]) -> bool {
    let pairs = || lines.iter().zip(replies);
    let each = pairs().all(|(line, reply)| can_answer(line, reply));
    let mut neighbours = pairs().zip(pairs().skip(1));
    each && !neighbours.any(|((size, told), (time, refused))| {
        let is_one_path =
            argument(size, b"SIZE ").is_some_and(|path| argument(time, b"MDTM ") == Some(path));
        // A size that looks like a time, of a file that has none.
        is_one_path && has_time(told) && refused.code() == 550
    })
}

/// Whether a reply can be that to a command.
fn can_answer(line: &[u8], reply: &Reply) -> bool {
    if !reply.is_done() {
        return true;
    }
    let has_value = reply.code() == 213;
    if line.starts_with(b"MDTM ") {
        // That of SIZE is a number too.
        return !has_value || mdtm_time(reply).is_some() || size_of(reply).is_none();
    }
    !(has_value && line.starts_with(b"CWD "))
}

fn argument<'a>(line: &'a [u8], verb: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(verb)
}

fn has_time(reply: &Reply) -> bool {
    let digits = reply.first_line().trim_ascii();
    size_of(reply).is_some() && digits.len() == TIME_DIGITS && mdtm_time(reply).is_some()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{reply::reply, stat::judge_by_size},
        *,
    };
    use crate::remote::RemotePath;

    const QUESTIONS: [&str; 6] = [
        "SITE CHMOD 644 /tmp",
        "SIZE /tmp",
        "MDTM /tmp",
        "SIZE /file",
        "MDTM /file",
        "CWD /file",
    ];

    fn is_taken(replies: &[&str]) -> bool {
        let lines: Vec<Vec<u8>> = QUESTIONS
            .iter()
            .map(|line| line.as_bytes().to_vec())
            .collect();
        let replies: Vec<Reply> = replies.iter().map(|line| reply(line)).collect();
        is_plausible(&lines, &replies)
    }

    const ABSENT: [&str; 6] = [
        "200 OK",
        "213 5000",
        "213 20261128104500",
        "550 no such file",
        "550 no such file",
        "550 no such directory",
    ];

    const THERE: [&str; 6] = [
        "200 OK",
        "213 5000",
        "213 20261128104500",
        "213 6000",
        "213 20261128104501",
        "550 not a directory",
    ];

    #[test]
    fn what_servers_say_is_taken() {
        assert!(is_taken(&ABSENT));
        assert!(is_taken(&THERE));
        let mut without_times = THERE;
        (without_times[2], without_times[4]) = ("500 what", "213 ??");
        assert!(is_taken(&without_times));
    }

    // SEMANTICS: S-reconnect
    #[test]
    fn a_reply_twice_is_noticed_where_it_would_say_something_else_of_the_file() {
        let path = RemotePath::root().join(b"file").unwrap();
        let size = |replies: &[&str]| {
            let replies: Vec<Reply> = replies[3..].iter().map(|line| reply(line)).collect();
            let entry = judge_by_size(&path, &replies);
            entry.ok().map(|entry| entry.map(|entry| entry.size))
        };
        for before in [ABSENT, THERE] {
            for twice in 0..before.len() {
                let mut shifted = before.to_vec();
                shifted.insert(twice, before[twice]);
                shifted.pop();
                let says_the_same = size(&shifted) == size(&before);
                assert!(says_the_same || !is_taken(&shifted), "{shifted:?}");
            }
        }
    }
}
