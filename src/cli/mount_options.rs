//! The `-o` list, as mount(8), fstab and sshfs users write it.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, os::unix::ffi::OsStringExt};

use rustix::mount::MountFlags;

use super::{error::UsageError, target::Login, values};
use crate::config::{Access, MountFlag};

/// The options of this list that are no long options and no flags of the kernel.
pub(super) const OWN_NAMES: &[&str] = &[
    "allow_other",
    "allow_root",
    "default_permissions",
    "uid",
    "gid",
    "umask",
    "fmask",
    "dmask",
    "user",
];

/// What fstab holds for mount(8), systemd and others, and what needs no asking here: the mount always reconnects and
/// may cover a directory that is not empty. The name of the file system is the URL, whatever `fsname` says.
const IGNORED: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "nouser",
    // mount.fuse3 says both of every mount, whether or not its user has.
    "suid",
    "dev",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "comment",
    "fsname",
    "subtype",
    "nonempty",
    "reconnect",
    "big_writes",
    "silent",
    "loud",
    "nomand",
    "nolazytime",
    "noiversion",
];

/// What the `-o` lists said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct MountOptions {
    pub(super) access: Access,
    pub(super) default_permissions: bool,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mask: Option<u32>,
    pub(super) file_mask: Option<u32>,
    pub(super) dir_mask: Option<u32>,
    pub(super) flags: Vec<MountFlag>,
    /// `user=NAME[:PASSWORD]`; without a value it is mount(8)'s, and says nothing here.
    pub(super) login: Option<Login>,
    /// Long options, as arguments for the command line.
    long: Vec<OsString>,
}

impl MountOptions {
    /// Reads the lists in their order; `is_sloppy` passes over what is not known.
    pub(super) fn parse(
        lists: &[OsString],
        long_names: &[(String, bool)],
        is_sloppy: bool,
    ) -> Result<Self, UsageError> {
        let mut options = Self::default();
        for item in lists.iter().flat_map(|list| split(list.as_bytes())) {
            let (name, value) = match item.iter().position(|byte| *byte == b'=') {
                Some(at) => (item.get(..at).unwrap_or_default(), item.get(at + 1..)),
                None => (&*item, None),
            };
            let name = String::from_utf8_lossy(name);
            if !options.take(&name, value, long_names)? && !is_sloppy {
                return Err(unknown(&name, long_names));
            }
        }
        Ok(options)
    }

    /// The long options among them, to be put on the command line.
    pub(super) fn take_long(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.long)
    }

    /// Whether the last of ro and rw was ro.
    pub(super) fn is_read_only(&self) -> bool {
        MountFlag::combine(&self.flags).contains(MountFlags::RDONLY)
    }

    /// Takes one option; `false` if nobody knows it.
    fn take(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
        long_names: &[(String, bool)],
    ) -> Result<bool, UsageError> {
        if name.is_empty() && value.is_none() {
            return Ok(true);
        }
        if is_ignored(name) {
            return Ok(true);
        }
        if let Some(flag) = MountFlag::named(name) {
            refuse_value(name, value)?;
            self.flags.push(flag);
            return Ok(true);
        }
        let canonical = name.replace('-', "_");
        match canonical.as_str() {
            "allow_other" | "allow_root" | "default_permissions" => refuse_value(name, value)?,
            _ => {}
        }
        match canonical.as_str() {
            "allow_other" => self.access = Access::Everyone,
            "allow_root" => self.access = Access::OwnerAndRoot,
            "default_permissions" => self.default_permissions = true,
            "user" => self.login = value.map(Login::parse).transpose()?.or(self.login.take()),
            "uid" => self.uid = Some(number(name, value, values::parse_id)?),
            "gid" => self.gid = Some(number(name, value, values::parse_id)?),
            "umask" => self.mask = Some(number(name, value, values::parse_mask)?),
            "fmask" => self.file_mask = Some(number(name, value, values::parse_mask)?),
            "dmask" => self.dir_mask = Some(number(name, value, values::parse_mask)?),
            "remount" => {
                return Err(UsageError::new(
                    "a mount cannot be changed with 'remount'; unmount it and mount it again",
                ));
            }
            _ => return self.take_long_option(name, value, long_names),
        }
        Ok(true)
    }

    fn take_long_option(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
        long_names: &[(String, bool)],
    ) -> Result<bool, UsageError> {
        let name = name.replace('_', "-");
        let Some((_, needs_value)) = long_names.iter().find(|(long, _)| *long == name) else {
            return Ok(false);
        };
        let mut argument = format!("--{name}").into_bytes();
        if *needs_value {
            argument.push(b'=');
            argument.extend_from_slice(value.ok_or_else(|| missing_value(&name))?);
        } else {
            refuse_value(&name, value)?;
        }
        self.long.push(OsString::from_vec(argument));
        Ok(true)
    }
}

fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name) || name.starts_with("x-") || name.starts_with("X-")
}

fn number<T>(
    name: &str,
    value: Option<&[u8]>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, UsageError> {
    let value = String::from_utf8_lossy(value.ok_or_else(|| missing_value(name))?);
    parse(&value).map_err(|hint| {
        UsageError::new(format!(
            "invalid value '{}' for option '{name}': {hint}",
            value.escape_debug()
        ))
    })
}

fn missing_value(name: &str) -> UsageError {
    UsageError::new(format!("option '{name}' needs a value: {name}=..."))
}

fn refuse_value(name: &str, value: Option<&[u8]>) -> Result<(), UsageError> {
    match value {
        None => Ok(()),
        Some(_) => Err(UsageError::new(format!(
            "option '{name}' takes no value; write just {name}"
        ))),
    }
}

/// Names the nearest option that exists; the value is not repeated, it might be a password.
fn unknown(name: &str, long_names: &[(String, bool)]) -> UsageError {
    /// Below this two words merely share letters; `dir-tll` and `dir-ttl` have 0.96, `password` and
    /// `password-file` 0.92.
    const SIMILARITY_MIN: f64 = 0.8;
    let canonical = name.replace('_', "-");
    let nearest = known_names(long_names)
        .map(|known| {
            (
                strsim::jaro_winkler(&canonical, &known.replace('_', "-")),
                known,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let hint = match nearest {
        Some((_, known)) => format!("did you mean '{known}'?"),
        None => "see 'ftpfs --help'".to_owned(),
    };
    UsageError::new(format!("unknown option '{}'; {hint}", name.escape_debug()))
}

/// The names of the kernel's options and of ours, for the suggestion.
fn known_names<'a>(long_names: &'a [(String, bool)]) -> impl Iterator<Item = &'a str> {
    let own = OWN_NAMES.iter().copied().chain(MountFlag::names());
    let own: Vec<&'a str> = own.collect();
    long_names.iter().map(|(name, _)| name.as_str()).chain(own)
}

/// Splits at commas; a backslash keeps a comma or a backslash as part of the value.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b',' {
            items.push(Vec::new());
            continue;
        }
        let escaped = if byte == b'\\' {
            bytes.next_if(|next| matches!(next, b',' | b'\\'))
        } else {
            None
        };
        if let Some(item) = items.last_mut() {
            item.push(escaped.unwrap_or(byte));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, UsageError> {
        let long = [
            ("dir-ttl", true),
            ("password-file", true),
            ("foreground", false),
        ];
        let long: Vec<_> = long
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        MountOptions::parse(&[OsString::from(list)], &long, false)
    }

    fn refusal(list: &str) -> String {
        parse(list).unwrap_err().to_string()
    }

    #[test]
    fn a_line_of_fstab_is_understood() {
        let options = parse(
            "rw,noauto,user,users,_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=30,\
             x-gvfs-show,comment=hello,defaults,allow_other,uid=1000,gid=100,umask=022,fmask=133,dmask=0022,\
             default_permissions,noatime,nosuid,nodev,noexec,fsname=x,subtype=y",
        )
        .unwrap();
        assert_eq!(options.access, Access::Everyone);
        assert_eq!((options.uid, options.gid), (Some(1000), Some(100)));
        assert_eq!(options.mask, Some(0o22));
        assert_eq!(
            (options.file_mask, options.dir_mask),
            (Some(0o133), Some(0o22))
        );
        assert!(options.default_permissions && !options.is_read_only());
        let names: Vec<_> = options.flags.iter().map(|flag| flag.name).collect();
        assert_eq!(names, ["rw", "noatime", "nosuid", "nodev", "noexec"]);
    }

    #[test]
    fn long_options_become_arguments_with_dash_or_underscore() {
        let mut options = parse(r"dir_ttl=1.5,foreground,password-file=/a\,b\\c").unwrap();
        assert_eq!(
            options.take_long(),
            ["--dir-ttl=1.5", "--foreground", r"--password-file=/a,b\c"].map(OsString::from)
        );
    }

    #[test]
    fn the_last_of_ro_and_rw_wins() {
        assert!(parse("rw,ro").unwrap().is_read_only());
        assert!(!parse("ro,rw").unwrap().is_read_only());
        assert_eq!(
            parse("allow-other,allow_root").unwrap().access,
            Access::OwnerAndRoot
        );
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_nearest_one() {
        assert_eq!(
            refusal("dir-tll=3"),
            "unknown option 'dir-tll'; did you mean 'dir-ttl'?"
        );
        assert_eq!(
            refusal("alow_other"),
            "unknown option 'alow_other'; did you mean 'allow_other'?"
        );
        assert_eq!(
            refusal("password=hunter2"),
            "unknown option 'password'; did you mean 'password-file'?"
        );
        assert_eq!(refusal("zzz"), "unknown option 'zzz'; see 'ftpfs --help'");
    }

    #[test]
    fn values_are_asked_for_and_checked() {
        assert_eq!(refusal("uid"), "option 'uid' needs a value: uid=...");
        assert_eq!(
            refusal("dir-ttl"),
            "option 'dir-ttl' needs a value: dir-ttl=..."
        );
        assert_eq!(refusal("ro=1"), "option 'ro' takes no value; write just ro");
        assert!(refusal("umask=9").contains("octal"));
        assert!(refusal("uid=anna").contains("id -u"));
        assert!(refusal("remount,rw").contains("unmount it"));
    }

    #[test]
    fn a_sloppy_mount_bears_with_unknown_options() {
        let lists = [OsString::from("zzz,ro")];
        assert!(
            MountOptions::parse(&lists, &[], true)
                .unwrap()
                .is_read_only()
        );
    }

    #[test]
    fn only_commas_and_backslashes_are_escaped() {
        assert_eq!(
            split(br"a\,b,c\\,d\040,,"),
            [&b"a,b"[..], br"c\", br"d\040", b"", b""]
        );
    }
}
