//! The mount options that the kernel itself understands.

use rustix::mount::MountFlags;

/// One of the kernel's mount options, such as `noatime`.
#[derive(Debug, Clone, Copy)]
pub struct MountFlag {
    /// The option's name, as mount(8) and fusermount3 spell it.
    pub name: &'static str,
    /// The bit that it is about.
    pub bit: MountFlags,
    /// Whether it sets the bit or takes it away.
    pub is_set: bool,
}

/// The options of mount(8) that mean something for a FUSE mount.
const FLAGS: &[MountFlag] = &[
    set("ro", MountFlags::RDONLY),
    clear("rw", MountFlags::RDONLY),
    set("nosuid", MountFlags::NOSUID),
    set("nodev", MountFlags::NODEV),
    set("noexec", MountFlags::NOEXEC),
    clear("exec", MountFlags::NOEXEC),
    set("sync", MountFlags::SYNCHRONOUS),
    clear("async", MountFlags::SYNCHRONOUS),
    set("dirsync", MountFlags::DIRSYNC),
    set("noatime", MountFlags::NOATIME),
    clear("atime", MountFlags::NOATIME),
    set("nodiratime", MountFlags::NODIRATIME),
    clear("diratime", MountFlags::NODIRATIME),
    set("relatime", MountFlags::RELATIME),
    clear("norelatime", MountFlags::RELATIME),
    set("strictatime", MountFlags::STRICTATIME),
    clear("nostrictatime", MountFlags::STRICTATIME),
];

const fn set(name: &'static str, bit: MountFlags) -> MountFlag {
    MountFlag {
        name,
        bit,
        is_set: true,
    }
}

const fn clear(name: &'static str, bit: MountFlags) -> MountFlag {
    MountFlag {
        name,
        bit,
        is_set: false,
    }
}

impl MountFlag {
    /// The option of that name, if the kernel has it.
    pub fn named(name: &str) -> Option<Self> {
        FLAGS.iter().find(|flag| flag.name == name).copied()
    }

    /// The names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FLAGS.iter().map(|flag| flag.name)
    }

    /// What mount(2) gets: always with nosuid and nodev, because the files of a foreign machine must not give rights on this one.
    pub fn combine(flags: &[Self]) -> MountFlags {
        let always = MountFlags::NOSUID | MountFlags::NODEV;
        flags.iter().fold(always, |mut all, flag| {
            all.set(flag.bit, flag.is_set);
            all
        })
    }
}

impl PartialEq for MountFlag {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for MountFlag {}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(names: &[&str]) -> MountFlags {
        let flags: Vec<_> = names
            .iter()
            .map(|name| MountFlag::named(name).unwrap())
            .collect();
        MountFlag::combine(&flags)
    }

    #[test]
    fn foreign_files_give_no_rights() {
        let never = MountFlags::NOSUID | MountFlags::NODEV;
        for names in [&[][..], &["nosuid", "nodev"], &["exec", "async"]] {
            assert_eq!(combined(names), never);
        }
        assert!(MountFlag::named("suid").is_none() && MountFlag::named("dev").is_none());
    }

    #[test]
    fn the_last_of_two_contradicting_options_wins() {
        assert!(combined(&["rw", "ro"]).contains(MountFlags::RDONLY));
        assert!(!combined(&["ro", "rw"]).contains(MountFlags::RDONLY));
    }
}
