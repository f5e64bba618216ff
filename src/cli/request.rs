//! What the command line asks for: `ftpfs URL MOUNTPOINT` or `ftpfs doctor URL`.

use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, error::ErrorKind};

use super::{
    arguments::{CACHES, Opts},
    error::{Stop, UsageError},
    mount_options::MountOptions,
    target::Target,
};

/// The word that asks for an examination and no mount.
const DOCTOR: &str = "doctor";

/// Options that make no difference to the doctor, besides those of the caches. It takes them, and its help leaves them out.
const UNLISTED: &[&str] = &["streams", "foreground", "conflict", "drain_timeout"];

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// A mount.
    Mount(MountRequest),
    /// An examination of a server.
    Doctor(DoctorRequest),
}

/// Mount an FTP server as a local directory
#[derive(Parser)]
#[command(
    name = "ftpfs",
    version,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    disable_help_flag = true,
    disable_help_subcommand = true,
    disable_version_flag = true,
    override_usage = "ftpfs [OPTIONS] <URL> <MOUNTPOINT>\n       ftpfs doctor [OPTIONS] <URL>",
    after_help = "Every long option can also be given as -o NAME=VALUE. The password comes from the URL, \
                  --password-file, $FTPFS_PASSWORD, ~/.netrc, or the terminal, in this order.\n\
                  Unmount with: fusermount3 -u MOUNTPOINT",
    max_term_width = 100
)]
pub struct MountRequest {
    /// The server and the directory.
    #[arg(
        value_name = "URL",
        help = "ftp://[user[:password]@]host[:port][/dir], or [user@]host:[dir]; /dir is below the login directory, \
                //dir is not; ftpes:// demands TLS, ftps:// begins with it"
    )]
    pub(super) url: OsString,

    /// The directory to mount on
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: PathBuf,

    /// How.
    #[command(flatten)]
    pub(super) opts: Opts,
}

/// Examine a server instead of mounting it: what works, how fast, what is wrong, and which option helps
#[derive(Parser)]
#[command(
    name = DOCTOR,
    version,
    display_name = "ftpfs",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "ftpfs doctor [OPTIONS] <URL>",
    after_help = "It takes the options of a mount, also by -o. It tries them on scratch files of its own and removes these; \
                  with -o ro it only reads. The exit status is 0 when the directory can be mounted with these options.",
    max_term_width = 100
)]
pub struct DoctorRequest {
    /// The server and the directory, as for a mount
    #[arg(value_name = "URL")]
    pub(super) url: OsString,

    /// How.
    #[command(flatten)]
    pub(super) opts: Opts,

    /// Print what was found as JSON
    #[arg(long, help_heading = "Messages")]
    pub(super) json: bool,
}

impl fmt::Debug for MountRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may hold a password.
        f.debug_struct("MountRequest")
            .field("mountpoint", &self.mountpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DoctorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoctorRequest")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    ///
    /// [`Stop`] says what to print and whether that is a failure.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut args: Vec<OsString> = args.into_iter().collect();
        if is_mount_helper(&args) && args.iter().any(|arg| arg == "-f") {
            // mount.TYPE -f is mount(8)'s dry run, and not our foreground.
            return Err(Stop::Print(String::new()));
        }
        let options_start = match find_doctor(&args) {
            Some(at) => {
                // The package wants a subcommand in front of the options.
                args.get_mut(1..=at).unwrap_or_default().rotate_right(1);
                2
            }
            None => args.len().min(1),
        };
        let first = Self::try_from_args(&args)?;
        let first = first.opts();
        let mut list = MountOptions::parse(&first.options, &Opts::long_names(), first.sloppy)?;
        // The -o form of a long option is the long option: same check, same default, same message. The command line
        // itself comes last, so that it overrides what fstab says.
        args.splice(options_start..options_start, list.take_long());
        let mut request = Self::try_from_args(&args)?;
        match &mut request {
            Self::Mount(mount) => mount.opts.list = list,
            Self::Doctor(doctor) => doctor.opts.list = list,
        }
        Ok(request)
    }

    /// The options, whatever is asked for.
    pub fn opts(&self) -> &Opts {
        match self {
            Self::Mount(mount) => &mount.opts,
            Self::Doctor(doctor) => &doctor.opts,
        }
    }

    fn try_from_args(args: &[OsString]) -> Result<Self, Stop> {
        let is_doctor = find_doctor(args).is_some();
        let mut command = MountRequest::command();
        if is_doctor {
            command = command.subcommand(DoctorRequest::command().mut_args(unlist));
        }
        let matches = command.try_get_matches_from(args);
        let request = matches.and_then(|matches| match matches.subcommand() {
            Some((_, matches)) => DoctorRequest::from_arg_matches(matches).map(Self::Doctor),
            None => MountRequest::from_arg_matches(&matches).map(Self::Mount),
        });
        request.map_err(|error| stop(&error, is_doctor))
    }
}

/// Where `doctor` stands on the command line, if it is the first word that is neither an option nor the value of one.
fn find_doctor(args: &[OsString]) -> Option<usize> {
    if is_mount_helper(args) {
        return None;
    }
    // Everything from that word on.
    let rest = |url: Arg| {
        url.required(false)
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
    };
    let matches = DoctorRequest::command()
        .mut_arg("url", rest)
        .try_get_matches_from(args)
        .ok()?;
    let at = args.len() - matches.get_raw("url")?.len();
    (args.get(at)? == DOCTOR).then_some(at)
}

/// Leaves an option out of the doctor's help that is of use to a mount alone.
fn unlist(arg: Arg) -> Arg {
    let is_of_caches = arg.get_help_heading() == Some(CACHES);
    let is_unlisted = is_of_caches || UNLISTED.contains(&arg.get_id().as_str());
    let is_hidden = arg.is_hide_set() || is_unlisted;
    arg.hide(is_hidden)
}

/// Whether mount(8) calls us as `mount.TYPE`.
fn is_mount_helper(args: &[OsString]) -> bool {
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name.as_bytes().starts_with(b"mount."))
}

/// Makes one line of clap's several, and takes passwords out of it.
fn stop(error: &clap::Error, is_doctor: bool) -> Stop {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return Stop::Print(text);
    }
    if is_doctor && error.kind() == ErrorKind::MissingRequiredArgument {
        return UsageError::new("the URL is missing; write: ftpfs doctor URL").into();
    }
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        let paragraph = paragraph.strip_prefix("error: ").unwrap_or(&paragraph);
        parts.push(
            paragraph
                .strip_prefix("tip: ")
                .unwrap_or(paragraph)
                .to_owned(),
        );
    }
    if parts.len() < 2 && error.kind() != ErrorKind::ValueValidation {
        let command = if is_doctor { "ftpfs doctor" } else { "ftpfs" };
        parts.push(format!("see '{command} --help'"));
    }
    UsageError::new(redact(&parts.join("; "))).into()
}

/// Hides what stands between `://user:` and the last `@` of the same word.
fn redact(text: &str) -> String {
    let hide = |word: &str| {
        let range = Target::password_ranges(word.as_bytes());
        let rest = range
            .into_iter()
            .next()
            .map(|range| (range.start, range.end.max(word.rfind('@').unwrap_or(0))));
        match rest.and_then(|(start, end)| Some((word.get(..start)?, word.get(end..)?))) {
            Some((before, after)) => format!("{before}***{after}"),
            None => word.to_owned(),
        }
    };
    text.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}
